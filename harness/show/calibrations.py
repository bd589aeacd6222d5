"""What a calibration found, as a table: the scatter of identical code, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from harness.verdict.calibration import Calibration


def calibration_rows(
    found: Sequence[Calibration], effect: float, power: float
) -> list[dict[str, Any]]:
    """Return one object for each backend and measure; `pairs_needed` sees `effect`."""
    return [
        {
            "backend": one.label,
            "measure": one.measure,
            "pairs": len(one.log_ratios),
            "deviation": one.deviation,
            "bias": one.bias,
            "largest": max(map(abs, one.log_ratios), default=0.0),
            "pairs_needed": one.pairs_for(effect, power),
        }
        for one in found
    ]


def calibration_table(rows: Sequence[dict[str, Any]], effect: str, power: float) -> Table:
    """Return the table; deviations and ratios in per cent."""
    table = Table(pad_edge=False, box=None, header_style="bold")
    titles = ("backend", "measure", "pairs", "scatter", "median", "largest")
    for title in (*titles, f"pairs that see {effect} with power {power:g}"):
        table.add_column(title)
    for row in rows:
        table.add_row(
            row["backend"],
            row["measure"],
            str(row["pairs"]),
            f"{100 * row['deviation']:.2f} %",
            f"{100 * math.expm1(row['bias']):+.2f} %",
            f"{100 * math.expm1(row['largest']):.2f} %",
            str(row["pairs_needed"] or "more than 500"),
        )
    return table
