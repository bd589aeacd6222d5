"""ONNX's operators, each as a layer or a join of the spec: dense layers, norms and joins."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from harness.exchange.graph import Array, Refused
from harness.exchange.onnx_activations import ACTIVATIONS
from harness.exchange.onnx_call import Call, Operator
from harness.exchange.onnx_convolutions import CONVOLUTIONS, dense
from harness.exchange.onnx_shapes import SHAPES
from harness.exchange.onnx_values import Value
from harness.exchange.onnx_windows import WINDOWS
from harness.spec.nodes import Shape


def gemm(call: Call) -> Value:
    """A dense layer."""
    x, kernel = call.value(), call.array(1)
    if x.axes != "nc":
        call.refuse(f"a value of axes {x.axes}; allowed: nc")
    scales = (call.number("alpha", 1.0), call.number("beta", 1.0))
    if scales != (1.0, 1.0) or any(call.integers("transA") or []) or kernel.ndim != 2:
        call.refuse("alpha, beta or transA; allowed: 1, 1, 0")
    if any(call.integers("transB") or []):
        kernel = kernel.T
    return dense(call, x, kernel, call.constant(2))


def matmul(call: Call) -> Value:
    """A dense layer without bias; of all pixels of an NHWC image, a 1x1 convolution."""
    x, kernel = call.value(), call.array(1)
    is_last = x.axes == "nc" or (x.axes.endswith("c") and len(x.axes) > 2)
    if kernel.ndim != 2 or not is_last:
        call.refuse(f"{x.axes} by an array of {list(kernel.shape)}; allowed: [in, units]")
    if not x.is_image:
        return dense(call, x, kernel, None)
    axes = len(x.pixels)
    ones = (1,) * axes
    fields = {"filters": int(kernel.shape[1]), "kernel": ones, "bias": False}
    pointwise = kernel.reshape(*ones, *kernel.shape)
    vertex = call.layer(x, f"conv{axes}d", {"kernel": pointwise}, **fields)
    return Value(vertex, call.graph.shape(vertex), x.axes)


def batch_norm(call: Call) -> Value:
    """Batch normalisation by running statistics; it has no decay but as ONNX's momentum."""
    x = call.value()
    if any(call.integers("training_mode") or []):
        call.refuse("training_mode = 1; allowed: 0, exported for evaluation")
    if x.axes[1] != "c":
        call.refuse(f"a value of axes {x.axes}; allowed: the channels behind the images' axis")
    roles = ("scale", "offset", "mean", "variance")
    arrays = {role: x.to_spec_order(call.array(i + 1)) for i, role in enumerate(roles)}
    decay = call.number("momentum", 0.9)
    fields = {"decay": decay if 0 <= decay < 1 else 0.9, "epsilon": call.number("epsilon", 1e-5)}
    return call.same(x, call.layer(x, "batch_norm", arrays, **fields))


def layer_norm(call: Call) -> Value:
    """Normalisation over the channels, which must be the last axis."""
    x, scale, offset = call.value(), call.constant(1), call.constant(2)
    axis = (call.integers("axis") or [-1])[0]
    if x.axis(axis) != "c" or not x.axes.endswith("c"):
        call.refuse(f"from axis {axis} of {x.axes}; allowed: the last, the channels")
    fields: dict[str, Any] = {"epsilon": call.number("epsilon", 1e-5)}
    given = {"scale": scale, "offset": offset}
    fields |= {role: False for role, array in given.items() if array is None}
    arrays = {role: x.to_spec_order(a) for role, a in given.items() if a is not None}
    return call.same(x, call.layer(x, "layer_norm", arrays, **fields))


