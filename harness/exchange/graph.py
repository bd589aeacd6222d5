"""The graph that a file of another tool is read into: layers and joins, with their shapes.

One form for all formats. A vertex is a layer of the spec in its place, or joins several values
(`add`, `concat`, `multiply`), or is one of two things that no layer is, but that a neighbour may
take up: a `bias` that is added to all pixels, and a `pad` of zeros around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from harness.errors import UsageError
from harness.spec.layers import Leaf, Pads, activation_of
from harness.spec.model import MAX_SIDE
from harness.spec.network import MAX_PARAMETERS
from harness.spec.nodes import Node, Shape
from harness.spec.placing import place

Array = NDArray[Any]
Kind = Literal["input", "layer", "add", "concat", "multiply", "bias", "pad"]

KINDS: dict[str, Any] = {kind.model_fields["type"].default: kind for kind in get_args(Leaf)}
HARD_SIGMOID = "hard_sigmoid"  # no activation of the spec, but half of hard_swish
MAX_VERTICES = 10_000
MAX_CHANNELS = 1_000_000
SLACK = 1_000_000  # values, for a file that says in one number what holds for all channels
MAX_PAD = 4096  # pixels of zeros on a side


class Refused(ValueError):  # noqa: N818 (not a fault)
    """A part of another tool's network that the spec cannot say; the message says why."""


@dataclass(frozen=True, eq=False)
class Vertex:
    """One step of the network.

    `what` names it as its file does, for messages. `fields` are those of the spec's layer,
    `arrays` its parameters by role, `node` the layer in its place; `shape` is that of the
    output, `(h, w, c)` or `(units,)`.
    """

    what: str
    kind: Kind
    inputs: tuple[int, ...]
    shape: Shape
    fields: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    node: Node | None = None
    pads: Pads = ((0, 0), (0, 0))


