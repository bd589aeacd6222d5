"""Keras's layers, each as layers or a join of the spec."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn

from harness.exchange.graph import HARD_SIGMOID, Array, Graph, Refused, short
from harness.spec.layers import LEAKY_SLOPE
from harness.spec.nodes import Shape

ACTIVATIONS = {
    "linear": "linear",
    "relu": "relu",
    "relu6": "relu6",
    "elu": "elu",
    "gelu": "gelu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "hard_silu": "hard_swish",
    "hard_swish": "hard_swish",
    "hard_sigmoid": HARD_SIGMOID,
    "softmax": "softmax",
}


@dataclass(frozen=True)
class Tensor:
    """The output of a vertex; `ones`: how many axes of one pixel, in Keras, what is flat has."""

    vertex: int
    shape: Shape
    ones: int = 0

    @property
    def axes(self) -> int:
        """How many axes of pixels there are, in Keras."""
        return len(self.shape) - 1 + self.ones


@dataclass(frozen=True, eq=False)
class Use:
    """A layer of a Keras model: its settings, arrays, and what goes into it."""

    kind: str
    what: str
    config: dict[str, Any]
    arrays: Sequence[Array]
    inputs: Sequence[Tensor]
    graph: Graph

    def refuse(self, reason: str) -> NoReturn:
        """Say why this layer cannot be taken."""
        raise Refused(reason)

    @property
    def x(self) -> Tensor:
        """The only input."""
        if len(self.inputs) != 1:
            self.refuse(f"{len(self.inputs)} inputs; allowed: one")
        return self.inputs[0]

    def get(self, name: str, *allowed: Any) -> Any:
        """Return a setting, which must be one of those allowed, if there are any."""
        value = self.config.get(name)
        if allowed and value not in allowed:
            self.refuse(f"{name} = {str(value)[:60]}; allowed: {', '.join(map(str, allowed))}")
        return value

    def sizes(self, name: str) -> tuple[int, ...]:
        """Return a setting of a number for each axis of pixels, which may be one for all."""
        value = self.config.get(name)
        return (value,) * self.x.axes if isinstance(value, int) else tuple(value or ())[:9]

    def named(self, *roles: str) -> dict[str, Array]:
        """Return the arrays by role, which must be as many."""
        if len(self.arrays) != len(roles):
            self.refuse(f"has {len(self.arrays)} arrays of weights; wanted: {', '.join(roles)}")
        return dict(zip(roles, self.arrays, strict=True))

    def layer(
        self, x: Tensor, kind: str, arrays: dict[str, Array] | None = None, /, **fields: Any
    ) -> Tensor:
        """Add a layer of the spec."""
        vertex = self.graph.layer(self.what, x.vertex, {"type": kind, **fields}, arrays)
        shape = self.graph.shape(vertex)
        return Tensor(vertex, shape, x.ones if len(shape) == 1 else 0)

    def activated(self, x: Tensor) -> Tensor:
        """Add the activation that the layer ends with."""
        given = self.config.get("activation")
        if isinstance(given, dict) and not given.get("registered_name"):
            given = given.get("config")  # a function; what has settings is no plain word
        if given is None:
            return x
        if not isinstance(given, str) or given not in ACTIVATIONS:
            known = ", ".join(sorted(ACTIVATIONS))
            self.refuse(f"activation = {str(given)[:60]}; allowed: {known}")
        return self.function(x, ACTIVATIONS[given])

    def function(self, x: Tensor, function: str) -> Tensor:
        """Add an activation of the spec."""
        if function == "linear":
            return x
        return replace(x, vertex=self.graph.activation(self.what, x.vertex, function))


def _windows(use: Use, size: str, name: str) -> dict[str, Any]:
    """The fields of a layer with windows, without those that are as the spec's defaults."""
    use.get("data_format", "channels_last")
    fields: dict[str, Any] = {size: use.sizes(name)}
    usual = (1,) * use.x.axes if size == "kernel" else fields[size]
    if (stride := use.sizes("strides")) != usual:
        fields["stride"] = stride
    if (padding := use.get("padding", "valid", "same")) != "valid":
        fields["padding"] = padding
    return fields


