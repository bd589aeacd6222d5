"""ONNX's activations."""

from __future__ import annotations

import math

from harness.exchange.graph import HARD_SIGMOID
from harness.exchange.onnx_call import Call, Operator
from harness.exchange.onnx_values import Value
from harness.spec.layers import LEAKY_SLOPE


def _made(call: Call, function: str) -> Value:
    x = call.value()
    return call.same(x, call.graph.activation(call.what, x.vertex, function))


def _plain(function: str) -> Operator:
    return lambda call: _made(call, function)


def _at(function: str, **wanted: float) -> Operator:
    """An activation that the spec has for some values of its attributes only."""

    def operator(call: Call) -> Value:
        defaults = {"LeakyRelu": 0.01, "Elu": 1.0, "HardSigmoid": 0.2, "Swish": 1.0}
        for name, value in wanted.items():
            found = call.number(name, 0.5 if name == "beta" else defaults[call.op])
            if not math.isclose(found, value, rel_tol=1e-4):
                call.refuse(f"{name} = {found:g}; allowed: {value:g}")
        return _made(call, function)

    return operator


def clip(call: Call) -> Value:
    """ReLU6, or ReLU."""
    low = call.number("min", -math.inf, 1)
    high = call.number("max", math.inf, 2)
    largest = 3e38  # of float32, which some exporters write for no bound
    if low == 0 and (high == 6 or high > largest):
        return _made(call, "relu6" if high == 6 else "relu")
    return call.refuse(f"from {low:g} to {high:g}; allowed: from 0 to 6, which is relu6")


def gelu(call: Call) -> Value:
    """GELU, exact or by its approximation with tanh."""
    approximate = call.attributes.get("approximate", "none")
    if approximate not in ("none", "tanh"):
        call.refuse(f"approximate = {str(approximate)[:60]!r}; allowed: none, tanh")
    return _made(call, "gelu" if approximate == "none" else "gelu_tanh")


def softmax(call: Call) -> Value:
    """Softmax over the channels; before opset 13 over all axes from `axis` on."""
    x = call.value()
    axis = (call.integers("axis") or [1 if call.opset < 13 else -1])[0]
    of_all = call.opset < 13 and not x.is_image and axis in (1, 1 - len(x.axes))
    if not of_all and (x.axis(axis) != "c" or (call.opset < 13 and x.is_image)):
        call.refuse(f"over axis {axis} of {x.axes}; allowed: the channels")
    return _made(call, "softmax")


ACTIVATIONS: dict[str, Operator] = {
    "Relu": _plain("relu"),
    "Sigmoid": _plain("sigmoid"),
    "Tanh": _plain("tanh"),
    "HardSwish": _plain("hard_swish"),
    "LeakyRelu": _at("leaky_relu", alpha=LEAKY_SLOPE),
    "Elu": _at("elu", alpha=1.0),
    "Swish": _at("silu", alpha=1.0),
    "HardSigmoid": _at(HARD_SIGMOID, alpha=1 / 6, beta=0.5),
    "Clip": clip,
    "Gelu": gelu,
    "Softmax": softmax,
}
