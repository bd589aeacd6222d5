"""The layers that a spec may hold, each field with its allowed values.

Shapes are NHWC without the batch dimension: `(height, width, channels)`, or `(units,)` once
flattened; `(length, channels)` of signals, `(depth, height, width, channels)` of volumes. Every
model is frozen and refuses unknown fields, so that a spelling mistake in a TOML file is an error
and never a silent default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from harness.spec.names import Name

InnerActivation = Literal[
    "linear",
    "relu",
    "relu6",  # min(max(x, 0), 6)
    "leaky_relu",  # x where positive, else 0.01 x
    "elu",  # x where positive, else exp(x) - 1
    "gelu",  # x times the normal distribution function of x, by erf
    "gelu_tanh",  # the same by its approximation with tanh
    "silu",  # x sigmoid(x), also called swish
    "tanh",
    "sigmoid",
    "hard_swish",  # x relu6(x + 3) / 6
]
Activation = Literal[InnerActivation, "softmax"]
LEAKY_SLOPE = 0.01
MAX_EXTENT = 1024
MAX_AXES = 3
Pads = tuple[tuple[int, int], ...]  # before and after, along each axis
NUMBERS = {1: "one", 2: "two", 3: "three"}


def _sizes(axes: int | None) -> Callable[[object], object]:
    """Return what reads `3` as `[3, 3]` along two axes; without `axes`, arrays of any do too."""
    many = NUMBERS[axes] if axes else "one for each axis"

    def read(value: object) -> object:
        if type(value) is int and 1 <= value <= MAX_EXTENT:
            return (value,) * (axes or 2)
        if isinstance(value, tuple | list) and _fits(len(value), axes):
            return value
        raise ValueError(f"should be an integer from 1 to {MAX_EXTENT}, or an array of {many}")

    return read


def _fits(length: int, axes: int | None) -> bool:
    return length == axes if axes else 1 <= length <= MAX_AXES


FORMS = {
    1: "or [[before, after]]",
    2: "[rows, columns] or [[top, bottom], [left, right]]",
    3: "[planes, rows, columns] or [[front, back], [top, bottom], [left, right]]",
}


def _padding(axes: int | None) -> Callable[[object], object]:
    """Return what reads `1` as `[[1, 1], [1, 1]]` and `[1, 2]` as `[[1, 1], [2, 2]]`.

    Words stay.
    """

    def read(value: object) -> object:
        if value in ("same", "valid"):
            return value
        given = (value,) * (axes or 2) if _is_pixels(value) else value
        if isinstance(given, tuple | list) and _fits(len(given), axes):
            pairs = tuple((side, side) if _is_pixels(side) else side for side in given)
            if all(
                isinstance(pair, tuple | list) and len(pair) == 2 and all(map(_is_pixels, pair))
                for pair in pairs
            ):
                return tuple(tuple(pair) for pair in pairs)
        raise ValueError(
            f"should be 'same', 'valid', a number of pixels from 0 to {MAX_EXTENT}, "
            f"{FORMS[axes or 2]}"
        )

    return read


def _is_pixels(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_EXTENT


def spread(layer: dict[str, Any], axes: int) -> dict[str, Any]:
    """Write single numbers of a raw pool out, for inputs of other than two axes."""
    wide = dict(layer)
    for field in ("size", "stride"):
        if type(layer.get(field)) is int:
            wide[field] = (layer[field],) * axes
    if _is_pixels(layer.get("padding")):
        wide["padding"] = ((layer["padding"],) * 2,) * axes
    return wide


Count = Annotated[int, Field(ge=1, le=1_000_000)]
Extent = Annotated[int, Field(ge=1, le=MAX_EXTENT)]
Pixels = Annotated[int, Field(ge=0, le=MAX_EXTENT)]
BothSides = Pixels | tuple[Pixels, Pixels]  # one number, or what comes before and after
Sizes1 = Annotated[
    tuple[Extent], BeforeValidator(_sizes(1), json_schema_input_type=Extent | tuple[Extent])
]
Sizes2 = Annotated[
    tuple[Extent, Extent],
    BeforeValidator(_sizes(2), json_schema_input_type=Extent | tuple[Extent, Extent]),
]
Sizes3 = Annotated[
    tuple[Extent, Extent, Extent],
    BeforeValidator(_sizes(3), json_schema_input_type=Extent | tuple[Extent, Extent, Extent]),
]
SomeExtents = Annotated[tuple[Extent, ...], Field(min_length=1, max_length=MAX_AXES)]
Sizes = Annotated[
    tuple[Extent, ...], BeforeValidator(_sizes(None), json_schema_input_type=Extent | SomeExtents)
]
Word = Literal["same", "valid"]
Padding1 = Annotated[
    Word | Pads,
    BeforeValidator(_padding(1), json_schema_input_type=Word | Pixels | tuple[BothSides]),
]
Padding2 = Annotated[
    Word | Pads,
    BeforeValidator(
        _padding(2), json_schema_input_type=Word | Pixels | tuple[BothSides, BothSides]
    ),
]
Padding3 = Annotated[
    Word | Pads,
    BeforeValidator(
        _padding(3), json_schema_input_type=Word | Pixels | tuple[BothSides, BothSides, BothSides]
    ),
]
SomePads = Annotated[tuple[BothSides, ...], Field(min_length=1, max_length=MAX_AXES)]
Padding = Annotated[
    Word | Pads,
    BeforeValidator(_padding(None), json_schema_input_type=Word | Pixels | SomePads),
]
Epsilon = Annotated[float, Field(gt=0.0, le=1.0)]


class Model(BaseModel):
    """Base of every part of a spec: strict types, no unknown fields, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class LayerBase(Model):
    """What every layer has; `name` is filled in by the spec where the file leaves it out."""

    name: Name = Field(default="", validate_default=False)


