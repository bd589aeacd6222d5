"""Error rates: several questions, several looks, and how many pairs an answer takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.verdict.paired import attainable, rank_tail

Family = Literal["pocock", "obrien-fleming"]
FIRST_LOOK = 8  # pairs: with fewer, an exact test can hardly reach the levels in use
LOOK_GROWTH = 1.5
LAST_GROWTH = 1.2  # a look shortly before the last one would only use up alpha
MOST_PAIRS = 500
DRAWS = 4000
SIMULATED = 40  # pairs; the power for more is that of a normal distribution


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number: to reject all at most `alpha` errs so often.

    Holm 1979: the smallest of m times m, the next times m - 1, …, and never below one before it.
    """
    adjusted, before = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        before = max(before, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = before
    return adjusted


def clopper_pearson(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a probability from `hits` in `trials`.

    Clopper and Pearson 1934: quantiles of the beta distribution; no trials give (0, 1).
    """
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, trials - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return low, high


def spent(share: float, alpha: float, family: Family = "pocock") -> float:
    """Return how much of `alpha` may be used up when `share` of the most pairs are there.

    Lan and DeMets 1983. Like Pocock's bounds: `alpha ln(1 + (e - 1) share)`, which lets clear
    cases end early; like O'Brien and Fleming's: `2 - 2 Phi(z(1 - alpha / 2) / sqrt(share))`,
    which keeps nearly all of it for the end.
    """
    if share <= 0:
        return 0.0
    if share >= 1:
        return alpha
    if family == "pocock":
        return alpha * math.log1p((math.e - 1) * share)
    from scipy.special import ndtr, ndtri

    return float(2 * ndtr(-ndtri(1 - alpha / 2) / math.sqrt(share)))


@dataclass(frozen=True)
class Look:
    """After so many pairs, p-values up to `level` decide."""

    pairs: int
    level: float


def looks(most: int, alpha: float, questions: int = 1, family: Family = "pocock") -> list[Look]:
    """Return when to look at the pairs, declared before the first is measured.

    After 8, 12, 18, … and `most` pairs. The level of a look is what `spent` has released by then
    and no earlier look could use, so the levels sum up to `alpha` at most, and by Bonferroni's
    inequality the whole sequence errs no more often than that, whatever the distribution, with
    exact tests: Lan and DeMets's boundaries themselves need a normal one. What a test of so few
    pairs cannot reach is kept for later looks. `questions` are judged by Holm's rule in each look.
    """
    counts, count = [], FIRST_LOOK
    while count * LAST_GROWTH < most:
        counts.append(count)
        count = math.ceil(count * LOOK_GROWTH)
    found, used = [], 0.0
    for pairs in [*counts, most]:
        free = spent(pairs / most, alpha, family) - used
        level = questions * attainable(pairs, free / questions)
        found.append(Look(pairs, level))
        used += level
    return found


def last_look(pairs: int, earlier: Sequence[Look], alpha: float, questions: int = 1) -> Look:
    """Return the look of a sequence that ends after `pairs`, for want of time or of more pairs.

    All that earlier looks left is used; that does not depend on what was measured.
    """
    free = alpha - sum(look.level for look in earlier)
    return Look(pairs, questions * attainable(pairs, free / questions))


def power(pairs: int, effect: float, deviation: float, level: float) -> float:
    """Return how often the exact one-sided signed-rank test at `level` sees `effect`.

    `effect` and `deviation` (of normal pairs) have the same unit. By simulation with fixed
    numbers for the few pairs at stake, where Noether's formula (1987) is far off; for many, see
    `_power_of_many`.
    """
    if deviation <= 0:
        return float(effect > 0 and attainable(pairs, level) > 0)
    if pairs > SIMULATED:
        return _power_of_many(pairs, effect / deviation, level)
    tail = rank_tail(pairs)
    critical = int(np.searchsorted(-tail, -level))  # the tail falls
    if critical >= len(tail):
        return 0.0
    return _power(pairs, round(effect / deviation, 6), critical)


@lru_cache(maxsize=4096)
def _power(pairs: int, effect: float, critical: int) -> float:
    values = _noise(pairs) + effect
    ranks = np.abs(values).argsort(1).argsort(1) + 1
    return float(((ranks * (values > 0)).sum(1) >= critical).mean())


@lru_cache(maxsize=64)
def _noise(pairs: int) -> NDArray[np.float64]:
    return np.random.default_rng(pairs).standard_normal((DRAWS, pairs))


def _power_of_many(pairs: int, effect: float, level: float) -> float:
    """Return the power where the statistic is as good as normal; `effect` is in deviations.

    The statistic counts the Walsh averages above 0 (Tukey 1949), so mean and variance come from
    the chances of one or two of them, as of any U-statistic (Hoeffding 1948): that a pair is
    above 0, a mean of two, two means with one pair in common (by Owen's T function, 1956), and a
    pair together with a mean that it is in.
    """
    from scipy.special import ndtr, ndtri, owens_t

    n, far = pairs, math.sqrt(2) * effect
    one, two = float(ndtr(effect)), float(ndtr(far))
    both_means = two - 2 * float(owens_t(far, 1 / math.sqrt(3)))
    one_and_mean = (two + one**2) / 2
    mean = n * one + n * (n - 1) / 2 * two
    variance = (
        n * one * (1 - one)
        + n * (n - 1) / 2 * two * (1 - two)
        + n * (n - 1) * (n - 2) * (both_means - two**2)
        + 2 * n * (n - 1) * (one_and_mean - one * two)
    )
    null_mean, null_variance = n * (n + 1) / 4, n * (n + 1) * (2 * n + 1) / 24
    critical = null_mean + float(ndtri(1 - level)) * math.sqrt(null_variance)
    return float(ndtr((mean - critical) / math.sqrt(max(variance, 1e-12))))


def pairs_needed(effect: float, deviation: float, level: float, wanted: float = 0.9) -> int | None:
    """Return the fewest pairs that see `effect` with power `wanted`; None above `MOST_PAIRS`."""
    low, high = 0, 1
    while power(high, effect, deviation, level) < wanted:
        if high == MOST_PAIRS:
            return None
        low, high = high, min(2 * high, MOST_PAIRS)
    while high - low > 1:
        middle = (low + high) // 2
        if power(middle, effect, deviation, level) < wanted:
            low = middle
        else:
            high = middle
    return high


def smallest_effect(
    pairs: int, deviation: float, level: float, wanted: float = 0.9
) -> float | None:
    """Return the minimum detectable effect: the least that is seen with power `wanted`.

    None where so few pairs can see nothing at that level.
    """
    if attainable(pairs, level) == 0:
        return None
    if deviation <= 0:
        return 0.0
    low, high = 0.0, deviation
    while power(pairs, high, deviation, level) < wanted:
        low, high = high, 2 * high
    for _ in range(20):
        middle = (low + high) / 2
        if power(pairs, middle, deviation, level) < wanted:
            low = middle
        else:
            high = middle
    return high
