"""What charts are made of: bars, traces in panels, stacks; and the table that says the same.

Lengths and places are in per cent of the plot, so that the page is free to be narrow or wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.show.page.scales import Axis

VIEW = 10  # units of the SVG's view box for each per cent


@dataclass(frozen=True)
class Key:
    """To which line a mark belongs: what filters and colours go by."""

    backend: str
    device: str
    name: str  # in words, as short as can be
    colour: str  # classes of the style sheet


@dataclass(frozen=True)
class DataTable:
    """What a chart shows, in numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    keys: Sequence[Key | None] = ()

    @property
    def keyed(self) -> list[tuple[Key | None, Sequence[Any]]]:
        """The rows, each with the line that it belongs to."""
        keys = self.keys or [None] * len(self.rows)
        return list(zip(keys, self.rows, strict=True))


@dataclass(frozen=True)
class Bar:
    """One bar from zero, with its interval and the dots of single seeds."""

    key: Key
    value: float | None
    text: str
    length: float = 0.0
    low: float | None = None
    high: float | None = None
    dots: Sequence[float] = ()
    aside: str = ""
    doubtful: bool = False
    tip: str = ""


@dataclass(frozen=True)
class Bars:
    """Bars of one measure on one axis."""

    title: str
    axis: Axis
    bars: Sequence[Bar]

    @property
    def widest(self) -> int:
        """Characters that the longest text beside a bar has."""
        return max((len(bar.text) + len(bar.aside) + 2 for bar in self.bars), default=0)


@dataclass(frozen=True)
class Segment:
    """A part of a stacked bar."""

    name: str
    colour: str
    length: float
    tip: str


@dataclass(frozen=True)
class Stack:
    """A stacked bar."""

    key: Key
    segments: Sequence[Segment]
    text: str


@dataclass(frozen=True)
class Stacks:
    """Stacked bars on one axis."""

    title: str
    axis: Axis
    stacks: Sequence[Stack]


@dataclass(frozen=True)
class Point:
    """A place in a panel that says something when it is pointed at."""

    x: float
    y: float
    tip: str


@dataclass(frozen=True)
class Trace:
    """A path in a panel: `style` is `mean`, `seed`, `area`, `dots` or `whiskers`."""

    key: Key
    style: str
    path: str
    points: Sequence[Point] = ()
    end: Point | None = None


@dataclass(frozen=True)
class Panel:
    """A plot with two axes, or with one if `y` is None."""

    title: str
    x: Axis
    y: Axis | None
    traces: Sequence[Trace]
    notes: Sequence[tuple[float, str]] = field(default=())  # named places on the x axis

    @property
    def ends(self) -> list[tuple[Key, float]]:
        """Where the names of lines go at their right ends, moved apart so that none is hidden."""
        found = sorted(
            ((t.key, 100 - t.end.y) for t in self.traces if t.end), key=lambda item: item[1]
        )
        return spread(found) if 1 < len(found) <= 8 else []

    @property
    def words(self) -> str:
        """What is read out in its place: what it shows, and where each line ends."""
        title = self.title or (self.y or self.x).label
        ends = "; ".join(trace.end.tip for trace in self.traces if trace.end)
        return f"{title}: {ends}" if ends else title

    @property
    def letters(self) -> int:
        """How many the longest of these names has, for which there must be room."""
        return max((len(key.name) for key, _ in self.ends), default=0)


def spread(places: Sequence[tuple[Key, float]], distance: float = 8.0) -> list[tuple[Key, float]]:
    """Move places, sorted, as far apart as `distance`, and back into the plot as one."""
    moved: list[tuple[Key, float]] = []
    for key, place in places:
        least = moved[-1][1] + distance if moved else 0.0
        moved.append((key, max(place, least)))
    excess = max((moved[-1][1] if moved else 0) - 100.0, 0)
    for index in reversed(range(len(moved))):  # push up from below, no further than is needed
        key, place = moved[index]
        most = moved[index + 1][1] - distance if index + 1 < len(moved) else place - excess
        moved[index] = (key, min(place, most))
    return moved


def path(points: Sequence[tuple[float, float]]) -> str:
    """Return an SVG path through points in per cent, y upwards."""
    return "M" + "L".join(f"{x * VIEW:.4g} {(100 - y) * VIEW:.4g}" for x, y in points)


def dots(points: Sequence[tuple[float, float]]) -> str:
    """Return a path of lines without length, which round caps make dots of one size."""
    return "".join(f"M{x * VIEW:.4g} {(100 - y) * VIEW:.4g}h0" for x, y in points)