class Conv(LayerBase):
    """Base of the convolutions (cross-correlations); kernel `[k..., in/groups, filters]`.

    `padding = "same"` has TensorFlow's meaning: the output has `ceil(n / stride)` pixels, and of
    an odd number of padded rows the larger half lies below. `groups` equal to the channels of
    the input makes it depthwise; filters are ordered by group.
    """

    type: Literal["conv1d", "conv2d", "conv3d"]
    filters: Count
    kernel: Sizes
    stride: Sizes
    padding: Padding = "valid"
    dilation: Sizes
    groups: Count = 1
    bias: bool = True
    activation: Activation = "linear"


class Conv1D(Conv):
    """Convolution along a signal `(length, channels)`; else as `conv2d`."""

    type: Literal["conv1d"] = "conv1d"
    kernel: Sizes1
    stride: Sizes1 = (1,)
    padding: Padding1 = "valid"
    dilation: Sizes1 = (1,)


class Conv2D(Conv):
    """Convolution (cross-correlation) over height and width; kernel `[kh, kw, in/groups, filters]`.

    `padding = "same"` has TensorFlow's meaning: the output has `ceil(n / stride)` pixels, and of
    an odd number of padded rows the larger half lies below. `groups` equal to the channels of
    the input makes it depthwise; filters are ordered by group.
    """

    type: Literal["conv2d"] = "conv2d"
    kernel: Sizes2
    stride: Sizes2 = (1, 1)
    padding: Padding2 = "valid"
    dilation: Sizes2 = (1, 1)


class Conv3D(Conv):
    """Convolution over a volume or video `(depth, height, width, channels)`; else as `conv2d`."""

    type: Literal["conv3d"] = "conv3d"
    kernel: Sizes3
    stride: Sizes3 = (1, 1, 1)
    padding: Padding3 = "valid"
    dilation: Sizes3 = (1, 1, 1)


class Conv2DTranspose(LayerBase):
    """Transposed convolution: each pixel adds the kernel, times itself, around `stride` times it.

    Kernel `[kh, kw, in, filters]`. Of `(n - 1) stride + kernel` rows, `padding` cuts off what it
    would have added before a `conv2d` of the same stride: with "same", `n stride` are left. This
    is the gradient of such a convolution (Dumoulin and Visin 2016).
    """

    type: Literal["conv2d_transpose"] = "conv2d_transpose"
    filters: Count
    kernel: Sizes2
    stride: Sizes2 = (1, 1)
    padding: Padding2 = "valid"
    bias: bool = True
    activation: Activation = "linear"


