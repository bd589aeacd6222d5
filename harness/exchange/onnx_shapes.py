"""ONNX's operators that move or name the axes of a value."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from harness.exchange.onnx_call import Call, Operator
from harness.exchange.onnx_values import Value

LEFT = "nc1{1,3}|n1{1,3}c"  # axes of what is flat, beside those of pixels that are left of it


def transpose(call: Call) -> Value:
    """Follow the axes."""
    x = call.value()
    order = call.integers("perm")
    return x.transposed(tuple(reversed(range(len(x.axes))) if order is None else order))


def identity(call: Call) -> Value:
    """What goes in; a cast too, between floats."""
    if call.op == "Cast" and call.integers("to") not in ([1], [10], [11], [16]):
        call.refuse("to a type that is no float")
    return call.value()


def flatten(call: Call) -> Value:
    """All but the images' axis as one."""
    axis = (call.integers("axis") or [1])[0]
    x = call.value()
    if axis not in (1, 1 - len(x.axes)):
        call.refuse(f"axis = {axis}; allowed: 1")
    return _flat(call, x)


def _flat(call: Call, x: Value) -> Value:
    if not x.is_image:
        return replace(x, axes="nc")
    *sides, channels = x.shape
    vertex = call.layer(x, "flatten")
    moves = x.is_channels_first and channels > 1 and math.prod(sides) > 1
    return Value(vertex, (math.prod(x.shape),), "nc", (channels, *sides) if moves else None)


def reshape(call: Call) -> Value:
    """Flattening, or axes of one pixel before or behind the channels."""
    x, wanted = call.value(), [int(n) for n in call.array(1).ravel()[:9]]
    sizes = x.sizes
    if any(call.integers("allowzero") or []) or not wanted:
        call.refuse(f"to {wanted}")
    shape = [sizes[i] if n == 0 and i < len(sizes) else n for i, n in enumerate(wanted)][1:]
    whole = math.prod(x.shape)
    if shape.count(-1) == 1:
        rest = -math.prod(shape)
        if rest > 0 and whole % rest == 0:
            shape = [whole // rest if n == -1 else n for n in shape]
    if wanted[0] not in (-1, 0, 1) or math.prod(shape) != whole:
        call.refuse(f"{list(sizes)} to {wanted}; allowed: flattening each image")
    if tuple(shape) == sizes[1:]:
        return x
    if shape == [whole]:
        return _flat(call, x)
    for axes in ("nc1", "nc11", "nc111", "n1c", "n11c", "n111c"):
        if not x.is_image and tuple(shape) == replace(x, axes=axes).sizes[1:]:
            return replace(x, axes=axes)
    return call.refuse(f"{list(sizes)} to {wanted}; allowed: flattening each image")


def squeeze(call: Call) -> Value:
    """Leave out axes of one pixel."""
    x = call.value()
    axes = call.integers("axes", 1) or [i for i, axis in enumerate(x.axes) if axis == "1"]
    if any(x.axis(axis) != "1" for axis in axes):
        call.refuse(f"axes {axes[:9]} of {x.axes}; allowed: those that a global pool has left")
    places = {axis % len(x.axes) for axis in axes}
    return replace(x, axes="".join(a for i, a in enumerate(x.axes) if i not in places))


def unsqueeze(call: Call) -> Value:
    """Put in axes of one pixel."""
    x, axes = call.value(), call.integers("axes", 1) or []
    rank = len(x.axes) + len(axes)
    places = {axis % rank for axis in axes} if rank <= 8 else set[int]()
    rest = iter(x.axes)
    found = "".join("1" if i in places else next(rest, "") for i in range(rank))
    if x.is_image or not re.fullmatch(LEFT, found):
        call.refuse(f"axes {axes[:9]} of {x.axes}; allowed: a pixel beside the channels")
    return replace(x, axes=found)


SHAPES: dict[str, Operator] = {
    "Transpose": transpose,
    "Identity": identity,
    "Cast": identity,
    "Flatten": flatten,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
}
