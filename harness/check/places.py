"""Answers, their places in order of computation, and the first that differs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.run.agreement import ROUNDING, Measure, relative_difference

Array = NDArray[Any]
Arrays = dict[str, Array]


class Place(NamedTuple):
    """Where an array belongs: `("gradient", "conv1.kernel")`; the topic, and a dotted path."""

    topic: str
    path: str

    def __str__(self) -> str:
        """Name it in a sentence."""
        return f"{self.path} ({self.topic})"


Answer = dict[Place, Array]  # in the order in which it is computed
Tolerances = Callable[[Place], float]


@dataclass(frozen=True)
class Judgement:
    """One rung of one backend: `place` is the first that differs, or else the worst."""

    place: Place
    difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether the difference is within tolerance; NaN is not."""
        return self.difference <= self.tolerance

    @property
    def share(self) -> float:
        """How much of its tolerance the difference takes."""
        return self.difference / self.tolerance if self.tolerance > 0 else 0.0


def judge(
    found: Mapping[Place, Array],
    right: Mapping[Place, Array],
    tolerances: Tolerances,
    measure: Measure = relative_difference,
) -> Judgement:
    """Return the first place that differs by more than its tolerance, or else the worst place.

    The worst is that with the largest share of its tolerance. An array that only one side has
    differs without bound.
    """
    zeros = zero_gradients(right)
    worst = Judgement(next(iter(right)), 0.0, tolerances(next(iter(right))))
    for place, value in right.items():
        difference = measure(found.get(place), value, zeros.get(place))
        one = Judgement(place, difference, tolerances(place))
        if not one.agrees:
            return one
        if one.share > worst.share:
            worst = one
    for place in found:
        if place not in right:
            return Judgement(place, math.inf, tolerances(place))
    return worst


def zero_gradients(right: Mapping[Place, Array]) -> dict[Place, float]:
    """Return the places of gradients that are zero but for rounding, with a scale for each.

    It is the largest of all gradients: of what rounding left, nothing can be a share.
    """
    sizes = {
        place: float(np.abs(value).max(initial=0.0))
        for place, value in right.items()
        if place.topic == "gradient"
    }
    largest = max(sizes.values(), default=0.0)
    return {place: largest for place, size in sizes.items() if size < ROUNDING * largest}
