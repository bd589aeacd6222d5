"""From a layer and the shape of its input to a node: windows, parameters and FLOPs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from harness.spec.layers import (
    Activation,
    AvgPool,
    BatchNorm,
    ChannelScale,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    Leaf,
    MaxPool,
    Norm,
    Padding,
    Pads,
)
from harness.spec.nodes import Node, Parameter, Role, Shape


def window_output(size: int, window: int, stride: int, padding: Padding, pads: int = 0) -> int:
    """Pixels along one axis after sliding a window over it; `pads` is their sum if explicit."""
    return -(-size // stride) if padding == "same" else (size + pads - window) // stride + 1


def window_pads(size: int, window: int, stride: int, padding: Padding) -> tuple[int, int]:
    """Pixels padded before and after along one axis; an odd one goes after (TensorFlow's SAME)."""
    if padding == "valid":
        return 0, 0
    total = max((window_output(size, window, stride, "same") - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class Windows:
    """Where a sliding window goes: `[axis]` is 0 for rows, 1 for columns."""

    output: tuple[int, int]
    pads: Pads


def _windows(layer: Conv2D | MaxPool | AvgPool, shape: Shape) -> Windows:
    """Check and place a sliding window."""
    _needs_image(shape)
    if isinstance(layer, Conv2D):
        field, window, stride = "kernel", layer.kernel, layer.stride
        reach = [(k - 1) * d + 1 for k, d in zip(layer.kernel, layer.dilation, strict=True)]
    else:
        field, window, stride, reach = "size", layer.size, layer.steps, list(layer.size)
    if isinstance(layer.padding, str):
        rows_pads, columns_pads = (
            window_pads(shape[axis], reach[axis], stride[axis], layer.padding) for axis in (0, 1)
        )
        pads = (rows_pads, columns_pads)
    else:
        pads = layer.padding
    for axis in (0, 1):
        if layer.padding != "same" and reach[axis] > shape[axis] + sum(pads[axis]):
            dilated = f", dilated to {reach}," if reach != list(window) else ""
            raise ValueError(
                f"{field} = {list(window)}{dilated} is larger than its input of "
                f'{shape[0]}x{shape[1]} pixels; use a smaller one, or padding = "same"'
            )
        if not isinstance(layer, Conv2D) and max(pads[axis]) >= reach[axis]:
            raise ValueError(
                f"padding = {[list(pair) for pair in pads]} leaves windows of {list(window)} "
                "without a pixel; pad less than the window"
            )
    rows, columns = (
        window_output(shape[axis], reach[axis], stride[axis], layer.padding, sum(pads[axis]))
        for axis in (0, 1)
    )
    return Windows((rows, columns), pads)


def _needs_image(shape: Shape) -> None:
    if len(shape) != 3:
        raise ValueError(f"needs an image (height, width, channels), but its input is {shape}")


def _conv2d(layer: Conv2D, shape: Shape, activation: Activation) -> Node:
    windows = _windows(layer, shape)
    (height, width), (kh, kw) = windows.output, layer.kernel
    groups, filters = layer.groups, layer.filters
    if shape[2] % groups or filters % groups:
        raise ValueError(
            f"groups = {groups} must divide its input's {shape[2]} channels and its {filters} "
            "filters"
        )
    inside = shape[2] // groups
    fans = (kh * kw * inside, kh * kw * filters // groups)
    parameters = [Parameter("kernel", (kh, kw, inside, filters), "kernel", *fans)]
    if layer.bias:
        parameters.append(Parameter("bias", (filters,), "bias", *fans))
    return Node(
        layer,
        shape,
        (height, width, filters),
        activation,
        tuple(parameters),
        flops=2 * height * width * kh * kw * inside * filters,
        pads=windows.pads,
    )


def _dense(layer: Dense, shape: Shape, activation: Activation) -> Node:
    if len(shape) != 1:
        raise ValueError(
            f'needs a flat input, but its input is {shape}; put a "flatten" or a '
            '"global_avg_pool" before it'
        )
    fans = (shape[0], layer.units)
    parameters = [Parameter("kernel", fans, "kernel", *fans)]
    if layer.bias:
        parameters.append(Parameter("bias", (layer.units,), "bias", *fans))
    return Node(
        layer,
        shape,
        (layer.units,),
        activation,
        tuple(parameters),
        flops=2 * shape[0] * layer.units,
    )


def _norm(layer: Norm, shape: Shape) -> Node:
    channels = shape[-1]
    if isinstance(layer, GroupNorm) and channels % layer.groups:
        raise ValueError(f"groups = {layer.groups} must divide its input's {channels} channels")
    wanted: tuple[tuple[Role, bool], ...] = (("scale", layer.scale), ("offset", layer.offset))
    roles = [role for role, is_wanted in wanted if is_wanted]
    statistics: tuple[Role, ...] = ("mean", "variance") if isinstance(layer, BatchNorm) else ()
    return Node(
        layer,
        shape,
        shape,
        "linear",
        tuple(_per_channel(layer, role, channels) for role in roles),
        tuple(_per_channel(layer, role, channels) for role in statistics),
    )


def _per_channel(layer: Norm, role: Role, channels: int) -> Parameter:
    return Parameter(role, (channels,), role, channels, channels)


def place(layer: Leaf, shape: Shape, activation: Activation, path: str, name: str) -> Node:
    """Return the node of `layer` where its input has `shape` `(h, w, c)` or `(units,)`.

    Raises:
        ValueError: the layer cannot take such an input.

    """
    node = _place(layer, shape, activation)

    def named(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
        return tuple(replace(p, path=f"{path}.{p.role}") for p in parameters)

    return replace(
        node,
        path=path,
        name=name,
        parameters=named(node.parameters),
        statistics=named(node.statistics),
    )


def _place(layer: Leaf, shape: Shape, activation: Activation) -> Node:
    match layer:
        case Conv2D():
            return _conv2d(layer, shape, activation)
        case Dense():
            return _dense(layer, shape, activation)
        case MaxPool() | AvgPool():
            windows = _windows(layer, shape)
            output = (*windows.output, shape[2])
            return Node(layer, shape, output, activation, pads=windows.pads)
        case GlobalAvgPool() | GlobalMaxPool():
            _needs_image(shape)
            return Node(layer, shape, (shape[2],), activation)
        case BatchNorm() | LayerNorm() | GroupNorm():
            return _norm(layer, shape)
        case ChannelScale():
            channels = shape[-1]
            scale = Parameter("scale", (channels,), "scale", channels, channels, layer.initial)
            return Node(layer, shape, shape, activation, (scale,))
        case Flatten():
            return Node(layer, shape, (math.prod(shape),), activation)
        case _:
            return Node(layer, shape, shape, activation)
