"""From a layer and the shape of its input to a node: windows, parameters and FLOPs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.spec.layers import (
    Activation,
    AvgPool,
    BatchNorm,
    ChannelScale,
    Conv,
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    Conv3D,
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
    Pool,
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


AnyConv = Conv1D | Conv2D | Conv3D


@dataclass(frozen=True)
class Windows:
    """Where a sliding window goes, by axis: rows, then columns."""

    output: tuple[int, ...]
    pads: Pads


def _windows(layer: AnyConv | MaxPool | AvgPool, shape: Shape) -> Windows:
    """Check and place a sliding window."""
    if isinstance(layer, Conv):
        field, window, stride = "kernel", tuple(layer.kernel), tuple(layer.stride)
        reach = tuple((k - 1) * d + 1 for k, d in zip(layer.kernel, layer.dilation, strict=True))
    else:
        field, window, stride, reach = "size", layer.size, layer.steps, layer.size
    _needs_axes(layer, shape, len(window))
    pads = _pads(layer.padding, shape, reach, stride)
    for pixels, extent, pad in zip(shape, reach, pads, strict=False):
        if layer.padding != "same" and extent > pixels + sum(pad):
            dilated = f", dilated to {list(reach)}," if reach != window else ""
            raise ValueError(
                f"{field} = {list(window)}{dilated} is larger than its input of "
                f'{"x".join(map(str, shape[:-1]))} pixels; use a smaller one, or padding = "same"'
            )
        if not isinstance(layer, Conv) and max(pad) >= extent:
            raise ValueError(
                f"padding = {[list(pair) for pair in pads]} leaves windows of {list(window)} "
                "without a pixel; pad less than the window"
            )
    output = tuple(
        window_output(pixels, extent, step, layer.padding, sum(pad))
        for pixels, extent, step, pad in zip(shape, reach, stride, pads, strict=False)
    )
    return Windows(output, pads)


def _pads(padding: Padding, shape: Shape, reach: tuple[int, ...], stride: tuple[int, ...]) -> Pads:
    if not isinstance(padding, str):
        return padding
    places = zip(shape, reach, stride, strict=False)  # the channels are left over
    return tuple(window_pads(pixels, extent, step, padding) for pixels, extent, step in places)


INPUTS = {
    1: "a signal (length, channels)",
    2: "an image (height, width, channels)",
    3: "a volume (depth, height, width, channels)",
}


def _needs_axes(layer: Leaf, shape: Shape, axes: int) -> None:
    """Refuse an input with other than so many axes, and channels."""
    if len(shape) - 1 == axes:
        if isinstance(layer, Pool) and not len(layer.size) == len(layer.steps) == axes:
            raise ValueError(f"size and stride must have {axes} numbers, one for each axis")
        if not isinstance(layer.padding, str) and len(layer.padding) != axes:  # type: ignore[union-attr]
            raise ValueError(f"padding must be of {axes} axes")
        return
    hint = ""
    if len(shape) > 1:
        kind = f'"conv{len(shape) - 1}d"' if isinstance(layer, Conv) else "a window of its axes"
        hint = f"; use {kind}"
    raise ValueError(f"needs {INPUTS[axes]}, but its input is {shape}{hint}")


def _conv(layer: AnyConv, shape: Shape, activation: Activation) -> Node:
    windows = _windows(layer, shape)
    groups, filters, channels = layer.groups, layer.filters, shape[-1]
    if channels % groups or filters % groups:
        raise ValueError(
            f"groups = {groups} must divide its input's {channels} channels and its {filters} "
            "filters"
        )
    inside, taps = channels // groups, math.prod(layer.kernel)
    fans = (taps * inside, taps * filters // groups)
    return Node(
        layer,
        shape,
        (*windows.output, filters),
        activation,
        _kernel_and_bias((*layer.kernel, inside, filters), layer.bias, fans),
        flops=2 * math.prod(windows.output) * taps * inside * filters,
        pads=windows.pads,
    )


def _conv_transpose(layer: Conv2DTranspose, shape: Shape, activation: Activation) -> Node:
    _needs_axes(layer, shape, 2)
    filters, channels, taps = layer.filters, shape[2], math.prod(layer.kernel)
    pads: Pads = tuple(
        _cut(kernel, step, layer.padding, axis)
        for axis, (kernel, step) in enumerate(zip(layer.kernel, layer.stride, strict=True))
    )
    output = tuple(
        (pixels - 1) * step + kernel - sum(cut)
        for pixels, step, kernel, cut in zip(
            shape[:2], layer.stride, layer.kernel, pads, strict=True
        )
    )
    if min(output) < 1:
        raise ValueError(f"padding = {[list(pair) for pair in pads]} leaves no pixel; pad less")
    fans = (taps * channels, taps * filters)
    return Node(
        layer,
        shape,
        (*output, filters),
        activation,
        _kernel_and_bias((*layer.kernel, channels, filters), layer.bias, fans),
        flops=2 * shape[0] * shape[1] * taps * channels * filters,
        pads=pads,
    )


def _cut(kernel: int, stride: int, padding: Padding, axis: int) -> tuple[int, int]:
    """Return the rows cut off before and after; fewer than none are added after, as zeros."""
    if not isinstance(padding, str):
        return padding[axis]
    if padding == "valid":
        return 0, 0
    before = max(kernel - stride, 0) // 2
    return before, kernel - stride - before


def _kernel_and_bias(shape: Shape, bias: bool, fans: tuple[int, int]) -> tuple[Parameter, ...]:
    kernel = Parameter("kernel", shape, "kernel", *fans)
    return (kernel, Parameter("bias", shape[-1:], "bias", *fans)) if bias else (kernel,)


def _dense(layer: Dense, shape: Shape, activation: Activation) -> Node:
    if len(shape) != 1:
        raise ValueError(
            f'needs a flat input, but its input is {shape}; put a "flatten" or a '
            '"global_avg_pool" before it'
        )
    fans = (shape[0], layer.units)
    return Node(
        layer,
        shape,
        (layer.units,),
        activation,
        _kernel_and_bias(fans, layer.bias, fans),
        flops=2 * shape[0] * layer.units,
    )


def _norm(layer: Norm, shape: Shape) -> Node:
    channels = shape[-1]
    if isinstance(layer, GroupNorm) and channels % layer.groups:
        raise ValueError(f"groups = {layer.groups} must divide its input's {channels} channels")
    together = {LayerNorm: channels, GroupNorm: math.prod(shape) // getattr(layer, "groups", 1)}
    if together.get(type(layer)) == 1:
        raise ValueError(
            "normalises every value by itself alone, so its output is its offset whatever comes "
            f"in: its input is {shape}. It needs more channels, or fewer groups"
        )
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


def place(
    layer: Leaf,
    shape: Shape,
    activation: Activation,
    path: str,
    name: str,
    initial: Mapping[str, float | None] | None = None,
) -> Node:
    """Return the node of `layer` where its input has `shape` `(h, w, c)` or `(units,)`.

    `initial` has what parameters begin at, by role, where that is not what is usual.

    Raises:
        ValueError: the layer cannot take such an input.

    """
    node = _place(layer, shape, activation)

    def named(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
        return tuple(
            replace(p, path=f"{path}.{p.role}", initial=(initial or {}).get(p.role, p.initial))
            for p in parameters
        )

    return replace(
        node,
        path=path,
        name=name,
        parameters=named(node.parameters),
        statistics=named(node.statistics),
    )


def _place(layer: Leaf, shape: Shape, activation: Activation) -> Node:
    match layer:
        case Conv1D() | Conv2D() | Conv3D():
            return _conv(layer, shape, activation)
        case Conv2DTranspose():
            return _conv_transpose(layer, shape, activation)
        case Dense():
            return _dense(layer, shape, activation)
        case MaxPool() | AvgPool():
            windows = _windows(layer, shape)
            output = (*windows.output, shape[-1])
            return Node(layer, shape, output, activation, pads=windows.pads)
        case GlobalAvgPool() | GlobalMaxPool():
            if len(shape) == 1:
                raise ValueError(f"needs {INPUTS[2]}, but its input is {shape}")
            return Node(layer, shape, shape[-1:], activation)
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