def conv(use: Use) -> Tensor:
    """Convolution; of a pixel that a global pool has left, a dense layer."""
    if use.get("lora_rank"):
        use.refuse("LoRA")
    fields = _windows(use, "kernel", "kernel_size")
    fields["filters"] = use.get("filters")
    if (dilation := use.sizes("dilation_rate")) != (1,) * use.x.axes:
        fields["dilation"] = dilation
    if (groups := use.get("groups")) != 1:
        fields["groups"] = groups
    arrays = _kernel_and_bias(use)
    if not use.x.ones:
        return use.activated(_convolved(use, use.x, fields, arrays))
    kernel = arrays["kernel"]
    if set(fields["kernel"]) != {1} or kernel.ndim != use.x.ones + 2 or groups != 1:
        use.refuse("of one pixel; allowed: a kernel of 1x1")
    return _dense(use, {**arrays, "kernel": kernel.reshape(kernel.shape[-2:])})


def _kernel_and_bias(use: Use) -> dict[str, Array]:
    return use.named("kernel", "bias") if use.get("use_bias") else use.named("kernel")


def _convolved(use: Use, x: Tensor, fields: dict[str, Any], arrays: dict[str, Array]) -> Tensor:
    if "bias" not in arrays:
        fields = {**fields, "bias": False}
    return use.layer(x, f"conv{x.axes}d", arrays, **fields)


def conv_transpose(use: Use) -> Tensor:
    """Transposed convolution of images; Keras keeps its kernel as `[kh, kw, out, in]`."""
    fields = _windows(use, "kernel", "kernel_size")
    fields["filters"] = use.get("filters")
    use.get("output_padding", None)
    if set(use.sizes("dilation_rate")) != {1}:
        use.refuse(f"dilation_rate = {use.sizes('dilation_rate')}; allowed: 1")
    arrays = _kernel_and_bias(use)
    if arrays["kernel"].ndim != 4 or use.x.axes != 2:
        use.refuse(f"a kernel of {list(arrays['kernel'].shape)}; allowed: of images")
    above = [s > k for s, k in zip(use.sizes("strides"), fields["kernel"], strict=True)]
    if "padding" not in fields and any(above):
        # Where a stride is above its kernel, Keras's "valid" adds rows as its "same" does.
        if not all(s >= k for s, k in zip(use.sizes("strides"), fields["kernel"], strict=True)):
            use.refuse("a stride above the kernel along one axis only; allowed: along both")
        fields["padding"] = "same"
    if "bias" not in arrays:
        fields["bias"] = False
    arrays["kernel"] = arrays["kernel"].swapaxes(2, 3)
    return use.activated(use.layer(use.x, "conv2d_transpose", arrays, **fields))


def depthwise(use: Use) -> Tensor:
    """Convolution of each channel alone."""
    return use.activated(_depthwise(use, _kernel_and_bias(use)))


def _depthwise(use: Use, arrays: dict[str, Array]) -> Tensor:
    """`[k..., in, each]` as `[k..., 1, in each]`: ordered by group already."""
    kernel, fields = arrays["kernel"], _windows(use, "kernel", "kernel_size")
    if (dilation := use.sizes("dilation_rate")) != (1,) * use.x.axes:
        fields["dilation"] = dilation
    if kernel.ndim != use.x.axes + 2:
        use.refuse(f"a kernel of {list(kernel.shape)}")
    *sides, channels, each = kernel.shape
    fields |= {"filters": channels * each, "groups": channels}
    kernel = kernel.reshape(*sides, 1, channels * each)
    return _convolved(use, use.x, fields, {**arrays, "kernel": kernel})


