"""Blocks as numbers and structure: what a class is to be the same in, and what it is given.

The numbers of a block are its *slots*: sizes, strides, channels, pads. Where they are replaced by
symbols, whatever writes the block writes names in their place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Never

from harness.spec.layers import Conv2DTranspose
from harness.spec.nodes import Block, Node, Parameter, Part

Number = int  # or a Symbol
Slots = tuple[Number, ...]


class Symbol(int):
    """An integer of one member of a family, printed as the name of a constructor's argument.

    It is equal to itself only, never to a plain number, and always true: what it is in one
    member, it is not in another. Arithmetic would lose the name, and an order would be that of
    one member: both are refused. `int(symbol)` is one member's number.
    """

    name: str

    def __new__(cls, value: int, name: str) -> Symbol:
        """Return the symbol of that name."""
        symbol = super().__new__(cls, value)
        symbol.name = name
        return symbol

    def __repr__(self) -> str:
        """Return the name."""
        return self.name

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        """Return the name, whatever the format."""
        return self.name

    def __eq__(self, other: object) -> bool:
        """Tell whether `other` is the symbol of the same name."""
        return isinstance(other, Symbol) and other.name == self.name

    def __ne__(self, other: object) -> bool:
        """Tell whether `other` is anything else."""
        return not self == other

    def __hash__(self) -> int:
        """Return the name's hash."""
        return hash(self.name)

    def __bool__(self) -> bool:
        """Return true: in some member it is no zero."""
        return True

    def _refuse(self, *_: object) -> Never:
        raise TypeError(f"{self.name} stands for several numbers; there is no arithmetic with it")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __floordiv__ = __rfloordiv__ = __mod__ = __neg__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = _refuse


def _fields(node: Node) -> Iterator[tuple[str, Any]]:
    """Yield what tells one node from another, by name; integers may lie in tuples."""
    for field, value in node.layer:
        if field != "name":
            yield field, value
    yield "activation", node.activation
    yield "pads", node.pads
    yield "in", node.input_shape
    yield "out", node.output_shape
    for parameter in (*node.parameters, *node.statistics):
        yield f"{parameter.role}.size", parameter.shape


def _numbers(value: Any) -> Iterator[int]:
    """Yield the integers in a field's value; booleans are none."""
    if isinstance(value, tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value


def _without_numbers(value: Any) -> Any:
    """Return what is left of a field's value where each integer is but a mark."""
    if isinstance(value, tuple):
        return tuple(_without_numbers(item) for item in value)
    return int if isinstance(value, int) and not isinstance(value, bool) else value


def structure(part: Part) -> Any:
    """Return all of a part that is no number; what has the same can be one class.

    Of pads it counts whether both sides are alike, and whether they are more than half of a
    window: frameworks have other layers for these.
    """
    if isinstance(part, Block):
        inner = tuple(tuple(map(structure, branch)) for branch in part.branches)
        return part.kind, part.activation, part.is_stage, part.layer.family, inner
    fields = tuple((name, _without_numbers(value)) for name, value in _fields(part))
    alike = all(before == after for before, after in part.pads)
    size = getattr(part.layer, "size", None)
    wide = size is not None and any(
        2 * int(pad) > int(extent)
        for pair, extent in zip(part.pads, size, strict=True)
        for pad in pair
    )
    cut: tuple[Any, ...] = ()
    if isinstance(part.layer, Conv2DTranspose):
        sizes = zip(part.layer.kernel, part.layer.stride, strict=True)
        cut = tuple((before == after, int(after) < 0) for before, after in part.pads)
        cut += tuple(int(kernel) >= int(stride) for kernel, stride in sizes)
    return part.name, fields, alike, wide, cut


def slots(part: Part) -> Slots:
    """Return all numbers of a part, in one order for all that have the same structure."""
    if isinstance(part, Block):
        own = (*part.input_shape, *part.output_shape)
        return (*own, *(number for child in part.children for number in slots(child)))
    return tuple(number for _, value in _fields(part) for number in _numbers(value))


def hints(part: Part, prefix: str = "") -> list[str]:
    """Return for each slot what it is: `in_channels` of a block, `conv1_stride` inside it."""
    if isinstance(part, Block):
        found = [f"{prefix}{hint}" for hint in _shape_hints("in", part.input_shape)]
        found += [f"{prefix}{hint}" for hint in _shape_hints("out", part.output_shape)]
        for child in part.children:
            found += hints(child, f"{prefix}{child.name}_")
        return found
    found = []
    for name, value in _fields(part):
        if name in ("in", "out"):
            names = _shape_hints(name, value)
        else:
            words = {"pads": "padding"}.get(name, name.rpartition(".")[2])
            names = [words] * len(list(_numbers(value)))
        found += [prefix + word for word in names]
    return found


def _shape_hints(end: str, shape: tuple[int, ...]) -> list[str]:
    axes = ("depth", "height", "width", "channels")[-len(shape) :]
    return [f"{end}_{axis}" for axis in axes]


def with_slots(block: Block, numbers: Iterator[Number]) -> Block:
    """Return `block` with other numbers, in the order of `slots`."""
    input_shape = tuple(next(numbers) for _ in block.input_shape)
    output_shape = tuple(next(numbers) for _ in block.output_shape)
    branches = tuple(
        tuple(
            with_slots(part, numbers) if isinstance(part, Block) else _rebuilt_node(part, numbers)
            for part in branch
        )
        for branch in block.branches
    )
    return replace(block, input_shape=input_shape, output_shape=output_shape, branches=branches)


def _rebuilt_node(node: Node, numbers: Iterator[Number]) -> Node:
    fields = {f: _with_numbers(value, numbers) for f, value in node.layer if f != "name"}
    layer = node.layer.model_copy(update=fields)
    pads = _with_numbers(node.pads, numbers)
    input_shape = _with_numbers(node.input_shape, numbers)
    output_shape = _with_numbers(node.output_shape, numbers)

    def renewed(parameters: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
        return tuple(replace(p, shape=_with_numbers(p.shape, numbers)) for p in parameters)

    return replace(
        node,
        layer=layer,
        pads=pads,
        input_shape=input_shape,
        output_shape=output_shape,
        parameters=renewed(node.parameters),
        statistics=renewed(node.statistics),
    )


def _with_numbers(value: Any, numbers: Iterator[Number]) -> Any:
    """Return a field's value with each integer replaced by the next of `numbers`."""
    if isinstance(value, tuple):
        return tuple(_with_numbers(item, numbers) for item in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return next(numbers)
    return value
