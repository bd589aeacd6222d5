"""The table of a prediction: one line for each backend and device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text


def predictions_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Lay out what `describe_predictions` returns; the first that succeeded is the measure."""
    table = Table(pad_edge=False, box=None, header_style="bold")
    table.add_column("backend", overflow="fold", no_wrap=True)
    table.add_column("on")
    headings = ("images", "accuracy %", "loss", "logits differ", "classes differ")
    for heading in headings:
        table.add_column(heading, justify="right")
    first = next((row for row in rows if row["status"] == "ok"), None)
    for row in rows:
        if row["status"] == "ok":
            cells = [
                f"{row['images']:,}",
                _share(row["accuracy"]),
                _figure(row["loss"], ".5f"),
                "the first" if row is first else _figure(row["logits_difference"], ".1e"),
                "" if row is first else _count(row["predictions_that_differ"]),
            ]
        else:
            cells = [row["status"]]
        table.add_row(*map(Text, [row["backend"], row["device"], *cells]))
    return table


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _figure(value: float | None, form: str) -> str:
    return "?" if value is None else f"{value:{form}}"
