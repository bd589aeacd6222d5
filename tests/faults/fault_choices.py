"""Damage to sound files, drawn from bytes: the same bytes do the same, fewer do less.

Hypothesis draws the bytes, so that what it finds is shrunk to few of them, and can be repeated.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}
ODD_NUMBERS = (
    0, 1, -1, 2, 7, 8, 127, 128, 255, 256, 4096, 65535, 65536, 10**6, 2**31 - 1, 2**31, 2**32 - 1,
    2**32, 2**40, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**63), 10**30, 10**400,
)  # fmt: skip
ODD_FLOATS = (0.0, -0.0, 0.5, 1.5, -1.5, 1e-320, 1e30, 1e308, float("inf"), float("-inf"))
ODD_TEXTS = (
    "", " ", "x", "relu", "conv2d", "0", "\0", "\r\n", "é", "\u2028", "\U0001f600", "..",
    "../../../../etc/passwd", "/etc/passwd", "C:\\x", "__import__('os').abort()", "{{7*7}}",
    "<script>", "=1+1", "@x", "nan", "1e999", "１２", "a" * 1000, "deep",
)  # fmt: skip
DEEP = 20_000  # brackets within brackets, put in place of a text by `deepened`
MARK_OF_DEEP = "@deep@"


class Choices:
    """Bytes, taken one after another; when none is left, every answer is the first one."""

    def __init__(self, recipe: bytes) -> None:
        self.recipe = recipe
        self.at = 0

    def byte(self) -> int:
        self.at += 1
        return self.recipe[self.at - 1] if self.at <= len(self.recipe) else 0

    @property
    def more(self) -> bool:
        return self.at < len(self.recipe)

    def below(self, count: int) -> int:
        """A whole number from 0; of as many bytes as it takes."""
        value, reach = self.byte(), 256
        while reach < count:
            value, reach = value * 256 + self.byte(), reach * 256
        return value % count

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def rest(self) -> bytes:
        found, self.at = self.recipe[self.at :], len(self.recipe)
        return found

    def value(self) -> Any:
        """Anything that JSON may hold, mostly something that nobody wants there."""
        kind = self.below(9)
        if kind < 3:
            return self.pick(ODD_NUMBERS)
        if kind == 3:
            return self.pick(ODD_FLOATS)
        if kind == 4:
            return MARK_OF_DEEP
        if kind < 7:
            return self.pick(ODD_TEXTS)
        empty: list[Any] = [None, True, False, [], {}, [[]], {"": {}}, [0] * 1000, [None, {"a": 1}]]
        return self.pick(empty)


def damaged(content: bytes, choices: Choices, times: int = 4) -> bytes:
    """Change a few places: bytes, numbers of any width, pieces taken out, doubled or put in."""
    changed = bytearray(content)
    for _ in range(times):
        if not choices.more:
            break
        at, deed = choices.below(len(changed) + 1), choices.below(8)
        if deed == 0:
            changed[at : at + 1] = bytes([choices.byte()])
        elif deed == 1:
            del changed[at:]
        elif deed == 2:
            del changed[at : at + choices.below(64)]
        elif deed == 3:
            changed[at:at] = changed[at : at + choices.below(256)]
        elif deed == 4:
            changed[at:at] = choices.pick([b"\0", b"\n", b'"', b"\xff\xfe", b"PK\3\4", bytes(1000)])
        elif deed == 5 and at < len(changed):
            changed[at] ^= 1 << choices.below(8)
        else:
            width = choices.pick([1, 2, 4, 8])
            number = choices.pick(ODD_NUMBERS) % 256**width
            order = "<" if deed == 6 else ">"
            changed[at : at + width] = struct.pack(order + WIDTHS[width], number)
    return bytes(changed)


def twisted(tree: Any, choices: Choices, times: int = 4) -> Any:
    """Change a few places of what JSON holds, in place: values, names, how often and how deep."""
    for _ in range(times):
        if not choices.more:
            break
        places = list(_places(tree))
        if not places:
            return choices.value()
        holder, key = choices.pick(places)
        deed = choices.below(8)
        if deed == 0:
            del holder[key]
        elif deed == 1 and isinstance(holder, list):
            holder[key:key] = [holder[key]] * choices.pick([1, 2, 100])
        elif deed == 2 and isinstance(holder, dict):
            holder[str(choices.pick(ODD_TEXTS))] = holder.pop(key)
        elif deed == 3:
            holder[key] = choices.pick([[holder[key]], {"x": holder[key]}, [holder[key]] * 50])
        elif deed == 4:
            other, its = choices.pick(places)
            if its in other if isinstance(other, dict) else its < len(other):
                holder[key] = _copied(other[its])
        elif deed == 5 and isinstance(holder[key], int | float):
            holder[key] = holder[key] * choices.pick([-1, 2, 10, 1000, 2**33])
        else:
            holder[key] = choices.value()
    return tree


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every place below the top, as what holds it and its key; no more than some thousands."""
    found, waiting = [], [tree]
    while waiting and len(found) < 5000:
        inner = waiting.pop()
        if isinstance(inner, dict | list):
            for key in inner if isinstance(inner, dict) else range(len(inner)):
                found.append((inner, key))
                waiting.append(inner[key])
    return found


def _copied(value: Any, depth: int = 0) -> Any:
    """A copy of its own, as one that held itself could not be written."""
    if depth > 20:
        return None
    if isinstance(value, dict):
        return {key: _copied(inner, depth + 1) for key, inner in value.items()}
    return [_copied(inner, depth + 1) for inner in value] if isinstance(value, list) else value


def deepened(text: str, choices: Choices) -> str:
    """Put real depth where a place was marked for it, which no writer of JSON could write."""
    mark = f'"{MARK_OF_DEEP}"'
    if mark not in text:
        return text
    depth = choices.pick([3, 60, 900, DEEP])
    opening, closing = choices.pick([("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
    return text.replace(mark, opening * depth + "1" + closing * depth, 1)


def toml(tree: dict[str, Any]) -> str:
    """A tree as TOML in which all but the top is inline."""
    return "".join(f"{_key(key)} = {_toml(value)}\n" for key, value in tree.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _quoted(value)
    return "[]" if value is None else repr(value)


def _quoted(text: str) -> str:
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04x}" for c in plain) + '"'


def _key(name: str) -> str:
    return name if name.isascii() and name.isidentifier() else _quoted(name)