def group_norm(call: Call) -> Value:
    """Normalisation by groups of channels; before opset 21 a scale belongs to a group."""
    x = call.value()
    if not (x.is_channels_first or x.axes == "nc1") or x.chw is not None:
        call.refuse(f"a value of axes {x.axes}; allowed: an image, the channels before the pixels")
    groups = (call.integers("num_groups") or [x.shape[-1]])[0]
    fields: dict[str, Any] = {"groups": groups, "epsilon": call.number("epsilon", 1e-5)}
    if call.constant(1) is None:  # a pattern: what follows is its scale and offset
        fields |= {"scale": False, "offset": False}
        return call.same(x, call.layer(x, "group_norm", **fields))
    arrays = {"scale": call.array(1), "offset": call.array(2)}
    if call.op == "GroupNormalization" and call.opset < 21 and groups > 0:
        if any(array.size != groups for array in arrays.values()):
            call.refuse(f"a scale or offset that has not {groups} numbers, one for each group")
        repeats = max(1, x.shape[-1] // groups)
        arrays = {role: np.repeat(array.ravel(), repeats) for role, array in arrays.items()}
    return call.same(x, call.layer(x, "group_norm", arrays, **fields))


def _both(call: Call) -> tuple[Value, Value] | None:
    """Both inputs, if neither is a constant."""
    one, other = call.inputs[:2] if len(call.inputs) == 2 else (None, None)
    return (one, other) if isinstance(one, Value) and isinstance(other, Value) else None


def _constant_side(call: Call) -> tuple[Value, Array]:
    one, other = call.inputs[:2] if len(call.inputs) == 2 else (None, None)
    if isinstance(other, Value):
        one, other = other, one
    if not isinstance(one, Value) or other is None or isinstance(other, Value):
        call.refuse("two constants, or an input is missing")
    return one, other


def _beside(call: Call, values: list[Value], shapes: list[Shape]) -> None:
    if len({value.axes for value in values}) > 1 or len({value.chw for value in values}) > 1:
        words = " and ".join(f"{v.axes} {s}" for v, s in zip(values, shapes, strict=True))
        call.refuse(f"values of different axes: {words}")


def add(call: Call) -> Value:
    """A sum of branches, or a bias."""
    if values := _both(call):
        _beside(call, list(values), [v.shape for v in values])
        x = values[0]
        vertex = call.graph.join(call.what, "add", [v.vertex for v in values])
        return call.same(x, vertex)
    x, constant = _constant_side(call)
    return call.same(x, call.graph.bias(call.what, x.vertex, x.per_channel(constant)))


def mul(call: Call) -> Value:
    """A gate, x times sigmoid(x), or a factor for each channel."""
    if values := _both(call):
        x, gate = sorted(values, key=lambda v: len(v.shape), reverse=True)
        wanted = re.sub("[dhw]", "1", x.axes)
        if gate.axes not in (x.axes, wanted) or x.chw != gate.chw:
            call.refuse(f"{x.axes} {x.shape} times {gate.axes} {gate.shape}")
        vertex = call.graph.join(call.what, "multiply", [v.vertex for v in values])
        return call.same(x, vertex)
    x, constant = _constant_side(call)
    return call.same(x, call.layer(x, "channel_scale", {"scale": x.per_channel(constant)}))


def concat(call: Call) -> Value:
    """Branches beside each other as channels."""
    axis = (call.integers("axis") or [1])[0]
    values = [call.value(i) for i in range(len(call.inputs))]
    _beside(call, values, [v.shape for v in values])
    if values[0].axis(axis) != "c" or values[0].chw is not None:
        call.refuse(f"along axis {axis} of {values[0].axes}; allowed: the channels")
    if len(values) == 1:
        return values[0]
    vertex = call.graph.join(call.what, "concat", [v.vertex for v in values])
    return Value(vertex, call.graph.shape(vertex), values[0].axes)


def dropout(call: Call) -> Value:
    """Dropout, which is nothing in evaluation."""
    x, rate = call.value(), call.number("ratio", 0.5, 1)
    if (mode := call.constant(2)) is not None and mode.any():
        call.refuse("training_mode = true; allowed: false, exported for evaluation")
    if not math.isfinite(rate):
        raise Refused(f"ratio = {rate}")
    return call.same(x, call.layer(x, "dropout", rate=rate))


OPERATORS: dict[str, Operator] = {
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm,
    "InstanceNormalization": group_norm,
    "Add": add,
    "Mul": mul,
    "Concat": concat,
    "Dropout": dropout,
    **ACTIVATIONS,
    **CONVOLUTIONS,
    **WINDOWS,
    **SHAPES,
}
