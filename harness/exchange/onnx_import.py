"""From an ONNX model of a CNN to a spec with its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.exchange.graph import Array, Graph, Refused, refusal, short
from harness.exchange.imported import Imported, build
from harness.exchange.needed import needed
from harness.exchange.onnx_call import Call
from harness.exchange.onnx_constants import CONSTANTS
from harness.exchange.onnx_file import opset, read_model, read_tensor
from harness.exchange.onnx_ops import OPERATORS
from harness.exchange.onnx_patterns import simplify
from harness.exchange.onnx_values import Value, channels_first

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, ValueInfoProto

MAX_ATTRIBUTE = 1000  # numbers in a list: windows, strides and axes have two to eight


class _Lost:
    """The output of a node that was refused: what follows it is looked at no further."""


LOST = _Lost()
Known = Value | Array | _Lost


def import_onnx(path: Path) -> Imported:
    """Read a CNN from an ONNX file.

    Raises:
        UsageError: the file cannot be read, or parts of the model cannot be said in a spec; the
            message names them all: node, operator, reason.
        NotInstalledError: there is no package `onnx`.

    """
    model = read_model(path)
    try:
        reader = _Reader(model.graph, opset(model), path)
        reader.run()
    except Refused as error:
        raise refusal(str(path), [str(error)]) from None
    except (ValueError, TypeError, IndexError, OverflowError) as error:  # no text, for example
        reason = " ".join(str(error).split())[:100]
        raise UsageError(f"{path}: damaged, or no ONNX file ({reason})") from None
    if reader.problems:
        raise refusal(str(path), reader.problems)
    return build(reader.graph, path.name)


class _Reader:
    """Runs the nodes of a model, with vertices of a graph in place of arrays."""

    def __init__(self, graph: GraphProto, version: int, path: Path) -> None:
        self.nodes = simplify(graph)
        self.opset, self.folder = version, path.parent
        self.taken: dict[Path, int] = {}
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        self.known: dict[str, Known] = {}
        self.problems: list[str] = []
        inputs = [entry for entry in graph.input if entry.name not in self.tensors]
        if len(inputs) != 1 or len(graph.output) != 1:
            names = ", ".join(short(e.name) for e in [*inputs, *graph.output][:9])
            raise Refused(
                f"{len(inputs)} inputs and {len(graph.output)} outputs ({names}); allowed: one "
                "of each"
            )
        if graph.sparse_initializer:
            raise Refused("sparse arrays; allowed: dense ones")
        self.output = graph.output[0].name
        self.graph = self._begin(inputs[0], path)

    def _begin(self, entry: ValueInfoProto, path: Path) -> Graph:
        """Make the graph of the model's input, NHWC if all that it goes to is a transpose.

        Signals and volumes likewise.
        """
        onnx, name = needed("onnx"), short(entry.name)
        tensor = entry.type.tensor_type
        sizes = [d.dim_value for d in tensor.shape.dim]
        floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
        axes = len(sizes) - 2
        if tensor.elem_type not in floats or axes not in (1, 2, 3) or min(sizes[1:]) < 1:
            shown = [d.dim_param or d.dim_value for d in tensor.shape.dim][:9]
            raise Refused(
                f"the input {name} has the shape {shown}; allowed: floats [n, channels, height, "
                "width], or with one or three axes behind the channels; all but n are known"
            )
        users = [node for node in self.nodes if entry.name in node.input]
        is_nhwc = bool(users) and all(
            node.op_type == "Transpose"
            and _attributes(node).get("perm") == [0, axes + 1, *range(1, axes + 1)]
            for node in users
        )
        first = channels_first(axes)
        order = f"n{first[2:]}c" if is_nhwc else first
        by_axis = dict(zip(order, sizes, strict=True))
        shape = tuple(by_axis[axis] for axis in f"{first[2:]}c")
        folder_bytes = sum(
            file.stat().st_size for file in {path, *_beside(self.tensors.values(), path.parent)}
        )
        self.known[entry.name] = Value(0, shape, order)
        return Graph(shape, folder_bytes)

    def run(self) -> None:
        """Read all nodes; what cannot be taken is listed in `problems`."""
        for number, node in enumerate(self.nodes):
            where = short(node.name) if node.name else f"number {number + 1}"
            what = f"node {where} ({node.op_type[:60]})"
            try:
                found: Known = self._node(node, what)
            except Refused as error:
                self.problems.append(f"{what}: {error}")
                found = LOST
            except (ValueError, TypeError, IndexError, OverflowError) as error:  # hostile numbers
                self.problems.append(f"{what}: malformed ({str(error)[:60]})")
                found = LOST
            for name in node.output[:1]:
                if name in self.known:
                    self.problems.append(f"{what}: its output {short(name)} is made twice")
                self.known[name] = found
        if self.problems:
            return
        end = self.known.get(self.output)
        if not isinstance(end, Value):
            self.problems.append(f"the output {short(self.output)} is made by no node")
        elif end.chw is not None:
            self.problems.append("the output is a flattened image; allowed: behind a dense layer")
        elif end.is_image:
            self.problems.append(
                f"the output is an image of {end.shape}; allowed: one that is flat"
            )
        else:
            self.graph.output = end.vertex

    def _node(self, node: NodeProto, what: str) -> Known:
        is_standard = node.domain in ("", "ai.onnx")
        if not is_standard or node.op_type not in OPERATORS.keys() | CONSTANTS.keys():
            raise Refused("is no operator that a spec has a layer for")
        if any(name and name in self._used_outputs for name in node.output[1:]):
            raise Refused("has more than one output that is used")
        inputs = [self._input(name) if name else None for name in node.input]
        if any(isinstance(one, _Lost) for one in inputs):
            return LOST
        given = tuple(one for one in inputs if not isinstance(one, _Lost))
        attributes = _attributes(node, self._tensor)
        call = Call(node.op_type, what, given, attributes, self.opset, self.graph)
        # A shape is a constant too, whatever it is the shape of.
        if node.op_type == "Shape" or not any(isinstance(one, Value) for one in given):
            return self._operator(CONSTANTS, "constants", call)
        return self._operator(OPERATORS, "values that depend on the images", call)

    def _operator(self, table: Mapping[str, Callable[[Call], Known]], of: str, call: Call) -> Known:
        if call.op not in table:
            raise Refused(f"of {of}: is no operator that a spec has a layer for")
        return table[call.op](call)

    @property
    def _used_outputs(self) -> set[str]:
        if not hasattr(self, "_used"):
            self._used = {name for node in self.nodes for name in node.input} | {self.output}
        return self._used

    def _input(self, name: str) -> Known:
        if name in self.known:
            return self.known[name]
        if name not in self.tensors:
            raise Refused(f"its input {short(name)} is made by no node before it")
        self.known[name] = self._tensor(self.tensors[name])
        return self.known[name]

    def _tensor(self, tensor: Any) -> Array:
        return read_tensor(tensor, self.folder, self.taken)


def _beside(tensors: Any, folder: Path) -> set[Path]:
    """The files in `folder` in which arrays lie; whether they may is seen when they are read."""
    places = {e.value for t in tensors for e in t.external_data if e.key == "location"}
    return {folder / p for p in places if ".." not in Path(p).parts and (folder / p).is_file()}


def _attributes(node: NodeProto, read: Callable[[Any], Array] | None = None) -> dict[str, Any]:
    """Return numbers, strings and lists by name; arrays where they can be read."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        match attribute.type:
            case 1:  # as `AttributeProto.AttributeType` numbers them
                found[attribute.name] = attribute.f
            case 2:
                found[attribute.name] = attribute.i
            case 3:
                found[attribute.name] = attribute.s.decode(errors="replace")
            case 4 if read is not None:
                found[attribute.name] = read(attribute.t)
            case 6:
                found[attribute.name] = list(attribute.floats[:MAX_ATTRIBUTE])
            case 7:
                found[attribute.name] = list(attribute.ints[:MAX_ATTRIBUTE])
    return found
