"""A history in a terminal: a line for each trend, and one for each place where it changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from harness.verdict.history import MEASURES, Change, Trend

LEVELS = "▁▂▃▄▅▆▇█"
LAST = 24  # results that a line of blocks shows


def history_table(found: Sequence[tuple[Trend, Sequence[Change]]]) -> Table:
    """Return one line for each trend: how many results, median, last one, course."""
    table = Table(pad_edge=False, box=None, header_style="bold")
    numbers = ("results", "median", "last", "changes")
    for name in ("cell", "since", "results", "median", "last", "course", "changes"):
        justify: JustifyMethod = "right" if name in numbers else "left"
        width = 24 if name == "cell" else None
        table.add_column(name, justify=justify, overflow="fold", min_width=width)
    for trend, changes in found:
        values = trend.values
        columns = (
            *(f"{trend.label} on {trend.machine_key}", _day(trend.rows[0])),
            *(str(len(values)), _figure(median(values)), _figure(values[-1])),
            *(course(values[-LAST:]), str(len(changes)) if changes else ""),
        )
        table.add_row(*map(Text, columns))
    return table


def course(values: Sequence[float]) -> str:
    """Return blocks as high as the values, from the least to the largest."""
    least, most = min(values), max(values)
    if most <= least:
        return LEVELS[0] * len(values)
    step = (most - least) / (len(LEVELS) - 1)
    return "".join(LEVELS[round((value - least) / step)] for value in values)


def change_lines(trend: Trend, changes: Sequence[Change]) -> list[str]:
    """Return a sentence on each change: when, which code and versions, by how much."""
    lines = []
    for change in changes:
        before, after = trend.rows[change.place - 1], trend.rows[change.place]
        better = (change.ratio > 1) == MEASURES[trend.measure]
        lines.append(
            f"{trend.label}: {trend.measure} {100 * (change.ratio - 1):+.1f} % "
            f"({'better' if better else 'worse'}) from {_day(after)} on{_what(before, after)}"
        )
    return lines


def _what(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Say what else is new in the first result after a change."""
    parts = []
    old, new = (row.get("framework_version") for row in (before, after))
    if old != new:
        parts.append(f"version {old} → {new}")
    old, new = ((row.get("commit") or "")[:10] for row in (before, after))
    if old != new:
        parts.append(f"commit {old or '?'} → {new or '?'}")
    return f": {', '.join(parts)}" if parts else ""


def _figure(value: float) -> str:
    """Return four digits, or all before the point, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _day(row: Mapping[str, Any]) -> str:
    return str(row["started_at"])[:10]


def as_objects(found: Sequence[tuple[Trend, Sequence[Change]]]) -> list[dict[str, Any]]:
    """Return trends as objects of plain values."""
    return [
        {
            "cell": trend.label,
            "machine_key": trend.machine_key,
            "measure": trend.measure,
            "results": [
                {"started_at": r["started_at"], "commit": r["commit"], "value": value}
                for r, value in zip(trend.rows, trend.values, strict=True)
            ],
            "changes": [
                {
                    "from": trend.rows[change.place]["started_at"],
                    "commit": trend.rows[change.place]["commit"],
                    "ratio": change.ratio,
                }
                for change in changes
            ],
        }
        for trend, changes in found
    ]
