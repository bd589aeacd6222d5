"""Tests and estimates of paired differences: one number for each pair, nothing assumed normal.

The numbers are log ratios of a pair's two sides, positive where the second one costs more. Rank
methods, as a rare pair lies far out. `scipy.stats`, which takes seconds to import, only where
nothing lighter is at hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SHAMOS = 1.0483  # makes Shamos's estimate that of a normal distribution's standard deviation
SAME = 1e-12  # log ratios closer than this are tied: what rounding leaves of equal ones


def signed_rank_p(values: Sequence[float] | Floats, shift: float = 0.0) -> float:
    """Return the exact p-value of Wilcoxon's signed-rank test that the median exceeds `shift`.

    Wilcoxon 1945. Values equal to `shift` are left out, tied ones share the mean of their ranks,
    and the distribution is that of all signs of the ranks at hand, so the test stays exact
    (Lehmann 1975, section 3.2). With nothing left the answer is 1.
    """
    differences = np.asarray(values, np.float64) - shift
    differences = differences[np.abs(differences) > SAME]
    if not len(differences):
        return 1.0
    doubled = _doubled_ranks(np.abs(differences))
    reached = int(doubled[differences > 0].sum())
    beyond = _null(tuple(sorted(doubled.tolist())))[reached:]
    # Added up as in `rank_tail`, so that no rounding parts a p-value from the level that it is.
    return float(min(np.cumsum(beyond[::-1])[-1], 1.0))


def _doubled_ranks(sizes: Floats) -> NDArray[np.int64]:
    """Return twice the ranks, ties sharing their mean: whole numbers."""
    order = np.argsort(sizes, kind="stable")
    group = np.concatenate([[0], np.cumsum(np.diff(sizes[order]) > SAME)])
    counts = np.bincount(group)
    last = np.cumsum(counts)
    doubled = np.empty(len(sizes), np.int64)
    doubled[order] = (2 * last - counts + 1)[group]
    return doubled


@lru_cache(maxsize=128)
def _null(ranks: tuple[int, ...]) -> Floats:
    """Return the probability of each sum of ranks, or doubled ones, if signs are fair coins."""
    found = np.zeros(sum(ranks) + 1)
    found[0] = 1.0
    for rank in ranks:
        with_it = np.zeros_like(found)
        with_it[rank:] = found[:-rank]
        found = (found + with_it) / 2
    return found


def rank_tail(count: int) -> Floats:
    """Return P(W >= w) for w = 0, 1, … of the signed-rank statistic of `count` untied pairs."""
    distribution = _null(tuple(range(1, count + 1)))
    return np.cumsum(distribution[::-1])[::-1]


def attainable(count: int, level: float) -> float:
    """Return the largest p-value of `count` untied pairs that is not above `level`, or 0."""
    tail = rank_tail(count)
    return float(tail[tail <= level].max(initial=0.0))


def least_pairs(level: float) -> int:
    """Return the fewest pairs that can have a p-value of `level`: all the same way, 2^-n."""
    return max(1, math.ceil(-math.log2(level)))


def hodges_lehmann(values: Sequence[float] | Floats) -> float:
    """Return the median of the means of any two values, a value with itself included.

    Hodges and Lehmann 1963: the estimate that belongs to Wilcoxon's test.
    """
    return float(np.median(_walsh(np.asarray(values, np.float64))))


def hodges_lehmann_bounds(values: Sequence[float] | Floats, tail: float) -> tuple[float, float]:
    """Return the lower and the upper confidence bound, each wrong with probability `tail` at most.

    Together they are an interval of confidence `1 - 2 tail`: the shifts that the exact test at
    level `tail` does not reject (Hollander and Wolfe 1999, section 3.3). Infinite where there are
    too few values for any bound.
    """
    means = np.sort(_walsh(np.asarray(values, np.float64)))
    upper_tail = rank_tail(len(values))
    # By symmetry P(W <= c - 1) = P(W >= M - c + 1): count the values of W in the tail.
    inside = int((upper_tail <= tail).sum())
    if not inside:
        return -np.inf, np.inf
    return float(means[inside - 1]), float(means[len(means) - inside])


def _walsh(values: Floats) -> Floats:
    left, right = np.triu_indices(len(values))
    return (values[left] + values[right]) / 2


def pair_deviation(values: Sequence[float] | Floats) -> float:
    """Return the standard deviation of pairs, as that of a normal distribution without outliers.

    Shamos 1976: 1.0483 times the median of the distances between any two values. 0 for fewer
    than two.
    """
    values = np.asarray(values, np.float64)
    left, right = np.triu_indices(len(values), 1)
    return float(SHAMOS * np.median(np.abs(values[left] - values[right]))) if len(left) else 0.0


def permutation_p(values: Sequence[float] | Floats, seed: int = 0) -> float:
    """Return the p-value of Fisher's sign-flipping test that the mean of pairs exceeds 0.

    Fisher 1935, "The Design of Experiments", section 21; by `scipy.stats.permutation_test`:
    all signs up to 13 pairs, else 9,999 drawn ones.
    """
    from scipy.stats import permutation_test

    values = np.asarray(values, np.float64)
    found = permutation_test(
        (values, np.zeros_like(values)),
        lambda left, right, axis: np.mean(left - right, axis=axis),
        permutation_type="samples",
        alternative="greater",
        vectorized=True,
        n_resamples=9999,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def bootstrap_interval(
    values: Sequence[float] | Floats,
    confidence: float = 0.95,
    statistic: Callable[[Floats], float] = hodges_lehmann,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the bootstrap interval of a statistic, whole pairs drawn again with replacement.

    Efron and Tibshirani 1993, chapter 14 (bias-corrected and accelerated; where the statistic is
    the same whichever pair is left out, which has no acceleration, chapter 13, percentiles), by
    `scipy.stats.bootstrap` with 1,999 draws. It is approximate, and too narrow below some 20
    pairs: a second opinion, never the verdict. Equal values have an interval without width.
    """
    from scipy.stats import bootstrap

    values = np.asarray(values, np.float64)
    if np.ptp(values) <= SAME:
        return float(values[0]), float(values[0])
    without_one = [statistic(np.delete(values, place)) for place in range(len(values))]
    found = bootstrap(
        (values,),
        statistic,
        confidence_level=confidence,
        n_resamples=1999,
        vectorized=False,
        method="percentile" if np.ptp(without_one) <= SAME else "BCa",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
