"""Text in CSV files that people open in a spreadsheet: never a formula there."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # as a spreadsheet sees the beginning of a cell
# A field of a table that begins so, and is no negative number.
SUSPECT = re.compile(rb'(?m)(?:^|[,\r])(?:"?[=+@\t]|"[\r\n]|"?-(?![0-9.eE+-]*(?:[",\r\n]|\Z)))')


def safe_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row for a CSV file in which no text is a formula to a spreadsheet; numbers stay.

    Such text gets an apostrophe in front, as OWASP advises (CSV injection); `plain_text` undoes it.
    """
    return {
        name: f"'{value}" if isinstance(value, str) and _is_formula(value) else value
        for name, value in row.items()
    }


def plain_text(text: str) -> str:
    """Return the text that `safe_cells` was given."""
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def _is_formula(text: str) -> bool:
    return text.lstrip("'").startswith(FORMULA)


def safe_table(content: bytes) -> bytes:
    """Return a CSV file, whoever wrote it, without formulas; one that has none as it is.

    Raises:
        ValueError: a field is too long for a table.

    """
    if not SUSPECT.search(content):
        return content
    text = io.StringIO(newline="")
    lines = csv.reader(io.StringIO(content.decode("utf-8", "replace"), newline=""))
    try:
        csv.writer(text).writerows(map(_safe_field, line) for line in lines)
    except csv.Error as error:
        raise ValueError(str(error)) from None
    return text.getvalue().encode()


def _safe_field(field: str) -> str:
    try:
        float(field)
    except ValueError:
        return f"'{field}" if field.startswith(FORMULA) else field
    return field
