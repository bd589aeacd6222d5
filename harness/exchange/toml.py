"""A spec's fields as TOML: one line for each layer, blocks with theirs below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

INDENT = "  "


def spec_toml(fields: Mapping[str, Any]) -> str:
    """Return the text of a spec's file.

    `fields` hold strings without quotes, backslashes and control characters, numbers, booleans,
    tables, and arrays of those; arrays of tables take several lines.
    """
    lines = [f"{key} = {_value(value, '')}" for key, value in fields.items()]
    return "\n".join(lines) + "\n"


def _value(value: object, indent: str) -> str:
    if isinstance(value, Mapping):
        inside = (f"{key} = {_value(item, indent)}" for key, item in value.items())
        return f"{{{', '.join(inside)}}}"
    if isinstance(value, str):
        assert value.isprintable() and not {'"', "\\"} & set(value)
        return f'"{value}"'
    if isinstance(value, Sequence):
        if not any(isinstance(item, Mapping | tuple) and _is_deep(item) for item in value):
            return f"[{', '.join(_value(item, indent) for item in value)}]"
        deeper = indent + INDENT
        return "\n".join(
            ["[", *(f"{deeper}{_value(item, deeper)}," for item in value), f"{indent}]"]
        )
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _is_deep(item: object) -> bool:
    """Whether it is a table, or an array that holds one, or nothing: a branch."""
    if isinstance(item, tuple):
        return not item or any(map(_is_deep, item))
    return isinstance(item, Mapping)
