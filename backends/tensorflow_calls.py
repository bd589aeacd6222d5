"""Statements of generated TensorFlow: calls that are broken over lines as ruff would do it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.contract import SourceWriter

WIDTH = 100  # columns of a generated line
NAMED = {0.0: "zeros", 1.0: "ones"}  # constants that TensorFlow has functions for


@dataclass(frozen=True)
class Call:
    """`head(arguments)`, broken over lines where it must be, as ruff would break it."""

    head: str
    arguments: tuple[str | Call, ...]

    def __str__(self) -> str:
        return f"{self.head}({', '.join(map(str, self.arguments))})"

    def lines(self, indent: int, comment: str = "") -> Iterator[str]:
        """Yield the lines of a call at `indent` levels, relative to that indentation."""
        room = WIDTH - 4 * indent
        inside = ", ".join(map(str, self.arguments))
        if len(f"{self}{comment}") <= room:
            yield f"{self}{comment}"
            return
        yield f"{self.head}("
        if len(inside) <= room - 4:
            yield f"    {inside}"
        else:
            for argument in self.arguments:
                parts = [argument] if isinstance(argument, str) else [*argument.lines(indent + 1)]
                parts[-1] += "," if len(self.arguments) > 1 else ""
                yield from (f"    {part}" for part in parts)
        yield f"){comment}"


Statement = Call | str  # a call that can be broken over lines, or a line that stays as it is


def write_call(
    write: SourceWriter, call: Statement, indent: int, comment: str = "", end: str = ""
) -> None:
    """Write `call` as a statement, with what follows its parenthesis, and a comment."""
    end += f"  # {comment}" if comment else ""
    for line in [f"{call}{end}"] if isinstance(call, str) else call.lines(indent, end):
        write(line, indent)


def assigned(value: Statement, target: str) -> Statement:
    """Return the statement that gives `target` the value."""
    if isinstance(value, str):
        return f"{target} = {value}"
    return Call(f"{target} = {value.head}", value.arguments)


def shape(sizes: Iterable[object]) -> str:
    """Return the shape as TensorFlow's users write it: `[5, 5, 1, 32]`."""
    return f"[{', '.join(map(str, sizes))}]"


def sizes_of(sizes: tuple[int, ...]) -> str:
    """Return a number for each axis; one, where it says it all."""
    return str(sizes[0]) if all(size == sizes[0] for size in sizes) else shape(sizes)


def padding_of(padding: str | object, pads: tuple[tuple[int, int], ...]) -> str:
    """Return the argument that pads: a word, or pads of one's own."""
    if isinstance(padding, str):
        return f'padding="{padding.upper()}"'
    return f"padding={pads_of(pads)}" if any(map(any, pads)) else 'padding="VALID"'


def pads_of(pads: tuple[tuple[int, int], ...]) -> str:
    """Return the pads of all axes, those of images and channels among them."""
    return shape(map(list, ((0, 0), *pads, (0, 0))))
