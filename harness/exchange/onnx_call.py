"""One node of an ONNX model with what goes into it: what an operator's function gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from harness.exchange.graph import Array, Graph, Refused
from harness.exchange.onnx_values import Value

MAX_ATTRIBUTE = 1000  # numbers in a list: windows, strides and axes have two to eight


@dataclass(frozen=True, eq=False)
class Call:
    """A node's operator, inputs and attributes.

    Inputs that are left out are None. Attributes are numbers, strings, lists and arrays.
    """

    op: str
    what: str
    inputs: tuple[Value | Array | None, ...]
    attributes: dict[str, Any]
    opset: int
    graph: Graph

    def refuse(self, reason: str) -> NoReturn:
        """Say why this node cannot be taken."""
        raise Refused(reason)

    def value(self, index: int = 0) -> Value:
        """The input at `index`, which depends on the images."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(found, Value):
            self.refuse(f"input {index} is no value that depends on the images")
        return found

    def constant(self, index: int) -> Array | None:
        """The input at `index`, a constant; None if it is left out."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(found, Value):
            self.refuse(f"input {index} depends on the images; allowed: a constant")
        return found

    def array(self, index: int) -> Array:
        """The input at `index`, a constant that must be there."""
        found = self.constant(index)
        if found is None:
            self.refuse(f"input {index} is missing")
        return found

    def integers(self, name: str, index: int | None = None) -> list[int] | None:
        """Integers from an attribute, or, in later opsets, from an input; None: not given."""
        given = self.attributes.get(name)
        if given is None and index is not None and (array := self.constant(index)) is not None:
            given = array.ravel()[:MAX_ATTRIBUTE].tolist()
        if given is None:
            return None
        return [int(v) for v in (given if isinstance(given, list) else [given])]

    def number(self, name: str, default: float, index: int | None = None) -> float:
        """A number from an attribute, or from an input; as short as float32 has it."""
        given = self.attributes.get(name)
        if given is None and index is not None and (array := self.constant(index)) is not None:
            given = array.ravel()[0] if array.size == 1 else self.refuse(f"{name} is no number")
        if given is None:
            return default
        return float(str(np.float32(given)))

    def layer(
        self, x: Value, kind: str, arrays: dict[str, Array] | None = None, **more: Any
    ) -> int:
        """Add a layer of the spec."""
        return self.graph.layer(self.what, x.vertex, {"type": kind, **more}, arrays)

    def same(self, x: Value, vertex: int) -> Value:
        """Return the output of a vertex that leaves the shape as it is."""
        return Value(vertex, x.shape, x.axes, x.chw)


Operator = Callable[[Call], Value]
