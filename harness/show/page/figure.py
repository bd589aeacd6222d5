"""A figure of the page: its title, what it shows, its charts, and the table that says the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.show.page.marks import Bars, DataTable, Key, Panel, Stacks


@dataclass(frozen=True)
class Figure:
    """Charts that belong together.

    `name` is its anchor within a case; `finding` is what it shows, `note` how it is read. `model`
    is what a filter takes it out by where it stands outside of a case.
    """

    name: str
    title: str
    charts: Sequence[Bars | Stacks | Panel]
    table: DataTable
    note: str = ""
    finding: str = ""
    legend: bool = False
    columns: int = 1
    model: str = ""

    @property
    def keys(self) -> list[Key]:
        """The lines that its panels draw, for the legend: each once, by name."""
        panels = [chart for chart in self.charts if isinstance(chart, Panel)]
        found = {trace.key.name: trace.key for panel in panels for trace in panel.traces}
        return [found[name] for name in sorted(found)]


def grouped(value: float | None) -> str:
    """Return a number of three digits or more with commas, a small one with three digits."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def seconds(value: float | None) -> str:
    """Return seconds as people say them."""
    if value is None:
        return "–"
    if value < 0.0995:
        return f"{1000 * value:.3g} ms"
    if value < 120:
        return f"{value:.3g} s"
    return f"{value / 60:.1f} min" if value < 7200 else f"{value / 3600:.1f} h"


def share(value: float | None, digits: int = 2) -> str:
    """Return a share in per cent."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"
