"""ONNX's pools and padding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from harness.exchange.graph import Refused
from harness.exchange.onnx_call import Call, Operator
from harness.exchange.onnx_values import Value
from harness.spec.layers import MAX_EXTENT, Pads
from harness.spec.placing import window_pads

Extra = tuple[int, ...]


def padding(
    call: Call, x: Value, reach: Sequence[int], stride: Sequence[int], extra: Extra = ()
) -> Any:
    """Return the spec's padding; `extra` rows and columns come after the pads.

    Raises:
        Refused: windows or padding are of other axes than the value, or not allowed.

    """
    axes = len(x.shape) - 1
    sizes = [*reach, *stride]
    if len(reach) != axes or len(stride) != axes or not all(1 <= n <= 2**20 for n in sizes):
        raise Refused(f"windows {list(reach)}, strides {list(stride)}; allowed: {axes} each")
    match call.attributes.get("auto_pad", "NOTSET"):
        case "NOTSET":
            pads = explicit_pads(call, axes)
        case "VALID":
            pads = ((0, 0),) * axes
        case "SAME_UPPER":
            return "same"
        case "SAME_LOWER":  # an odd one goes before
            places = zip(x.shape, reach, stride, strict=False)
            uppers = (window_pads(n, window, step, "same") for n, window, step in places)
            pads = tuple((after, before) for before, after in uppers)
        case other:
            raise Refused(f"auto_pad = {str(other)[:60]!r}")
    more = zip(pads, extra or (0,) * axes, strict=True)
    found = tuple((before, after + rest) for (before, after), rest in more)
    return found if any(map(any, found)) else "valid"


def explicit_pads(call: Call, axes: int) -> Pads:
    """Return what is padded before and after along each axis; ONNX has all befores first.

    Raises:
        Refused: there are not so many, or they are not allowed.

    """
    given = call.integers("pads") or [0] * 2 * axes
    if len(given) != 2 * axes or not all(0 <= n <= MAX_EXTENT for n in given):
        raise Refused(f"pads = {given[:9]}; allowed: {2 * axes} numbers from 0 to {MAX_EXTENT}")
    return tuple(zip(given[:axes], given[axes:], strict=True))


def pool(call: Call) -> Value:
    """A pool with windows; with ceil_mode the last window may reach beyond the padding."""
    x = call.value()
    if not x.is_channels_first:
        call.refuse(f"a value of axes {x.axes}; allowed: an image, the channels before the pixels")
    size = call.integers("kernel_shape") or []
    stride = call.integers("strides") or [1] * len(size)
    if set(call.integers("dilations") or [1]) != {1}:
        call.refuse("dilations; allowed: 1")
    extra: Extra = ()
    if any(call.integers("ceil_mode") or []):
        extra = _beyond(call, x, size, stride)
    counts_pads = any(call.integers("count_include_pad") or [])
    found = padding(call, x, size, stride, extra)
    if call.op == "AveragePool" and counts_pads and found != "valid":
        call.refuse("count_include_pad = 1 with padding; allowed: 0, padding does not count")
    fields = {"size": tuple(size), "stride": tuple(stride), "padding": found}
    if stride == size:
        del fields["stride"]
    kind = "avg_pool" if call.op == "AveragePool" else "max_pool"
    vertex = call.layer(x, kind, **fields)
    return Value(vertex, call.graph.shape(vertex), x.axes)


def _beyond(call: Call, x: Value, size: list[int], stride: list[int]) -> Extra:
    """Rows and columns that ceil_mode adds; a window that holds nothing but padding is none."""
    if call.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        call.refuse("ceil_mode with auto_pad")
    padding(call, x, size, stride)  # are they sound?
    pads = explicit_pads(call, len(x.shape) - 1)
    extra = []
    for n, window, step, (before, after) in zip(x.shape, size, stride, pads, strict=False):
        whole = n + before + after
        count = -(-(whole - window) // step) + 1
        if (count - 1) * step >= n + before:
            count -= 1
        extra.append(max(0, (count - 1) * step + window - whole))
    return tuple(extra)


def global_pool(call: Call) -> Value:
    """The mean or maximum of all pixels; also as a reduction over their axes."""
    x = call.value()
    keeps = True
    if call.op.startswith("Reduce"):
        axes = call.integers("axes", 1) or []
        keeps = call.integers("keepdims") != [0]
        letters = sorted(x.axis(axis) for axis in axes)
        if letters != (sorted(x.pixels) if x.is_image else ["1"] * (len(x.axes) - 2)):
            call.refuse(f"over axes {axes[:9]} of {x.axes}; allowed: those of all pixels")
    axes_after = re.sub("[dhw]", "1", x.axes)
    axes_after = axes_after if keeps else "nc"
    if not x.is_image:
        return Value(x.vertex, x.shape, axes_after, x.chw)
    kind = "global_avg_pool" if "Mean" in call.op or "Average" in call.op else "global_max_pool"
    vertex = call.layer(x, kind)
    return Value(vertex, call.graph.shape(vertex), axes_after)


def pad(call: Call) -> Value:
    """Zeros around the pixels."""
    x = call.value()
    mode = call.attributes.get("mode", "constant")
    value = call.number("value", 0.0, 2)
    pads = call.integers("pads", 1) or []
    if len(pads) != 2 * len(x.axes) or mode != "constant" or value or call.constant(3) is not None:
        call.refuse(f"mode {str(mode)[:60]!r}, value {value:g}, pads {pads[:9]}; allowed: zeros")
    around = {axis: (pads[i], pads[i + len(x.axes)]) for i, axis in enumerate(x.axes)}
    if not any(pads):
        return x
    if around["n"] != (0, 0) or around["c"] != (0, 0) or not x.is_image:
        call.refuse(f"pads {pads[:9]} of {x.axes}; allowed: those of pixels")
    vertex = call.graph.pad(call.what, x.vertex, tuple(around[axis] for axis in x.pixels))
    return Value(vertex, call.graph.shape(vertex), x.axes)


WINDOWS: dict[str, Operator] = {
    "MaxPool": pool,
    "AveragePool": pool,
    "GlobalAveragePool": global_pool,
    "GlobalMaxPool": global_pool,
    "ReduceMean": global_pool,
    "ReduceMax": global_pool,
    "Pad": pad,
}