class Pool(LayerBase):
    """Base of the pools with windows; `stride` defaults to the window."""

    size: Sizes
    stride: Annotated[Sizes | None, Field(validate_default=True)] = None
    padding: Padding = "valid"

    @field_validator("stride")
    @classmethod
    def _stride_by_the_window(
        cls, value: tuple[int, ...] | None, others: ValidationInfo
    ) -> tuple[int, ...] | None:
        """Fill the default in, so that the hash is the same whether it is written out or not."""
        return value or others.data.get("size")

    @property
    def steps(self) -> tuple[int, ...]:
        """The stride along each axis, with its default applied."""
        return self.stride or self.size


class MaxPool(Pool):
    """Maximum over windows; padded pixels count as minus infinity.

    The gradient of tied maxima goes to the first in row-major order of the window.
    """

    type: Literal["max_pool"] = "max_pool"


class AvgPool(Pool):
    """Mean over windows; padded pixels count neither in the sum nor in the number."""

    type: Literal["avg_pool"] = "avg_pool"


class GlobalAvgPool(LayerBase):
    """Mean over all pixels: `(h, w, c)` becomes `(c,)`."""

    type: Literal["global_avg_pool"] = "global_avg_pool"


class GlobalMaxPool(LayerBase):
    """Maximum over all pixels; a tie's gradient goes to the first in row-major order."""

    type: Literal["global_max_pool"] = "global_max_pool"


class BatchNorm(LayerBase):
    """Normalisation by the batch's mean and biased variance, for each channel.

    Ioffe and Szegedy (2015), but for the running variance, which is biased too. In training
    `running <- decay running + (1 - decay) batch`; in evaluation the running values are used.
    Then `scale` and `offset`, where they are true.
    """

    type: Literal["batch_norm"] = "batch_norm"
    decay: Annotated[float, Field(ge=0.0, lt=1.0)]
    epsilon: Epsilon
    scale: bool = True
    offset: bool = True


class LayerNorm(LayerBase):
    """Normalisation over the channels of each pixel, or over all units (Ba et al. 2016)."""

    type: Literal["layer_norm"] = "layer_norm"
    epsilon: Epsilon
    scale: bool = True
    offset: bool = True


class GroupNorm(LayerBase):
    """Normalisation over pixels and the channels of each group (Wu and He 2018)."""

    type: Literal["group_norm"] = "group_norm"
    groups: Count
    epsilon: Epsilon
    scale: bool = True
    offset: bool = True


class ChannelScale(LayerBase):
    """A learnt factor for each channel, begun at `initial` (LayerScale, Touvron et al. 2021)."""

    type: Literal["channel_scale"] = "channel_scale"
    initial: Annotated[float, Field(gt=0.0, le=1000.0)] = 1.0


class Flatten(LayerBase):
    """Rows of pixels, pixels of channels: NHWC order, whatever the framework keeps inside."""

    type: Literal["flatten"] = "flatten"


class Dense(LayerBase):
    """Fully connected; kernel `[in, units]`."""

    type: Literal["dense"] = "dense"
    units: Count
    bias: bool = True
    activation: Activation = "linear"


class Dropout(LayerBase):
    """Inverted dropout: kept values are divided by `1 - rate` in training; identity otherwise."""

    type: Literal["dropout"] = "dropout"
    rate: Annotated[float, Field(ge=0.0, lt=1.0)]


class ActivationLayer(LayerBase):
    """An activation as a layer of its own; softmax is taken over the last axis."""

    type: Literal["activation"] = "activation"
    function: Activation


Leaf = (
    Conv1D
    | Conv2D
    | Conv3D
    | Conv2DTranspose
    | MaxPool
    | AvgPool
    | GlobalAvgPool
    | GlobalMaxPool
    | BatchNorm
    | LayerNorm
    | GroupNorm
    | ChannelScale
    | Flatten
    | Dense
    | Dropout
    | ActivationLayer
)
Norm = BatchNorm | LayerNorm | GroupNorm


def activation_of(layer: Leaf) -> Activation:
    """The activation that `layer` ends with; `linear` where it has none."""
    if isinstance(layer, ActivationLayer):
        return layer.function
    return layer.activation if isinstance(layer, Conv | Conv2DTranspose | Dense) else "linear"
