"""`harness ab`: pair after pair until the verdict is certain, by a rule declared beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Protocol

from harness.errors import UsageError, did_you_mean
from harness.run.pairs import MEASURES
from harness.run.pairs_folder import Pair
from harness.run.plan import check_range
from harness.verdict.calibration import planned_most
from harness.verdict.judge import ALPHA, Judgement, Limits, Verdict, judge, planned
from harness.verdict.limits import parse_share
from harness.verdict.paired import bootstrap_interval, least_pairs, permutation_p
from harness.verdict.rates import MOST_PAIRS, Look, last_look, looks
from harness.verdict.report import Finding, Report

USUAL_PAIRS = 28
MOST_SECONDS = 7 * 24 * 3600.0
Tell = Callable[[Pair, Mapping[str, Judgement]], None]


class Measures(Protocol):
    """What measures pairs: `harness.run.pairs.PairBench`, or a test's own."""

    measures: Sequence[str]
    differences: dict[str, str]

    def measure(self, number: int) -> Pair:
        """Return what a fresh pair of processes gave."""


@dataclass(frozen=True)
class Rule:
    """When to look and when to stop, and the limits of each measure.

    With `is_fixed`, `most` pairs are measured and judged once; else the looks of
    `rates.looks` may end it earlier. After `seconds` no further pair is begun.
    """

    limits: Mapping[str, Limits]
    most: int = USUAL_PAIRS
    is_fixed: bool = False
    seconds: float | None = None
    alpha: float = ALPHA
    deviation: float | None = None

    def declared(self) -> list[Look]:
        """Return the looks, as they stand before the first pair."""
        questions = len(self.limits)
        if self.is_fixed:
            return [last_look(self.most, [], self.alpha, questions)]
        return looks(self.most, self.alpha, questions)


def parse_rule(
    measure: str,
    threshold: str,
    tolerance: str | None,
    pairs: int | None,
    most_pairs: int | None,
    seconds: float | None,
) -> Rule:
    """Return the rule that the command line asks for.

    Raises:
        UsageError: a measure is unknown, or a number out of its range.

    """
    measures = [name.strip() for name in measure.split(",") if name.strip()]
    for name in measures or [""]:
        if name not in MEASURES:
            raise UsageError(
                f"--measure {name!r}; allowed: {', '.join(MEASURES)}."
                f"{did_you_mean(name, MEASURES)} Try: --measure train"
            )
    low = parse_share("--threshold", threshold)
    high = 2 * low if tolerance is None else parse_share("--tolerance", tolerance)
    if high < low:
        raise UsageError(
            f"--tolerance {tolerance} is below --threshold {threshold}. Try: --tolerance 5%"
        )
    if pairs is not None and most_pairs is not None:
        raise UsageError("--pairs and --most-pairs: give one of the two")
    for option, value in (("--pairs", pairs), ("--most-pairs", most_pairs)):
        if value is not None:
            check_range(option, value, 1, MOST_PAIRS)
    if seconds is not None:
        check_range("--seconds", seconds, 1, MOST_SECONDS)
    return Rule(
        dict.fromkeys(measures, Limits(low, high)),
        pairs or most_pairs or USUAL_PAIRS,
        pairs is not None,
        seconds,
    )


def plan_rule(rule: Rule, deviation: float | None, is_free: bool) -> Rule:
    """Return the rule with what a calibration says; `is_free` lets it choose the most pairs."""
    if deviation is None:
        return rule
    tolerance = min(limits.tolerance for limits in rule.limits.values())
    most = planned_most(deviation, tolerance, len(rule.limits)) if is_free else rule.most
    return replace(rule, deviation=deviation, most=most)


@dataclass
class Course:
    """How far a comparison has come: log ratios by measure, looks taken, what is decided."""

    rule: Rule
    ratios: dict[str, list[float]]
    taken: list[Look]
    decided: dict[str, Judgement]
    pairs: int = 0

    def add(self, pair: Pair) -> None:
        """Take in what a pair gave."""
        self.pairs += 1
        for measure, values in self.ratios.items():
            values.append(pair.log_ratios[measure])

    def estimates(self, level: float) -> dict[str, Judgement]:
        """Judge all measures as they stand, without deciding anything."""
        rule = self.rule
        return judge(self.ratios, rule.limits, level, rule.deviation)

    def look(self, look: Look) -> None:
        """Judge all measures; what is decided stays so, as more pairs come."""
        self.taken.append(look)
        for measure, found in self.estimates(look.level).items():
            before = self.decided.get(measure)
            if before is None or before.verdict == "INCONCLUSIVE":
                self.decided[measure] = found

    @property
    def is_certain(self) -> bool:
        """Whether each measure has a verdict."""
        return len(self.decided) == len(self.ratios) and all(
            found.verdict != "INCONCLUSIVE" for found in self.decided.values()
        )


