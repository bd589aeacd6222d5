"""Layers that exporters spell out in small operators: GELU by erf, norms of layers and groups.

They are found in the model's nodes before those are read, and replaced by the one node that
later opsets have for them. What nothing needs any more is left out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.exchange.needed import needed

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto

SMALL = 16  # bytes of a constant that is looked at here


def simplify(graph: GraphProto) -> list[NodeProto]:
    """Return the nodes of a model, with those patterns replaced; `graph` stays as it is."""
    found = _Patterns(graph)
    for index, node in enumerate(graph.node):
        match node.op_type:
            case "Erf":
                found.gelu(index)
            case "InstanceNormalization":
                found.group_norm(index)
            case "Sqrt":
                found.layer_norm(index)
    return found.needed()


class _Patterns:
    """The nodes by place, who makes each value and who uses it."""

    def __init__(self, graph: GraphProto) -> None:
        self.onnx = needed("onnx")
        self.nodes: list[NodeProto] = list(graph.node)
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.outputs = [entry.name for entry in graph.output]
        self.makers: dict[str, int] = {}
        self.users: dict[str, list[int]] = {name: [-1] for name in self.outputs}
        for index, node in enumerate(self.nodes):
            self.makers |= dict.fromkeys(node.output, index)
            for name in node.input:
                self.users.setdefault(name, []).append(index)

    def needed(self) -> list[NodeProto]:
        """The nodes that the output depends on, and those that make a value a second time."""
        wanted, rest = set[int](), list(self.outputs)
        while rest:
            index = self.makers.get(rest.pop())
            if index is not None and index not in wanted:
                wanted.add(index)
                rest += self.nodes[index].input
        made = {name for index in wanted for name in self.nodes[index].output}
        return [
            node
            for index, node in enumerate(self.nodes)
            if index in wanted or not made.isdisjoint(node.output)
        ]

    def _replace(self, index: int, kind: str, x: str, name: str, **attributes: Any) -> None:
        outputs = list(self.nodes[index].output)
        self.nodes[index] = self.onnx.helper.make_node(kind, [x], outputs, name, **attributes)

    def _maker(self, name: str, *kinds: str) -> NodeProto | None:
        """The node that makes a value, if it is of one of these kinds."""
        index = self.makers.get(name)
        node = None if index is None else self.nodes[index]
        return node if node is not None and node.op_type in kinds else None

    def _user(self, index: int, kind: str) -> int | None:
        """The place of the only user of a node's output, if that is of a kind."""
        node = self.nodes[index]
        users = self.users.get(node.output[0], []) if node.output else []
        is_such = len(users) == 1 and users[0] >= 0 and self.nodes[users[0]].op_type == kind
        return users[0] if is_such else None

    def _array(self, name: str, limit: int = SMALL) -> list[float]:
        """The numbers of a small constant; none if it is no such."""
        maker = self._maker(name, "Constant")
        tensor: TensorProto | None = self.tensors.get(name)
        if maker is not None and len(maker.attribute) == 1:
            tensor = maker.attribute[0].t
        if tensor is None or tensor.ByteSize() > limit + len(tensor.name) + 64:
            return []
        if tensor.data_location == self.onnx.TensorProto.EXTERNAL:
            return []  # of a file, which onnx would look for in the working directory
        try:
            array = self.onnx.numpy_helper.to_array(tensor)
        except Exception:  # damaged: whoever needs the array says so
            return []
        return [float(v) for v in np.ravel(array)] if array.dtype.kind in "fi" else []

    def _other(self, node: NodeProto, value: float) -> str | None:
        """The input of a node of two, of which the other is this constant."""
        if len(node.input) == 2:
            for one, other in (tuple(node.input), tuple(reversed(node.input))):
                found = self._array(other)
                if len(found) == 1 and math.isclose(found[0], value, rel_tol=1e-4):
                    return str(one)
        return None

    def gelu(self, index: int) -> None:
        """`x (1 + erf(x / sqrt 2)) / 2`, halved first, last or in between."""
        scaled = self._maker(self.nodes[index].input[0], "Div", "Mul")
        if scaled is None:
            return
        x = self._other(scaled, math.sqrt(2 if scaled.op_type == "Div" else 0.5))
        plus = self._user(index, "Add")
        if x is None or plus is None or self._other(self.nodes[plus], 1.0) is None:
            return
        if (first := self._user(plus, "Mul")) is None:
            return
        product, second = self.nodes[first], self._user(first, "Mul")
        halves = [self._maker(name, "Mul") for name in product.input]
        if any(half is not None and self._other(half, 0.5) == x for half in halves):
            second = first  # x was halved before
        elif second is None or not (
            (x in product.input and self._other(self.nodes[second], 0.5) is not None)
            or (self._other(product, 0.5) is not None and x in self.nodes[second].input)
        ):
            return
        self._replace(second, "Gelu", x, self.nodes[second].name)

    def group_norm(self, index: int) -> None:
        """A reshape to groups, instance normalisation of each, and a reshape back."""
        norm = self.nodes[index]
        before = self._maker(norm.input[0], "Reshape") if len(norm.input) == 3 else None
        last = self._user(index, "Reshape")
        if before is None or last is None or len(before.input) != 2:
            return
        shape = self._array(before.input[1], 64)
        if len(shape) not in (3, 4) or shape[0] != 0 or shape[2] != -1:
            return
        groups = int(shape[1])
        scale, offset = (self._array(name, 8 * max(groups, 1)) for name in norm.input[1:])
        if len(scale) == len(offset) == groups and set(scale) == {1.0} and set(offset) == {0.0}:
            kept = {a.name: a.f for a in norm.attribute if a.name == "epsilon"}
            kind, x = "GroupNormalization", before.input[0]
            self._replace(last, kind, x, norm.name, num_groups=groups, **kept)

    def layer_norm(self, index: int) -> None:
        """`(x - mean) / sqrt(mean((x - mean)^2) + epsilon)` over the last axis."""
        plus = self._maker(self.nodes[index].input[0], "Add")
        last = self._user(index, "Div")
        if plus is None or last is None:
            return
        for name, other in (tuple(plus.input), tuple(reversed(plus.input))):
            epsilon, variance = self._array(other), self._maker(name, "ReduceMean")
            if len(epsilon) != 1 or variance is None:
                continue
            square = self._maker(variance.input[0], "Pow")
            difference = None if square is None else self._maker(square.input[0], "Sub")
            if square is None or difference is None or self._other(square, 2.0) is None:
                continue
            x, mean = difference.input[0], self._maker(difference.input[1], "ReduceMean")
            is_whole = self.nodes[last].input[0] == difference.output[0]
            if mean is not None and mean.input[0] == x and is_whole:
                axes = [self._axes(node) for node in (mean, variance)]
                if axes[0] == axes[1] and len(axes[0]) == 1:
                    kind, axis, name = "LayerNormalization", int(axes[0][0]), self.nodes[last].name
                    self._replace(last, kind, x, name, axis=axis, epsilon=epsilon[0])
                    return

    def _axes(self, node: NodeProto) -> list[float]:
        given = [list(a.ints) for a in node.attribute if a.name == "axes"]
        return [*given[0]] if given else self._array(node.input[1]) if len(node.input) > 1 else []