def separable(use: Use) -> Tensor:
    """A depthwise convolution without bias, then one of single pixels."""
    bias = ("bias",) if use.get("use_bias") else ()
    arrays = use.named("depthwise", "kernel", *bias)
    x = _depthwise(use, {"kernel": arrays.pop("depthwise")})
    fields = {"filters": use.get("filters"), "kernel": (1,) * x.axes}
    return use.activated(_convolved(use, x, fields, arrays))


def dense(use: Use) -> Tensor:
    """Fully connected; of an image a convolution of single pixels."""
    if use.get("lora_rank") or use.get("quantization_config"):
        use.refuse("LoRA or quantization")
    arrays = _kernel_and_bias(use)
    if len(use.x.shape) == 1:
        return _dense(use, arrays)
    if arrays["kernel"].ndim != 2:
        use.refuse(f"a kernel of {list(arrays['kernel'].shape)}")
    ones = (1,) * use.x.axes
    arrays["kernel"] = arrays["kernel"].reshape(*ones, *arrays["kernel"].shape)
    fields = {"filters": use.get("units"), "kernel": ones}
    return use.activated(_convolved(use, use.x, fields, arrays))


def _dense(use: Use, arrays: dict[str, Array]) -> Tensor:
    fields: dict[str, Any] = {"units": use.get("units" if use.kind == "Dense" else "filters")}
    if "bias" not in arrays:
        fields["bias"] = False
    return use.activated(use.layer(use.x, "dense", arrays, **fields))


def norm(use: Use) -> Tensor:
    """Batch, layer or group normalisation over the channels."""
    axis = use.get("axis")
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    rank = use.x.axes + 2
    if axis not in (-1, rank - 1):
        use.refuse(f"axis = {str(axis)[:60]}; allowed: -1, the channels")
    if use.get("rms_scaling") or use.get("renorm"):
        use.refuse("rms_scaling or renorm; allowed: false")
    fields: dict[str, Any] = {"epsilon": use.get("epsilon")}
    roles = []
    for setting, role in (("scale", "scale"), ("center", "offset")):
        if use.get(setting, True, False):
            roles.append(role)
        else:
            fields[role] = False
    kind = {"BatchNormalization": "batch_norm", "LayerNormalization": "layer_norm"}.get(use.kind)
    if kind == "batch_norm":
        roles += ["mean", "variance"]
        fields["decay"] = use.get("momentum")
    elif kind is None:
        kind, groups = "group_norm", use.get("groups")
        fields["groups"] = use.x.shape[-1] if groups == -1 else groups
    return use.layer(use.x, kind, use.named(*roles), **fields)


def pool(use: Use) -> Tensor:
    """A pool with windows."""
    kind = "max_pool" if use.kind.startswith("Max") else "avg_pool"
    return use.layer(use.x, kind, **_windows(use, "size", "pool_size"))


def global_pool(use: Use) -> Tensor:
    """The mean or maximum of all pixels."""
    use.get("data_format", "channels_last")
    kind = "global_max_pool" if "Max" in use.kind else "global_avg_pool"
    axes = use.x.axes
    found = use.layer(use.x, kind)
    return replace(found, ones=axes if use.get("keepdims", True, False, None) is True else 0)


def flatten(use: Use) -> Tensor:
    """All but the images' axis as one, by a reshape too; or a pixel beside the channels."""
    x = use.x
    if use.kind == "Reshape":
        shape, whole = list(use.get("target_shape") or ()), math.prod(x.shape)
        if (
            len(x.shape) == 1
            and shape[:-1] in ([1], [1, 1], [1, 1, 1])
            and shape[-1] in (whole, -1)
        ):
            return replace(x, ones=len(shape) - 1)
        if shape not in ([whole], [-1]):
            use.refuse(f"target_shape = {str(shape)[:60]}; allowed: flat, or one pixel")
    else:
        use.get("data_format", "channels_last")
    return replace(x, ones=0) if len(x.shape) == 1 else use.layer(x, "flatten")


def dropout(use: Use) -> Tensor:
    """Dropout of single values."""
    use.get("noise_shape", None)
    return use.layer(use.x, "dropout", rate=use.get("rate"))


