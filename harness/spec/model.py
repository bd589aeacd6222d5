"""A whole spec: a model's layers and how it is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, model_validator

from harness.spec.blocks import (
    Layer,
    count_layers,
    final_activation,
    has_activation,
    inner_softmaxes,
    last_activation,
    name_layers,
    passes_probabilities,
    repeated_names,
)
from harness.spec.initializers import BiasInitializer, KernelInitializer
from harness.spec.layers import MAX_AXES, ActivationLayer, Model
from harness.spec.training import Training

MAX_LAYERS = 2000
MAX_SIDE = 65536  # of an input, and its most channels

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


def _has_axes(value: tuple[int, ...]) -> tuple[int, ...]:
    if not 2 <= len(value) <= MAX_AXES + 1:
        raise ValueError("should have three values: height, width, channels; or two, or four")
    return value


class Spec(Model):
    """One network and its training: all that a backend needs to write its source.

    `input` is `(height, width, channels)` of images, `(length, channels)` of signals, `(depth,
    height, width, channels)` of volumes. The initial weights come from the harness: kernels by
    `initializer`, which is a scheme to draw them by, "zeros", or a table `{type = "constant",
    value = 0.1}`; biases by `bias_initializer`, which is "zeros" or such a table.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    description: Annotated[str, Field(max_length=500)] = ""
    input: Annotated[
        tuple[Side, ...],
        AfterValidator(_has_axes),
        Field(json_schema_extra={"minItems": 2, "maxItems": MAX_AXES + 1}),
    ]
    initializer: KernelInitializer = "glorot_uniform"
    bias_initializer: BiasInitializer = "zeros"
    layers: tuple[Layer, ...]
    training: Training = Training()

    @model_validator(mode="before")
    @classmethod
    def _name_layers(cls, data: Any) -> Any:
        """Name what has no name, and refuse what is nested too deeply to be looked at."""
        if not isinstance(data, dict) or "layers" not in data:
            return data
        shape = data.get("input")
        axes = len(shape) - 1 if isinstance(shape, list | tuple) else 2
        return {**data, "layers": name_layers(data["layers"], axes)}

    @model_validator(mode="after")
    def _check_layers(self) -> Self:
        """Look at the layers as a whole; one line of the message for each mistake."""
        count = count_layers(self.layers)
        if not 1 <= count <= MAX_LAYERS:
            raise ValueError(f"layers: there are {count}; allowed: 1 to {MAX_LAYERS}")
        problems = [*repeated_names(self.layers), *inner_softmaxes(self.layers)]
        problems += [*self._repeated_softmax(), *self._repeated_sigmoid()]
        problems += self._unfit_augmentation()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _repeated_softmax(self) -> Iterator[str]:
        """A softmax whose result reaches a second one, or the loss's own, is a mistake."""
        pending = ""  # the layer whose softmax nothing has yet taken further
        for index, layer in enumerate(self.layers):
            if isinstance(layer, ActivationLayer) and layer.function == "softmax" and pending:
                yield (
                    f"layers[{index}] {layer.name!r}: applies softmax to what {pending!r} has "
                    "already passed through softmax; remove one of the two"
                )
            if last_activation(layer) == "softmax":
                pending = layer.name
            elif not passes_probabilities(layer):
                pending = ""  # these leave probabilities as they are, or scale them
        loss = self.training.loss
        if pending and loss == "cross_entropy" and not self.folds_activation:
            yield (
                f"layers: {pending!r} ends in softmax, and cross_entropy applies softmax again to "
                f"the output of {self.layers[-1].name!r}; make the softmax the last thing"
            )
        if loss == "binary_cross_entropy" and last_activation(self.layers[-1]) == "softmax":
            yield (
                f"layers: {self.layers[-1].name!r} ends in softmax, and binary_cross_entropy "
                'applies sigmoid to its output; use "sigmoid", or loss = "cross_entropy"'
            )

    def _repeated_sigmoid(self) -> Iterator[str]:
        """A sigmoid whose result reaches that of binary_cross_entropy is a mistake."""
        if self.training.loss != "binary_cross_entropy":
            return
        *before, last = self.layers
        # One that the loss takes over is none of the network; what comes before it may be one.
        is_alone = self.folds_activation and not isinstance(last, ActivationLayer)
        rest = tuple(before) if self.folds_activation else self.layers
        if not is_alone and final_activation(rest) == "sigmoid":
            yield (
                f"layers: the output of {rest[-1].name!r} has already passed through sigmoid, and "
                "binary_cross_entropy applies sigmoid again; make one sigmoid the last thing, in "
                "no block"
            )

    def _unfit_augmentation(self) -> Iterator[str]:
        """Images only are augmented, and something must be left of each."""
        augment = self.training.augment
        if augment is None:
            return
        if len(self.input) != 3:
            yield (
                "training.augment: changes images (height, width, channels), but input is "
                f"{list(self.input)}; leave it out"
            )
            return
        height, width, _ = self.input
        # A crop leaves nothing where it is all padding along one axis, a square along both.
        most = {"crop_padding": min(height, width) - 1, "cutout": max(height, width) - 1}
        for field, limit in most.items():
            if (value := getattr(augment, field)) > limit:
                yield (
                    f"training.augment.{field}: {value} can leave nothing of an image of "
                    f"{height}x{width} pixels; allowed: 0 to {limit}"
                )

    @property
    def folds_activation(self) -> bool:
        """Whether the last softmax or sigmoid belongs to the loss: the network returns logits."""
        last = self.layers[-1]
        if not has_activation(last):
            return False
        return (self.training.loss, last_activation(last)) in (
            ("cross_entropy", "softmax"),
            ("binary_cross_entropy", "sigmoid"),
        )

    def fitted(self, shape: tuple[int, ...], outputs: int) -> Spec:
        """Return this spec for inputs of another `shape`, with so many outputs.

        The outputs are those of the last layer with units or filters that is in no block.

        Raises:
            ValueError: there is no such layer, or augmentation can leave nothing of such images.

        """
        layers = list(self.layers)
        for index in reversed(range(len(layers))):
            field = {"dense": "units"}.get(layers[index].type, "filters")
            if hasattr(layers[index], field):
                layers[index] = layers[index].model_copy(update={field: outputs})
                fitted = self.model_copy(update={"input": shape, "layers": tuple(layers)})
                if problem := next(fitted._unfit_augmentation(), None):
                    raise ValueError(problem)
                return fitted
        raise ValueError(f"model {self.name!r} has no last layer whose units could be {outputs}")

    @property
    def hash(self) -> str:
        """Sixteen hex digits over everything but the description.

        A part that came later counts only where it is used: older specs keep their hash.
        """
        unused: dict[str, Any] = {} if self.training.augment else {"training": {"augment"}}
        unused |= {"bias_initializer": True} if self.bias_initializer == "zeros" else {}
        text = self.model_dump_json(exclude={"description": True, **unused})
        return hashlib.sha256(text.encode()).hexdigest()[:16]