class Graph:
    """Vertices in an order in which they can run; the first, 0, is the input.

    The input is a signal, an image or a volume: one to three axes of pixels, then the channels.
    `limit` is how many values all parameters may have together: what the file could hold, so
    that a small one that uses an array a thousand times costs no more than it is large.
    """

    def __init__(self, shape: Shape, limit: int = MAX_PARAMETERS) -> None:
        if len(shape) not in (2, 3, 4) or not all(1 <= side <= MAX_SIDE for side in shape):
            raise Refused(f"inputs of {shape} (..., channels); allowed: 1 to {MAX_SIDE} each")
        self.vertices = [Vertex("the input", "input", (), shape)]
        self.output = 0
        self.limit = min(limit + SLACK, MAX_PARAMETERS)

    def shape(self, vertex: int) -> Shape:
        """Shape of a vertex's output."""
        return self.vertices[vertex].shape

    def _add(self, vertex: Vertex) -> int:
        if len(self.vertices) >= MAX_VERTICES:
            raise Refused(f"more than {MAX_VERTICES} layers")
        self.vertices.append(vertex)
        return len(self.vertices) - 1

    def _count(self, values: int) -> None:
        self.limit -= values
        if self.limit < 0:
            raise Refused("more parameters by this layer than the file has bytes")

    def layer(
        self,
        what: str,
        x: int,
        fields: Mapping[str, Any],
        arrays: Mapping[str, Array] | None = None,
    ) -> int:
        """Add a layer of the spec behind `x`.

        Raises:
            Refused: a field is not allowed, or the layer or its arrays do not fit the input.

        """
        arrays = dict(arrays or {})
        if fields.get("function") == HARD_SIGMOID:
            return self._add(Vertex(what, "layer", (x,), self.shape(x), dict(fields)))
        try:
            layer = KINDS[fields["type"]].model_validate(dict(fields))
            node = place(layer, self.shape(x), activation_of(layer), "", "")
        except ValidationError as error:
            raise Refused(_first_mistake(error)) from None
        except ValueError as error:
            raise Refused(str(error)) from None
        wanted = {p.role: p.shape for p in (*node.parameters, *node.statistics)}
        self._count(sum(p.size for p in node.parameters))
        if {role: array.shape for role, array in arrays.items()} != wanted:
            found = {role: list(array.shape) for role, array in arrays.items()}
            needed = {role: list(shape) for role, shape in wanted.items()}
            raise Refused(f"arrays of {found}, where its input asks for {needed}")
        vertex = Vertex(what, "layer", (x,), node.output_shape, dict(fields), _plain(arrays), node)
        return self._add(vertex)

    def activation(self, what: str, x: int, function: str) -> int:
        """Add an activation."""
        return self.layer(what, x, {"type": "activation", "function": function})

    def join(self, what: str, kind: Literal["add", "concat", "multiply"], xs: Iterable[int]) -> int:
        """Add what several values go into; a product's factor may be one of the channels.

        Raises:
            Refused: their shapes do not fit.

        """
        inputs = tuple(xs)
        shapes = [self.shape(x) for x in inputs]
        first = max(shapes, key=len)
        words = " and ".join(map(str, shapes))
        if kind == "concat":
            if len({shape[:-1] for shape in shapes}) > 1 or len(shapes) < 2:
                raise Refused(f"joins {words}; all but the channels must agree")
            if sum(shape[-1] for shape in shapes) > MAX_CHANNELS:
                raise Refused(f"joins {words}; allowed: {MAX_CHANNELS} channels")
            shape: Shape = (*first[:-1], sum(shape[-1] for shape in shapes))
        elif kind == "multiply":
            if len(inputs) != 2 or any(shape not in (first, first[-1:]) for shape in shapes):
                raise Refused(f"multiplies {words}; allowed: an image by a factor for each channel")
            shape = first
        else:
            if len(set(shapes)) > 1 or len(shapes) < 2:
                raise Refused(f"adds {words}; allowed: two or more of one shape")
            shape = first
        return self._add(Vertex(what, kind, inputs, shape))

    def bias(self, what: str, x: int, values: Array) -> int:
        """Add a constant for each channel."""
        if values.shape != self.shape(x)[-1:]:
            raise Refused(f"adds an array of {list(values.shape)} to {self.shape(x)}")
        self._count(len(values))
        return self._add(Vertex(what, "bias", (x,), self.shape(x), {}, _plain({"bias": values})))

    def pad(self, what: str, x: int, pads: Pads) -> int:
        """Add rows and columns of zeros."""
        shape = self.shape(x)
        if len(pads) != len(shape) - 1 or not all(
            type(n) is int and 0 <= n <= MAX_PAD for pair in pads for n in pair
        ):
            raise Refused(f"pads {shape} by {pads}; allowed: 0 to {MAX_PAD} pixels, of an image")
        sides = zip(shape, pads, strict=False)  # the channels are left over
        padded = (*(side + sum(pair) for side, pair in sides), shape[-1])
        return self._add(Vertex(what, "pad", (x,), padded, pads=pads))


def _plain(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return float32 arrays.

    Raises:
        Refused: a value is not finite.

    """
    plain = {}
    for role, array in arrays.items():
        with np.errstate(over="ignore"):  # what is too large for float32 is refused next
            plain[role] = np.ascontiguousarray(array, np.float32)
        if not np.isfinite(plain[role]).all():
            raise Refused(f"its {role} holds values that are not finite")
    return plain


def _first_mistake(error: ValidationError) -> str:
    item = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in item["loc"][:1])
    message = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{place} = {str(item['input'])[:60]} {message}"


def refusal(source: str, problems: list[str]) -> UsageError:
    """Return the error that names all that cannot be taken over, at most a hundred of it."""
    count = f"{len(problems)} {'things' if len(problems) > 1 else 'thing'}"
    lines = problems[:100] + ([f"and {len(problems) - 100} more"] if len(problems) > 100 else [])
    return UsageError(
        f"{source}: {count} in it that no spec can say\n" + "\n".join(f"  {x}" for x in lines)
    )


def short(name: str) -> str:
    """Quote a name that a stranger gave: it may be long, or hold line ends."""
    return repr(name if len(name) <= 60 else name[:57] + "...")
