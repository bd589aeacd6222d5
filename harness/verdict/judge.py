"""The verdict on measured pairs: slower, faster, neither by much, or not known yet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from harness.verdict.paired import (
    hodges_lehmann,
    hodges_lehmann_bounds,
    pair_deviation,
    signed_rank_p,
)
from harness.verdict.rates import holm, pairs_needed, smallest_effect

Verdict = Literal["OK", "IMPROVED", "REGRESSED", "INCONCLUSIVE", "MISSING", "FAILED", "CHANGED"]
ALPHA = 0.01
POWER = 0.9
# Exit codes; 2 is for wrong usage, as everywhere. The worst verdict of several decides.
EXIT: dict[Verdict, int] = {
    "FAILED": 4,
    "REGRESSED": 1,
    "MISSING": 3,
    "CHANGED": 3,
    "INCONCLUSIVE": 3,
    "IMPROVED": 0,
    "OK": 0,
}


@dataclass(frozen=True)
class Limits:
    """Shares of the cost: what counts as a regression, and below what all is well.

    REGRESSED and IMPROVED need an estimate beyond `threshold`; OK needs the upper bound below
    `tolerance`.
    """

    threshold: float = 0.025
    tolerance: float = 0.05

    @classmethod
    def of(cls, threshold: float) -> Limits:
        """Return the limits with twice the threshold as tolerance, as in the default ones."""
        return cls(threshold, 2 * threshold)


@dataclass(frozen=True)
class Judgement:
    """The verdict on one question, and all that it rests on.

    `ratio` is the estimated cost of the second side over that of the first, `low` and `high` its
    bounds, each wrong with probability `level` at most; all None without pairs or bounds.
    `p_slower` and `p_faster` are adjusted by Holm's rule for the questions judged together.
    `deviation` is of the pairs' log ratios. Of an inconclusive verdict, `smallest_effect` is the
    share that so many pairs would have seen with power .9, `pairs_needed` the pairs that would
    settle it if the figures stayed as they are.
    """

    verdict: Verdict
    pairs: int = 0
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    p_slower: float = 1.0
    p_faster: float = 1.0
    level: float = ALPHA
    limits: Limits = Limits()
    deviation: float | None = None
    smallest_effect: float | None = None
    pairs_needed: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of plain values."""
        fields = asdict(self)
        return {**fields, **fields.pop("limits")}


def judge(
    log_ratios: Mapping[str, Sequence[float]],
    limits: Mapping[str, Limits],
    level: float = ALPHA,
    deviation: float | None = None,
) -> dict[str, Judgement]:
    """Judge each question from the log ratios of its pairs, all questions at one level.

    REGRESSED: Wilcoxon's p-value against "no slower", adjusted by Holm's rule, is not above
    `level`, and the Hodges-Lehmann estimate is beyond the threshold. IMPROVED likewise. OK: the
    upper confidence bound at `level` is below the tolerance; not adjusted, as a gate passes only
    where all are OK (Berger 1982). Else INCONCLUSIVE. `deviation` is used to plan where there are
    fewer than five pairs to take it from.
    """
    slower = holm([signed_rank_p(values) for values in log_ratios.values()])
    faster = holm([signed_rank_p([-x for x in values]) for values in log_ratios.values()])
    return {
        name: _judge(values, limits[name], level, slower[place], faster[place], deviation)
        for place, (name, values) in enumerate(log_ratios.items())
    }


def _judge(
    values: Sequence[float],
    limits: Limits,
    level: float,
    p_slower: float,
    p_faster: float,
    known_deviation: float | None,
) -> Judgement:
    if not values:
        return Judgement("INCONCLUSIVE", level=level, limits=limits)
    estimate = hodges_lehmann(values)
    low, high = hodges_lehmann_bounds(values, level)
    worse, tolerated = math.log1p(limits.threshold), math.log1p(limits.tolerance)
    deviation = pair_deviation(values) if len(values) >= 5 else known_deviation
    verdict: Verdict = "INCONCLUSIVE"
    if p_slower <= level and estimate > worse:
        verdict = "REGRESSED"
    elif p_faster <= level and estimate < -worse:
        verdict = "IMPROVED"
    elif high < tolerated:
        verdict = "OK"
    return Judgement(
        verdict,
        len(values),
        math.exp(estimate),
        math.exp(low) if math.isfinite(low) else None,
        math.exp(high) if math.isfinite(high) else None,
        p_slower,
        p_faster,
        level,
        limits,
        deviation,
    )


def planned(found: Judgement, questions: int = 1, level: float | None = None) -> Judgement:
    """Return an inconclusive verdict with what would have been seen, and what would settle it.

    `questions` are those judged together, by which Holm's rule divides the level where all are
    open; `level` is that of all looks together, where there were several.
    """
    if found.verdict != "INCONCLUSIVE" or found.ratio is None or found.deviation is None:
        return found
    seen = (level or found.level) / questions
    effect = smallest_effect(found.pairs, found.deviation, seen, POWER)
    return replace(
        found,
        smallest_effect=None if effect is None else math.expm1(effect),
        pairs_needed=_pairs_needed(math.log(found.ratio), found.deviation, found.limits, questions),
    )


def _pairs_needed(estimate: float, deviation: float, limits: Limits, questions: int) -> int | None:
    """Return the fewest pairs for OK, or for REGRESSED or IMPROVED, were `estimate` the truth.

    OK is not adjusted for the number of questions; see `judge`.
    """
    options = []
    if estimate < math.log1p(limits.tolerance):
        distance = math.log1p(limits.tolerance) - estimate
        options.append(pairs_needed(distance, deviation, ALPHA, POWER))
    if abs(estimate) > math.log1p(limits.threshold):
        options.append(pairs_needed(abs(estimate), deviation, ALPHA / questions, POWER))
    return min((pairs for pairs in options if pairs is not None), default=None)


def exit_code(verdicts: Sequence[Verdict], inconclusive_ok: bool = False) -> int:
    """Return the exit code of several verdicts: a failure, then a regression, then no answer."""
    codes = {
        0 if verdict == "INCONCLUSIVE" and inconclusive_ok else EXIT[verdict]
        for verdict in verdicts
    }
    return next((code for code in (4, 1, 3) if code in codes), 0)
