"""Are the backends' accuracies comparable? Two one-sided tests over seeds, paired by seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Answer = Literal["comparable", "different", "inconclusive", "not judged"]
MARGIN = 0.01  # one point of accuracy
ALPHA = 0.05
MOST_SEEDS = 1000
SAME = 1e-12  # shares closer than this are equal: what rounding leaves of equal ones


@dataclass(frozen=True)
class AccuracyVerdict:
    """The answer for a group of backends, and for the pair that decides it.

    `difference` is the mean over seeds of `pair`'s first less its second, `low` and `high` its
    interval of confidence `1 - 2 alpha`; all are shares, as is `margin`. `power` is the chance that
    so many seeds, scattered like these, have for the answer `comparable` where in truth there is no
    difference. `seeds_needed` is how many would settle an inconclusive answer if the figures stayed
    as they are, where any would.
    """

    answer: Answer
    margin: float = MARGIN
    pair: tuple[str, str] = ("", "")
    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0
    power: float | None = None
    seeds_needed: int | None = None


def judge_accuracy(
    by_backend: Mapping[str, Sequence[float]], margin: float = MARGIN, alpha: float = ALPHA
) -> AccuracyVerdict:
    """Judge all pairs of backends; `by_backend` has each one's accuracies in the order of seeds.

    Comparable: for every pair, the interval of the mean difference lies within `margin`, which is
    Schuirmann's two one-sided t-tests at level `alpha` (1987). As all pairs must pass, no
    correction for their number is due (Berger 1982). Different: for some pair it lies wholly
    outside, at `alpha` over the number of pairs (Bonferroni). Fewer than two seeds or backends
    are not judged. Differences that are all the same, unless they are none, are inconclusive: an
    accuracy is a whole number of images, so that a few seeds may well differ by as many each, and
    an interval without width would be certain of that.
    """
    return _worst(_judge_pairs(by_backend, margin, alpha), margin)


def judge_each(
    by_backend: Mapping[str, Sequence[float]], margin: float = MARGIN, alpha: float = ALPHA
) -> dict[str, AccuracyVerdict]:
    """Return for each backend the worst verdict of the pairs that it is part of."""
    judged = _judge_pairs(by_backend, margin, alpha)
    return {name: _worst([v for v in judged if name in v.pair], margin) for name in by_backend}


def _judge_pairs(
    by_backend: Mapping[str, Sequence[float]], margin: float, alpha: float
) -> list[AccuracyVerdict]:
    pairs = list(itertools.combinations(by_backend, 2))
    if min(map(len, by_backend.values()), default=0) < 2:
        return []
    return [_judge_pair(by_backend, pair, margin, alpha, len(pairs)) for pair in pairs]


def _worst(judged: Sequence[AccuracyVerdict], margin: float) -> AccuracyVerdict:
    order: tuple[Answer, ...] = ("different", "inconclusive", "comparable")
    return min(
        judged,
        key=lambda v: (order.index(v.answer), -max(abs(v.low), abs(v.high))),
        default=AccuracyVerdict("not judged", margin),
    )


def _judge_pair(
    by_backend: Mapping[str, Sequence[float]],
    pair: tuple[str, str],
    margin: float,
    alpha: float,
    pairs: int,
) -> AccuracyVerdict:
    left, right = (np.asarray(by_backend[name], np.float64) for name in pair)
    differences = left - right
    count, mean = len(differences), float(differences.mean())
    deviation = float(differences.std(ddof=1))
    is_known = deviation > SAME or abs(mean) <= SAME
    half = _half_width(count, deviation, alpha) if is_known else math.inf
    strict = _half_width(count, deviation, alpha / pairs) if is_known else math.inf
    answer: Answer = "inconclusive"
    if abs(mean) + half < margin:
        answer = "comparable"
    elif abs(mean) - strict > margin:
        answer = "different"
    needed = None
    if answer == "inconclusive":
        needed = _seeds_needed(count, deviation, abs(margin - abs(mean)), alpha / pairs)
    power = _power(count, half, margin, alpha)
    low, high = max(mean - half, -1.0), min(mean + half, 1.0)  # no share differs by more
    return AccuracyVerdict(answer, margin, pair, mean, low, high, power, needed)


def _power(count: int, half: float, margin: float, alpha: float) -> float:
    """Return the power of two one-sided tests at no difference: 2 F(margin / se - t) - 1.

    F is Student's distribution with `count - 1` degrees of freedom, t its quantile at 1 - alpha:
    the approximation of Phillips (1990) by a central distribution. `half` is t times se.
    """
    from scipy.special import stdtr, stdtrit

    if half == 0:
        return 1.0
    quantile = float(stdtrit(count - 1, 1 - alpha))
    return max(2 * float(stdtr(count - 1, margin * quantile / half - quantile)) - 1, 0.0)


def _half_width(count: int, deviation: float, alpha: float) -> float:
    from scipy.special import stdtrit  # the quantile of t; scipy.stats takes seconds to import

    return float(stdtrit(count - 1, 1 - alpha)) * deviation / math.sqrt(count)


def _seeds_needed(count: int, deviation: float, distance: float, alpha: float) -> int | None:
    """Return the least number of seeds whose interval is narrower than `distance` on each side."""
    from scipy.special import stdtrit

    seeds = np.arange(count + 1, MOST_SEEDS + 1)
    widths = stdtrit(seeds - 1, 1 - alpha) * deviation / np.sqrt(seeds)
    enough = seeds[widths < distance]
    return int(enough[0]) if len(enough) else None
