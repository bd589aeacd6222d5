"""What ONNX's operators make of constants: shapes, axes and paddings that a model computes.

Large arrays are only turned or named anew, never copied or made larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from harness.exchange.graph import Array
from harness.exchange.onnx_call import Call

MAX_COMPUTED = 4096  # values of an array that is new


def constant(call: Call) -> Array:
    """An array of the model itself."""
    kinds = {"value_float": np.float32, "value_int": np.int64}
    for name, kind in [*kinds.items(), *((f"{name}s", kind) for name, kind in kinds.items())]:
        if name in call.attributes:
            return np.array(call.attributes[name], kind)
    found = call.attributes.get("value")
    return found if isinstance(found, np.ndarray) else call.refuse("without a value")


def _limited(call: Call, size: int) -> None:
    if not 0 <= size <= MAX_COMPUTED:
        call.refuse(f"computes {size} constants; allowed: {MAX_COMPUTED}")


def _inputs(call: Call) -> list[Array]:
    return [call.array(i) for i in range(len(call.inputs))]


def _arithmetic(call: Call) -> Array:
    one, other = _inputs(call)
    _limited(call, math.prod(np.broadcast_shapes(one.shape, other.shape)))
    with np.errstate(all="ignore"):
        match call.op:
            case "Add":
                return np.asarray(one + other)
            case "Sub":
                return np.asarray(one - other)
            case "Mul":
                return np.asarray(one * other)
    return call.refuse("of constants")


def _cast(call: Call) -> Array:
    array = call.array(0)
    kind = {6: np.int32, 7: np.int64}.get((call.integers("to") or [0])[0])
    if kind is None or array.dtype == kind:
        return array
    _limited(call, array.size)
    return array.astype(kind)


def _concat(call: Call) -> Array:
    arrays = _inputs(call)
    _limited(call, sum(array.size for array in arrays))
    return np.concatenate(arrays, (call.integers("axis") or [0])[0])


def _filled(call: Call) -> Array:
    shape = [int(n) for n in call.array(0).ravel()[:8]]
    _limited(call, math.prod(shape))
    value = call.attributes.get("value", np.zeros(1, np.float32))
    return np.full(shape, np.ravel(value)[0])


def _gather(call: Call) -> Array:
    array, places = _inputs(call)
    axis = (call.integers("axis") or [0])[0]
    _limited(call, places.size * array.size)
    return np.take(array, places.astype(np.int64), axis)


def _reshape(call: Call) -> Array:
    array, shape = _inputs(call)
    sizes = [int(n) for n in shape.ravel()[:8]]
    return array.reshape([array.shape[i] if n == 0 else n for i, n in enumerate(sizes)])


def _shape(call: Call) -> Array:
    """The sizes of a constant, or of a value, of which -1 is the number of images."""
    x = call.inputs[0]
    return np.array(x.shape if isinstance(x, np.ndarray) else call.value().sizes, np.int64)


def _slice(call: Call) -> Array:
    array = call.array(0)
    starts, ends = call.integers("starts", 1) or [], call.integers("ends", 2) or []
    axes = call.integers("axes", 3) or list(range(len(starts)))
    steps = call.integers("steps", 4) or [1] * len(starts)
    for axis, *edges in zip(axes, starts, ends, steps, strict=True):
        # An end before the first, as a reversed slice has it, is none.
        start, end, step = edges
        end_or_none = None if step < 0 and end < -array.shape[axis] else end
        array = array[(slice(None),) * (axis % array.ndim) + (slice(start, end_or_none, step),)]
    return array


def _squeeze(call: Call) -> Array:
    axes = call.integers("axes", 1)
    return call.array(0).squeeze(None if axes is None else tuple(axes))


def _unsqueeze(call: Call) -> Array:
    array, axes = call.array(0), call.integers("axes", 1) or []
    if len(axes) > 8:
        call.refuse("axes")
    return np.expand_dims(array, tuple(axes))


def _transpose(call: Call) -> Array:
    return call.array(0).transpose(call.integers("perm"))


CONSTANTS: dict[str, Callable[[Call], Array]] = {
    "Add": _arithmetic,
    "Sub": _arithmetic,
    "Mul": _arithmetic,
    "Cast": _cast,
    "Concat": _concat,
    "Constant": constant,
    "ConstantOfShape": _filled,
    "Gather": _gather,
    "Identity": lambda call: call.array(0),
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
