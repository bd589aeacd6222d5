"""A whole spec: a model's layers and how it is trained."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from harness.spec.layers import (
    NAME_STEMS,
    ActivationLayer,
    Dropout,
    Flatten,
    Layer,
    Model,
    activation_of,
)
from harness.spec.training import Training

MAX_LAYERS = 1000

Initializer = Literal[
    "glorot_uniform",
    "glorot_normal",
    "glorot_truncated",
    "he_uniform",
    "he_normal",
    "he_truncated",
    "lecun_uniform",
    "lecun_normal",
    "lecun_truncated",
]


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
            elif not isinstance(layer, Dropout | Flatten | ActivationLayer):
                pending = ""  # these leave probabilities as they are, or scale them
        loss = self.training.loss
        if pending and loss == "cross_entropy" and not self.folds_activation:
            yield (
                f"layers: {pending!r} ends in softmax, and cross_entropy applies softmax again to "
                f"the output of {self.layers[-1].name!r}; make the softmax the last thing"
            )
        if loss == "binary_cross_entropy" and activation_of(self.layers[-1]) == "softmax":
            yield (
                f"layers: {self.layers[-1].name!r} ends in softmax, and binary_cross_entropy "
                'applies sigmoid to its output; use "sigmoid", or loss = "cross_entropy"'
            )

    @property
    def folds_activation(self) -> bool:
        """Whether the last softmax or sigmoid belongs to the loss: the network returns logits."""
        last = activation_of(self.layers[-1])
        return (self.training.loss, last) in (
            ("cross_entropy", "softmax"),
            ("binary_cross_entropy", "sigmoid"),
        )

    @property
    def hash(self) -> str:
        """Sixteen hex digits over everything but the description."""
        text = self.model_dump_json(exclude={"description"})
        return hashlib.sha256(text.encode()).hexdigest()[:16]
