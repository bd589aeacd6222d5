"""A whole spec: a model's layers and how it is trained."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from harness.spec.layers import (
    NAME_STEMS,
    ActivationLayer,
    Conv2D,
    Dense,
    Layer,
    MaxPool,
    Model,
    activation_of,
)

MAX_LAYERS = 1000

LossName = Literal["cross_entropy", "mean_squared_error"]
Initializer = Literal[
    "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal"
]
LearningRate = Annotated[float, Field(gt=0.0, le=1000.0)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


class Sgd(Model):
    """Stochastic gradient descent; the learning rate is applied after the momentum.

    `v <- momentum * v + g`, then `p <- p - rate * v`, or with Nesterov
    `p <- p - rate * (g + momentum * v)` (Sutskever et al. 2013, in the form of torch.optim.SGD).
    """

    type: Literal["sgd"] = "sgd"
    learning_rate: LearningRate
    momentum: Decay = 0.0
    nesterov: bool = False

    @field_validator("nesterov")
    @classmethod
    def _nesterov_needs_momentum(cls, value: bool, others: ValidationInfo) -> bool:
        if value and others.data.get("momentum") == 0.0:
            raise ValueError("needs a momentum above 0, for example momentum = 0.9")
        return value


class Adam(Model):
    """Adam as in algorithm 1 of Kingma and Ba (2015): epsilon is added after bias correction."""

    type: Literal["adam"] = "adam"
    learning_rate: LearningRate = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    epsilon: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-8


Optimizer = Annotated[Sgd | Adam, Field(discriminator="type")]


class Training(Model):
    """How a model is trained. `last_batch` says what becomes of a last, partial batch."""

    loss: LossName = "cross_entropy"
    optimizer: Optimizer = Adam()
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 128
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    validation_split: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    last_batch: Literal["drop", "keep"] = "drop"

    def learning_rate(self, step: int) -> float:
        """The rate of `step` (counted from 0 over the whole training)."""
        return self.optimizer.learning_rate


class Spec(Model):
    """One network and its training: all that a backend needs to write its source.

    `input` is `(height, width, channels)`. The initial weights are drawn by the harness: kernels
    by `initializer`, biases zero.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    description: Annotated[str, Field(max_length=500)] = ""
    input: tuple[
        Annotated[int, Field(ge=1, le=4096)],
        Annotated[int, Field(ge=1, le=4096)],
        Annotated[int, Field(ge=1, le=4096)],
    ]
    initializer: Initializer = "glorot_uniform"
    layers: tuple[Layer, ...]
    training: Training = Training()

    @model_validator(mode="before")
    @classmethod
    def _name_layers(cls, data: Any) -> Any:
        """Give unnamed layers their kind's name and number: conv1, pool1, conv2, ..."""
        if not isinstance(data, dict) or not isinstance(data.get("layers"), list | tuple):
            return data
        seen: Counter[str | None] = Counter()
        named = []
        for layer in data["layers"]:
            if isinstance(layer, dict) and isinstance(layer.get("type"), str):
                stem = NAME_STEMS.get(layer["type"], layer["type"])
                seen[stem] += 1
                layer = {"name": f"{stem}{seen[stem]}", **layer}
            named.append(layer)
        return {**data, "layers": tuple(named)}

    @model_validator(mode="after")
    def _check_layers(self) -> Self:
        """Look at the layers as a whole; one line of the message for each mistake."""
        problems = [*self._repeated_names(), *self._repeated_softmax()]
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            problems = [f"layers: there are {len(self.layers)}; allowed: 1 to {MAX_LAYERS}"]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _repeated_names(self) -> Iterator[str]:
        seen: dict[str, int] = {}
        for index, layer in enumerate(self.layers):
            first = seen.setdefault(layer.name, index)
            if first != index:
                yield (
                    f"layers[{index}].name: {layer.name!r} is the name of layers[{first}] too; "
                    "names must be unique"
                )

    def _repeated_softmax(self) -> Iterator[str]:
        """A softmax whose result reaches a second one, or the loss's own, is a mistake."""
        pending = ""  # the layer whose softmax nothing has yet taken further
        for index, layer in enumerate(self.layers):
            if isinstance(layer, ActivationLayer) and layer.function == "softmax" and pending:
                yield (
                    f"layers[{index}] {layer.name!r}: applies softmax to what {pending!r} has "
                    "already passed through softmax; remove one of the two"
                )
            if activation_of(layer) == "softmax":
                pending = layer.name
            elif isinstance(layer, Conv2D | Dense | MaxPool):
                pending = ""  # the others leave probabilities as they are, or scale them
        if pending and self.training.loss == "cross_entropy" and not self.folds_softmax:
            yield (
                f"layers: {pending!r} ends in softmax, and cross_entropy applies softmax again to "
                f"the output of {self.layers[-1].name!r}; make the softmax the last thing"
            )

    @property
    def folds_softmax(self) -> bool:
        """Whether the last softmax belongs to the loss, so that the network returns logits."""
        return self.training.loss == "cross_entropy" and activation_of(self.layers[-1]) == "softmax"

    @property
    def hash(self) -> str:
        """Sixteen hex digits over everything but the description."""
        text = self.model_dump_json(exclude={"description"})
        return hashlib.sha256(text.encode()).hexdigest()[:16]
