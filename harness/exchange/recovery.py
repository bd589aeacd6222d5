"""From a graph back to blocks: what branches and meets again is a residual, a concat or a gate.

A graph that a spec can say is series-parallel: all that goes into a join comes from one vertex,
the last that every path to it passes (its immediate dominator), by branches that share nothing.
Dominators are found as by Cooper, Harvey and Kennedy (2001); without cycles one pass is enough.
"""

from __future__ import annotations

from dataclasses import replace

from harness.exchange.graph import Graph, Refused, Vertex
from harness.exchange.pieces import Piece, append, gate
from harness.spec.blocks import MAX_DEPTH

SHARED = (
    "its output goes to several places that do not meet again as a residual block, branches or "
    "a gate do"
)


def recover(graph: Graph) -> list[Piece]:
    """Return the layers of the spec, the first of all first.

    Raises:
        Refused: one line for each part that no block can say.

    """
    _nest_concats(graph)
    found = _Recovery(graph)
    pieces = found.chain(graph.output, 0, 0)
    problems = [*found.problems, *_problems(pieces)]
    if problems:
        raise Refused("\n".join(dict.fromkeys(problems)))
    if not pieces:
        raise Refused("the output is the input: there is no layer")
    return pieces


def _problems(pieces: list[Piece]) -> list[str]:
    found = []
    for piece in pieces:
        if piece.problem:
            found.append(f"{piece.what}: {piece.problem}")
        for branch in piece.branches:
            found += _problems(branch)
    return found


class _Recovery:
    """One walk back through a graph; mistakes are gathered."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.dominators = _dominators(graph)
        self.visited: set[int] = set()
        self.problems: list[str] = []

    def chain(self, end: int, start: int, depth: int) -> list[Piece]:
        """Return what lies between `start`, which dominates `end`, and the output of `end`."""
        if depth > MAX_DEPTH:
            raise Refused(f"blocks within blocks, more than {MAX_DEPTH} deep")
        reverse: list[Piece] = []
        while end != start:
            vertex = self.graph.vertices[end]
            if end in self.visited:
                self.problems.append(f"{vertex.what}: {SHARED}")
                break
            self.visited.add(end)
            if len(vertex.inputs) == 1:
                reverse.append(_piece(vertex))
                end = vertex.inputs[0]
            else:
                dominator = self.dominators[end]
                branches = [self.chain(x, dominator, depth + 1) for x in vertex.inputs]
                reverse.append(self._block(vertex, branches))
                end = dominator
        pieces: list[Piece] = []
        for piece in reversed(reverse):
            append(pieces, piece)
        return pieces

    def _block(self, vertex: Vertex, branches: list[list[Piece]]) -> Piece:
        what = vertex.what
        if vertex.kind == "concat":
            return Piece(what, {"type": "concat"}, branches=branches)
        if vertex.kind == "add":
            # The longest is the body, the first of those as long: the rest are shortcuts.
            ordered = sorted(branches, key=lambda branch: -sum(len([*p.leaves()]) for p in branch))
            body = ordered[0]
            if not ordered[-2]:
                self.problems.append(f"{what}: adds a value to itself")
            for shortcut in ordered[1:]:
                body = [Piece(what, {"type": "residual"}, branches=[body, shortcut])]
            return body[0]
        empty, *rest = sorted(branches, key=len)
        found = gate(what, rest[0], vertex.shape[-1]) if not empty and rest[0] else None
        if found is None:
            self.problems.append(
                f"{what}: multiplies two values; allowed: x times sigmoid(x), or a squeeze-excite "
                "gate: mean of the pixels, dense, activation, dense, activation"
            )
            return Piece(what, {"type": "activation", "function": "linear"})
        return found


def _piece(vertex: Vertex) -> Piece:
    if vertex.kind != "layer":
        return Piece(vertex.what, {"type": vertex.kind}, [vertex.arrays], vertex.pads)
    pads = vertex.node.pads if vertex.node else vertex.pads
    return Piece(vertex.what, dict(vertex.fields), [dict(vertex.arrays)], pads)


def _dominators(graph: Graph) -> list[int]:
    """Return the immediate dominator of every vertex; of the input, itself."""
    found = [0]
    for index, vertex in enumerate(graph.vertices[1:], 1):
        nearest = vertex.inputs[0]
        for other in vertex.inputs[1:]:
            while nearest != other:  # numbers grow along every path
                if nearest > other:
                    nearest = found[nearest]
                else:
                    other = found[other]
        assert nearest < index
        found.append(nearest)
    return found


def _nest_concats(graph: Graph) -> None:
    """Let a concat that begins as an earlier one does, or more of it, begin with that.

    DenseNets are often written so: `[a, b]`, then `[a, b, c]`, which is `[[a, b], c]`.
    """
    known: dict[tuple[int, ...], int] = {}
    for index, vertex in enumerate(graph.vertices):
        if vertex.kind != "concat":
            continue
        inputs = vertex.inputs
        for length in range(len(inputs) - 1, 1, -1):
            if (earlier := known.get(inputs[:length])) is not None:
                graph.vertices[index] = replace(vertex, inputs=(earlier, *inputs[length:]))
                break
        known[inputs] = index
