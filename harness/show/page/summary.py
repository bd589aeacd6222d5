"""The table of a run's end on the page: the same lines and figures as in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.show.page.keys import Keys
from harness.show.page.marks import Key
from harness.show.table import Line, results_table


@dataclass(frozen=True)
class Summary:
    """Cells by line, as text; `columns` are their heads."""

    columns: Sequence[str]
    rows: Sequence[tuple[Key, Line, Sequence[str]]]


def summary(lines: Sequence[Line], keys: Keys) -> Summary:
    """Return what `results_table` shows."""
    table = results_table(lines)
    columns = [" ".join(str(column.header).split()) for column in table.columns]
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    rows = [
        (keys.of(line), line, [column[number] for column in cells])
        for number, line in enumerate(lines)
    ]
    return Summary(columns, rows)
