"""Pairs of identical sides: for `harness calibrate`, and the control of `harness ab`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.data import Dataset
from harness.run.listener import Listener
from harness.run.pairs import Contestant, pair_bench
from harness.run.pairs_folder import Pair, PairsFolder
from harness.run.plan import Plan
from harness.verdict.ab import Measures, Rule
from harness.verdict.calibration import Calibration, calibration, setup_key
from harness.verdict.judge import Judgement, judge
from harness.verdict.report import Finding


def calibrate_backends(
    plan: Plan,
    dataset: Dataset,
    folder: PairsFolder,
    listener: Listener,
    measures: Sequence[str],
    pairs: int,
    rounds: int,
    tell: Callable[[str, Pair], None],
) -> tuple[dict[str, Calibration], dict[str, str]]:
    """Measure `pairs` of each backend of `plan` against itself.

    Returns:
        The calibrations by `setup_key`, and of the backends that failed, the reason by label.

    """
    found: dict[str, Calibration] = {}
    failed: dict[str, str] = {}
    for info in plan.backends:
        sides = (Contestant("A", info), Contestant("B", info))
        ratios: dict[str, list[float]] = {measure: [] for measure in measures}
        with pair_bench(plan, dataset, folder, listener, sides, measures, rounds, True) as bench:
            for number in range(pairs):
                pair = bench.measure(number)
                folder.add_pair(pair, measures)
                if pair.failed:
                    failed[info.label] = pair.failed
                    break
                tell(info.label, pair)
                for measure in measures:
                    ratios[measure].append(pair.log_ratios[measure])
        if info.label not in failed:
            for measure, values in ratios.items():
                found[setup_key(info.label, measure, plan)] = calibration(
                    info.label, measure, values
                )
    return found, failed


def control(
    bench: Measures, pairs: int, rule: Rule, keep: Callable[[Pair], None]
) -> tuple[dict[str, Judgement], list[str]]:
    """Judge as many pairs of identical sides as there were of the two; all at once, at alpha.

    They are numbered on from those.

    Returns:
        The judgements by measure, and a sentence on each.

    """
    ratios: dict[str, list[float]] = {measure: [] for measure in bench.measures}
    for number in range(pairs):
        pair = bench.measure(pairs + number)
        keep(pair)
        if pair.failed:
            return {}, [f"control failed: {pair.failed}"]
        for measure, values in ratios.items():
            values.append(pair.log_ratios[measure])
    judged = judge(ratios, rule.limits, rule.alpha)
    return judged, [_say(measure, found) for measure, found in judged.items()]


def _say(measure: str, found: Judgement) -> str:
    shown = Finding("", measure, found.verdict, judgement=found)
    figures = f"{shown.effect}, {shown.interval}" if shown.interval else shown.effect
    text = f"control, A against itself: {measure}: {figures}, {found.pairs} pairs"
    if found.verdict in ("REGRESSED", "IMPROVED"):
        return f"{text}. Identical sides seem to differ: do not trust this verdict"
    return text
