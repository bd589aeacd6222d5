"""ONNX's convolutions, and the dense layers that some of them are."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.exchange.graph import Array
from harness.exchange.onnx_call import Call, Operator
from harness.exchange.onnx_values import Value
from harness.exchange.onnx_windows import explicit_pads, padding
from harness.spec.layers import MAX_EXTENT


def conv(call: Call) -> Value:
    """Convolution; of one pixel that a global pool has left, a dense layer."""
    x, kernel = call.value(), call.array(1)
    bias = call.constant(2)
    groups = call.integers("group") or [1]
    axes = len(x.axes) - 2
    if kernel.ndim != axes + 2:
        call.refuse(f"a kernel of {list(kernel.shape)}; allowed: [out, in, and {axes} sizes]")
    out, _, *size = kernel.shape
    if axes and x.axes == "nc" + "1" * axes:
        if set(size) != {1} or groups != [1] or any(call.integers("pads") or []):
            call.refuse("of one pixel; allowed: a kernel of 1x1, without groups and padding")
        return dense(call, x, kernel.reshape(kernel.shape[:2]).T, bias)
    if not x.is_channels_first:
        call.refuse(f"a value of axes {x.axes}; allowed: an image, the channels before the pixels")
    if (given := call.integers("kernel_shape")) and given != size:
        call.refuse(f"kernel_shape = {given}, and a kernel of {size}")
    ones = (1,) * axes
    fields: dict[str, Any] = {
        "filters": int(out),
        "kernel": tuple(map(int, size)),
        "stride": tuple(call.integers("strides") or ones),
        "dilation": tuple(call.integers("dilations") or ones),
        "groups": groups[0],
        "bias": bias is not None,
    }
    reach = [(k - 1) * d + 1 for k, d in zip(fields["kernel"], fields["dilation"], strict=False)]
    fields["padding"] = padding(call, x, reach, fields["stride"])
    for name, usual in (("stride", ones), ("dilation", ones), ("groups", 1), ("bias", True)):
        if fields[name] == usual:
            del fields[name]
    arrays = {"kernel": np.moveaxis(kernel, (1, 0), (-2, -1))}
    arrays |= {} if bias is None else {"bias": bias}
    vertex = call.layer(x, f"conv{axes}d", arrays, **fields)
    return Value(vertex, call.graph.shape(vertex), x.axes)


def conv_transpose(call: Call) -> Value:
    """Transposed convolution of images; what ONNX pads is cut off, `output_padding` put back."""
    x, kernel, bias = call.value(), call.array(1), call.constant(2)
    if kernel.ndim != 4 or x.axes != "nchw":
        call.refuse(
            f"a kernel of {list(kernel.shape)}, a value of axes {x.axes}; allowed: of images only"
        )
    if call.integers("group") not in (None, [1]) or set(call.integers("dilations") or [1]) != {1}:
        call.refuse("groups or dilations; allowed: 1")
    if call.integers("output_shape"):
        call.refuse("output_shape; allowed: pads, output_padding")
    size, stride = tuple(map(int, kernel.shape[2:])), tuple(call.integers("strides") or (1, 1))
    if len(stride) != 2:
        call.refuse(f"strides = {list(stride)[:9]}; allowed: 2 each")
    fields: dict[str, Any] = {"filters": int(kernel.shape[1]), "kernel": size}
    fields |= {"stride": stride} if stride != (1, 1) else {}
    fields |= {"bias": False} if bias is None else {}
    if (cuts := _cuts(call, size, stride)) != "valid":
        fields["padding"] = cuts
    arrays = {"kernel": kernel.transpose(2, 3, 0, 1), **({} if bias is None else {"bias": bias})}
    vertex = call.layer(x, "conv2d_transpose", arrays, **fields)
    return Value(vertex, call.graph.shape(vertex), x.axes)


def _cuts(call: Call, size: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """Return the spec's padding of a transposed convolution."""
    same = tuple(
        (max(k - s, 0) // 2, k - s - max(k - s, 0) // 2) for k, s in zip(size, stride, strict=True)
    )
    added = call.integers("output_padding") or [0, 0]
    if len(added) != 2 or not all(0 <= n <= MAX_EXTENT for n in added):
        call.refuse(f"output_padding = {added[:9]}; allowed: two numbers from 0 to {MAX_EXTENT}")
    match call.attributes.get("auto_pad", "NOTSET"):
        case "NOTSET":
            pads = explicit_pads(call, 2)
        case "VALID":
            pads = ((0, 0), (0, 0))
        case "SAME_UPPER" if not any(added) and all(
            k >= s for k, s in zip(size, stride, strict=True)
        ):
            return "same"
        case other:
            call.refuse(f"auto_pad = {str(other)[:60]!r}; allowed: pads, output_padding")
    found = tuple((pad[0], pad[1] - more) for pad, more in zip(pads, added, strict=True))
    if found == same:
        return "same"
    if min(map(min, found)) < 0:
        call.refuse(
            f"output_padding = {added} beyond pads = {[list(pair) for pair in pads]}; allowed: "
            "no more than the pads behind"
        )
    return found if any(map(any, found)) else "valid"


def dense(call: Call, x: Value, kernel: Array, bias: Array | None) -> Value:
    """A dense layer, its rows in the spec's order; `kernel` is `[in, units]`."""
    fields = {"units": int(kernel.shape[1]), **({"bias": False} if bias is None else {})}
    arrays = {"kernel": x.to_spec_order(kernel)}
    if bias is not None:
        if bias.size not in (1, kernel.shape[1]):
            call.refuse(f"a bias of {list(bias.shape)} for {kernel.shape[1]} units")
        arrays["bias"] = np.broadcast_to(bias.ravel(), kernel.shape[1:])
    vertex = call.layer(x, "dense", arrays, **fields)
    return Value(vertex, call.graph.shape(vertex), x.axes)


CONVOLUTIONS: dict[str, Operator] = {"Conv": conv, "ConvTranspose": conv_transpose}
