"""Axes: from values to per cent of a plot, with round numbers beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Axis:
    """A scale from `low` to `high`, which it maps to 0 and 100.

    `ticks` are values; `unit` follows the label, `factor` is what values are multiplied by before
    they are written, `log` is whether equal ratios are equal lengths.
    """

    low: float
    high: float
    label: str = ""
    factor: float = 1.0
    log: bool = False
    ticks: tuple[float, ...] = field(default=())

    def at(self, value: float) -> float:
        """Return where a value lies, in per cent."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return 100 * (math.log(max(value, 1e-300)) - low) / (high - low)
        return 100 * (value - self.low) / (self.high - self.low)

    @property
    def labels(self) -> list[tuple[float, str]]:
        """Where the ticks are, in per cent, and what is written there."""
        step = min((b - a for a, b in zip(self.ticks, self.ticks[1:], strict=False)), default=1.0)
        return [
            (round(self.at(tick), 3), tick_text(tick * self.factor, step * self.factor, self.log))
            for tick in self.ticks
        ]


def tick_text(value: float, step: float, log: bool = False) -> str:
    """Return a number with as many digits as tell it from its neighbours."""
    if log and value:
        return (
            f"{value:,.0f}" if value >= 1 else f"{value:.{max(0, -math.floor(math.log10(value)))}f}"
        )
    if 0 < step < 1e-4 or step > 1e7:
        return f"{value:.3g}"
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return f"{value:,.{digits}f}"


def from_zero(values: Iterable[float], label: str = "", factor: float = 1.0) -> Axis:
    """Return an axis from 0 to just above the largest value."""
    high = max([*values, 0.0]) * 1.03 or 1.0
    return Axis(0.0, high, label, factor, ticks=_round_ticks(0.0, high))


def around(values: Iterable[float], label: str = "", factor: float = 1.0) -> Axis:
    """Return an axis that holds all values, and a little more at both ends."""
    found = list(values) or [0.0, 1.0]
    low, high = min(found), max(found)
    room = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = low - room, high + room
    return Axis(low, high, label, factor, ticks=_round_ticks(low, high))


def logarithmic(values: Iterable[float], label: str = "") -> Axis:
    """Return an axis for positive values of which the largest is many times the smallest."""
    found = [value for value in values if value > 0] or [1.0, 10.0]
    low, high = min(found), max(found)
    if high < 10 * low:
        return around(found, label)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if len(decades) > 4 else (1, 2, 5) if len(decades) < 3 else (1, 3)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    room = (high / low) ** 0.04
    low, high = low / room, high * room
    kept = tuple(tick for tick in ticks if low <= tick <= high)
    return Axis(low, high, label, log=True, ticks=kept)


def _round_ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Return multiples of 1, 2 or 5 times a power of ten from `low` to `high`, up to `most`."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    steps = (step * power for step in (1, 2, 5, 10))
    step = next(step for step in steps if (high - low) / step < most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(number * step for number in range(first, last + 1))