def ab(
    bench: Measures,
    rule: Rule,
    cell: str,
    keep: Callable[[Pair], None] = lambda pair: None,
    tell: Tell = lambda pair, estimates: None,
    allow_changed: bool = False,
    inconclusive_ok: bool = False,
    now: Callable[[], float] = monotonic,
    title: str = "",
) -> Report:
    """Measure pairs until every measure has its verdict, or there are no more to be had.

    `keep` stores each pair as it comes; `tell` hears the running estimates. A side that fails
    ends it as FAILED; a side that is not the reference's network as CHANGED, unless allowed.
    `cell` names the two sides, `title` says more of what is measured.
    """
    begun, declared = now(), rule.declared()
    course = Course(rule, {measure: [] for measure in bench.measures}, [], {})
    coming = list(declared)
    while coming and not course.is_certain:
        pair = bench.measure(course.pairs)
        keep(pair)
        if pair.failed:
            return _ended(bench, cell, title, "FAILED", pair.failed)
        if bench.differences and not allow_changed:
            text = "; ".join(bench.differences.values())
            advice = "To compare all the same: --allow-changed"
            return _ended(bench, cell, title, "CHANGED", f"{text}. {advice}")
        course.add(pair)
        late = rule.seconds is not None and now() - begun >= rule.seconds
        if late and course.pairs < coming[-1].pairs:
            coming = [last_look(course.pairs, course.taken, rule.alpha, len(course.ratios))]
        tell(pair, course.estimates(coming[0].level))
        if coming[0].pairs == course.pairs:
            course.look(coming.pop(0))
    findings = [_finding(cell, measure, course) for measure in course.ratios]
    return Report(title or cell, findings, inconclusive_ok, _facts(course, declared))


def _ended(bench: Measures, cell: str, title: str, verdict: Verdict, detail: str) -> Report:
    findings = [Finding(cell, measure, verdict, detail) for measure in bench.measures]
    return Report(title or cell, findings)


def _finding(cell: str, measure: str, course: Course) -> Finding:
    spent = sum(look.level for look in course.taken)
    found = planned(course.decided[measure], len(course.ratios), spent)
    return Finding(cell, measure, found.verdict, _detail(found, course), judgement=found)


def _detail(found: Judgement, course: Course) -> str:
    if found.verdict in ("REGRESSED", "IMPROVED"):
        p_value = found.p_slower if found.verdict == "REGRESSED" else found.p_faster
        return f"p = {p_value:.2g} after {found.pairs} pairs, allowed {found.level:.2g}"
    if found.verdict == "OK":
        return f"below +{100 * found.limits.tolerance:g} % after {found.pairs} pairs"
    parts = []
    if found.smallest_effect is not None:
        parts.append(f"a change of {100 * found.smallest_effect:.1f} % would have been seen")
    if found.pairs_needed and found.pairs_needed > course.pairs:
        parts.append(f"about --pairs {found.pairs_needed} would settle it")
    elif found.pairs_needed:
        parts.append("the same again would most likely settle it")
    elif found.pairs < (least := least_pairs(course.rule.alpha / len(course.ratios))):
        parts.append(f"fewer than {least} pairs prove nothing at p < {course.rule.alpha:g}")
    count = f"{found.pairs} pair{'s' * (found.pairs != 1)}"
    return "; ".join([f"no verdict from {count}", *parts])


def _facts(course: Course, declared: Sequence[Look]) -> dict[str, Any]:
    """Return the rule as declared and as it went, and what was measured."""
    return {
        "pairs": course.pairs,
        "alpha": course.rule.alpha,
        "looks_declared": [[look.pairs, look.level] for look in declared],
        "looks_taken": [[look.pairs, look.level] for look in course.taken],
        "log_ratios": course.ratios,
    }


def second_opinions(log_ratios: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return what other methods say of the same pairs, which decides nothing."""
    found = {}
    for measure, values in log_ratios.items():
        if len(values) >= 5:
            low, high = bootstrap_interval(values)
            found[measure] = {
                "permutation_p_slower": permutation_p(values),
                "bootstrap_low_log": low,
                "bootstrap_high_log": high,
            }
    return found
