"""Pairs of identical sides: what `harness calibrate` measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.data import Dataset
from harness.run.listener import Listener
from harness.run.pairs import Contestant, pair_bench
from harness.run.pairs_folder import Pair, PairsFolder
from harness.run.plan import Plan
from harness.verdict.calibration import Calibration, calibration, setup_key


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
