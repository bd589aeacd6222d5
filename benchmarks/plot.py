"""Lines in an SVG file, both axes logarithmic; no package is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

Points = Sequence[tuple[float, float]]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
WIDTH, HEIGHT = 420, 300  # of one panel, in pixels
LEFT, RIGHT, TOP, BOTTOM = 62, 96, 34, 44


@dataclass(frozen=True)
class Panel:
    """One plot: lines by name, each of points above zero."""

    title: str
    across: str
    up: str
    lines: Mapping[str, Points]


def write_svg(path: Path, panels: Sequence[Panel]) -> None:
    """Write the panels below each other."""
    parts = [_panel(panel, number) for number, panel in enumerate(panels)]
    size = f'width="{WIDTH}" height="{HEIGHT * len(panels)}"'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
    )
    path.write_text(
        "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])
    )


def _panel(panel: Panel, number: int) -> str:
    across = _Scale([x for line in panel.lines.values() for x, _ in line], LEFT, WIDTH - RIGHT)
    up = _Scale([y for line in panel.lines.values() for _, y in line], HEIGHT - BOTTOM, TOP)
    parts = [f'<g transform="translate(0 {HEIGHT * number})">']
    parts.append(f'<text x="{LEFT}" y="16" font-weight="bold">{escape(panel.title)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 8, panel.across, "middle"))
    parts.append(_text(LEFT, TOP - 6, panel.up, "start"))
    for value in across.ticks():
        x = across.place(value)
        parts.append(_line((x, TOP), (x, HEIGHT - BOTTOM)))
        parts.append(_text(x, HEIGHT - BOTTOM + 14, _number(value), "middle"))
    for value in up.ticks():
        y = up.place(value)
        parts.append(_line((LEFT, y), (WIDTH - RIGHT, y)))
        parts.append(_text(LEFT - 4, y + 4, _number(value), "end"))
    labels: list[tuple[float, str, str]] = []
    for index, (name, points) in enumerate(panel.lines.items()):
        colour = COLOURS[index % len(COLOURS)]
        places = [(across.place(x), up.place(y)) for x, y in sorted(points)]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places]
        labels.append((places[-1][1], name, colour))
    return "\n".join([*parts, *_labels(labels), "</g>"])


def _labels(labels: list[tuple[float, str, str]]) -> list[str]:
    """Name the lines at their ends, none over another."""
    parts, last = [], -math.inf
    for y, name, colour in sorted(labels):
        last = max(y, last + 12)
        parts.append(_text(WIDTH - RIGHT + 6, last + 4, name, "start", colour))
    return parts


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#333") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}">{escape(text)}</text>'


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _number(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


class _Scale:
    """From values to pixels, by their logarithms."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low, self.high = min(values), max(values)
        if self.low == self.high:
            self.low, self.high = self.low / 2, self.high * 2
        self.start, self.end = start, end

    def place(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return powers of ten within the range, and where these are few, 2 and 5 times those."""
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1,), (1, 3), (1, 2, 5)):
            found = [s * 10.0**p for p in powers for s in steps]
            found = [value for value in found if self.low <= value <= self.high]
            if len(found) >= 3:
                break
        return found
