"""The layers that a spec may hold, each field with its allowed values.

Shapes are NHWC without the batch dimension: `(height, width, channels)`, or `(units,)` once
flattened. Every model is frozen and refuses unknown fields, so that a spelling mistake in a
TOML file is an error and never a silent default.
"""

from __future__ import annotations

import keyword
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

Activation = Literal["linear", "relu", "softmax"]
Padding = Literal["same", "valid"]

# Attributes of torch.nn.Module, keras.Model, nnx.Module and tf.Module that a layer's name
# would overwrite in the generated classes, and words that the generated sources use.
RESERVED = frozenset(
    """
add_module append apply axis backward bfloat16 bind buffers build build_from_config built call
children compile compiled compute_loss compute_mask compute_metrics cpu cuda double dtype
dump_patches dynamic eval evaluate export extra_repr fit float forward functional get_buffer
get_config get_extra_state get_layer half images init input inputs iter_children iter_modules
jax keras labels layers load_state_dict logits loss losses mean metrics modules mul name
name_scope named_parameters nnx non_trainable_variables np numpy optax optimizer output outputs
parameters path perturb predict quantize register requires_grad reset_states rngs run save self
set_extra_state share_memory sow state state_dict step step_count stop submodules summary
supports_masking targets tf to torch train train_step trainable trainable_variables training
type unflatten variables weights with_name_scope x xpu zero_grad
""".split()
)


MAX_EXTENT = 1024


def _pair(value: object) -> object:
    """Read `3` as `[3, 3]`: one number means the same along height and width."""
    if type(value) is int and 1 <= value <= MAX_EXTENT:
        return value, value
    if isinstance(value, tuple | list) and len(value) == 2:
        return value
    raise ValueError(f"should be an integer from 1 to {MAX_EXTENT}, or an array of two")


def _identifier(value: str) -> str:
    """Names go into generated source, so they must be plain and harmless there."""
    if keyword.iskeyword(value) or keyword.issoftkeyword(value) or value in RESERVED:
        raise ValueError("is a reserved word; any other lower-case identifier is allowed")
    if value.endswith(("_kernel", "_bias")):
        raise ValueError("ends like the name of a parameter; allowed: not in _kernel or _bias")
    return value


Count = Annotated[int, Field(ge=1, le=1_000_000)]
Extent = Annotated[int, Field(ge=1, le=MAX_EXTENT)]
Pair = Annotated[tuple[Extent, Extent], BeforeValidator(_pair)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$"), AfterValidator(_identifier)]


class Model(BaseModel):
    """Base of every part of a spec: strict types, no unknown fields, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LayerBase(Model):
    """What every layer has; `name` is filled in by the spec where the file leaves it out."""

    name: Name = Field(default="", validate_default=False)


class Conv2D(LayerBase):
    """Convolution (cross-correlation) over height and width; kernel `[kh, kw, in, filters]`.

    `padding = "same"` has TensorFlow's meaning: the output has `ceil(n / stride)` pixels, and of
    an odd number of padded rows the larger half lies below.
    """

    type: Literal["conv2d"] = "conv2d"
    filters: Count
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = "valid"
    bias: bool = True
    activation: Activation = "linear"


class MaxPool(LayerBase):
    """Maximum over windows; padded pixels count as minus infinity.

    `stride` defaults to the window. The gradient of tied maxima goes to the first in row-major
    order of the window.
    """

    type: Literal["max_pool"] = "max_pool"
    size: Pair
    stride: Annotated[Pair | None, Field(validate_default=True)] = None
    padding: Padding = "valid"

    @field_validator("stride")
    @classmethod
    def _stride_by_the_window(
        cls, value: tuple[int, int] | None, others: ValidationInfo
    ) -> tuple[int, int] | None:
        """Fill the default in, so that the hash is the same whether it is written out or not."""
        return value or others.data.get("size")

    @property
    def steps(self) -> tuple[int, int]:
        """The stride along height and width, with its default applied."""
        return self.stride or self.size


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


Layer = Annotated[
    Conv2D | MaxPool | Flatten | Dense | Dropout | ActivationLayer, Field(discriminator="type")
]
LAYER_TYPES = ("conv2d", "max_pool", "flatten", "dense", "dropout", "activation")

# What an unnamed layer is called: conv1, pool1, ... counted by kind.
NAME_STEMS = {
    "conv2d": "conv",
    "max_pool": "pool",
    "flatten": "flatten",
    "dense": "dense",
    "dropout": "dropout",
    "activation": "activation",
}


def activation_of(layer: Layer) -> Activation:
    """The activation that `layer` ends with; `linear` where it has none."""
    if isinstance(layer, ActivationLayer):
        return layer.function
    return layer.activation if isinstance(layer, Conv2D | Dense) else "linear"