def zero_padding(use: Use) -> Tensor:
    """Zeros around the pixels, which the next layer will add."""
    use.get("data_format", "channels_last")
    given = use.get("padding")
    pairs = [given] if use.x.axes == 1 else list(given)[:9]
    pads = tuple((before, after) for before, after in pairs)
    vertex = use.graph.pad(use.what, use.x.vertex, pads)
    return Tensor(vertex, use.graph.shape(vertex))


def join(use: Use) -> Tensor:
    """A sum, a product, or channels beside each other."""
    kinds: dict[str, Literal["add", "multiply", "concat"]] = {"Add": "add", "Multiply": "multiply"}
    kind = kinds.get(use.kind, "concat")
    xs = use.inputs
    if kind == "concat":
        axis, axes = use.get("axis"), {x.axes for x in xs}
        if axis not in (-1, max(axes, default=0) + 1) or len(axes) > 1:
            use.refuse(f"axis = {str(axis)[:60]}; allowed: -1, the channels")
    is_factor = [len(x.shape) == 1 and not x.ones for x in xs]
    if kind == "multiply" and any(is_factor) and not all(is_factor):
        use.refuse("an image by a flat value, which is no factor for each channel")
    vertex = use.graph.join(use.what, kind, [x.vertex for x in xs])
    shape = use.graph.shape(vertex)
    return Tensor(vertex, shape, min(x.ones for x in xs) if len(shape) == 1 else 0)


def activation(use: Use) -> Tensor:
    """An activation as a layer of its own."""
    slope = use.config.get("negative_slope")
    match use.kind:
        case "Activation":
            return use.activated(use.x)
        case "ReLU":
            limit = use.get("max_value", None, 6)
            use.get("threshold", None, 0)
            if limit is None and slope is not None and math.isclose(slope, LEAKY_SLOPE):
                return use.function(use.x, "leaky_relu")
            use.get("negative_slope", None, 0)
            return use.function(use.x, "relu" if limit is None else "relu6")
        case "LeakyReLU":
            if not isinstance(slope, float) or not math.isclose(slope, LEAKY_SLOPE, rel_tol=1e-4):
                use.refuse(f"negative_slope = {str(slope)[:60]}; allowed: {LEAKY_SLOPE}")
            return use.function(use.x, "leaky_relu")
        case "ELU":
            use.get("alpha", 1)
            return use.function(use.x, "elu")
        case _:
            use.get("axis", -1)
            return use.function(use.x, "softmax")


def refused(use: Use) -> Tensor:
    """A layer that changes the images before the network: that is a dataset's business."""
    return use.refuse(f"prepares images; do so in the dataset, and leave {short(use.kind)} out")


LAYERS: dict[str, Callable[[Use], Tensor]] = {
    **{f"Conv{axes}D": conv for axes in (1, 2, 3)},
    "Conv2DTranspose": conv_transpose,
    **{f"DepthwiseConv{axes}D": depthwise for axes in (1, 2)},
    **{f"SeparableConv{axes}D": separable for axes in (1, 2)},
    "Dense": dense,
    "BatchNormalization": norm,
    "LayerNormalization": norm,
    "GroupNormalization": norm,
    **{f"{kind}Pooling{axes}D": pool for kind in ("Max", "Average") for axes in (1, 2, 3)},
    **{
        f"Global{kind}Pooling{axes}D": global_pool
        for kind in ("Max", "Average")
        for axes in (1, 2, 3)
    },
    "Flatten": flatten,
    "Reshape": flatten,
    "Dropout": dropout,
    **{f"ZeroPadding{axes}D": zero_padding for axes in (1, 2, 3)},
    "Add": join,
    "Multiply": join,
    "Concatenate": join,
    "Activation": activation,
    "ReLU": activation,
    "LeakyReLU": activation,
    "ELU": activation,
    "Softmax": activation,
    "Rescaling": refused,
    "Normalization": refused,
    "Resizing": refused,
    "CenterCrop": refused,
}
