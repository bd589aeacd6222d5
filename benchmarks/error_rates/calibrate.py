"""How much work makes which slowdown: measured by live pairs before the first series."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.error_rates.given import VARIABLE, slowed
from benchmarks.error_rates.schedule import SLOWDOWNS
from benchmarks.error_rates.series import Settings
from benchmarks.kept import read
from harness import data, spec
from harness.errors import WorkerError
from harness.output import append_rows
from harness.registry import BackendInfo
from harness.run.listener import Listener
from harness.run.pairs import pair_bench
from harness.run.pairs_folder import PairsFolder
from harness.run.plan import make_pair_plan
from harness.run.sides import Wanted, contestant

COLUMNS = "backend cores repetitions pair log_ratio".split()
FIRST, MOST = 32, 2**17  # repetitions, doubled until they make enough to tell one by
LOW, HIGH = 0.05, 0.3  # slowdowns between which the line is drawn
PAIRS = 3  # at either end
TRIES = 3
Ratios = Callable[[int, int], list[float]]


@dataclass(frozen=True)
class Line:
    """A training step takes longer by the share `start + repetitions * each`."""

    start: float
    each: float

    def repetitions(self, percent: str) -> int:
        """Return the work that makes a step so much slower, at least one repetition."""
        return max(1, round((float(percent) / 100 - self.start) / self.each))


def fault_of(points: Mapping[int, Sequence[float]]) -> str:
    """Say why no line can be drawn, or only one that noise has tilted; empty if one can.

    The points are to lie apart by at least half of what `LOW` and `HIGH` do.
    """
    low, high = sorted(points)[-2:]
    slow, slower = (math.expm1(median(points[count])) for count in (low, high))
    if slower - slow >= (HIGH - LOW) / 2:
        return ""
    return f"{high} repetitions take {slower:.1%} longer than none, {low} take {slow:.1%}"


def line(points: Mapping[int, Sequence[float]]) -> Line:
    """Return the line through the medians of the log ratios at the two largest repetitions."""
    (low, slow), (high, slower) = (
        (count, math.expm1(median(points[count]))) for count in sorted(points)[-2:]
    )
    each = (slower - slow) / (high - low)
    return Line(slow - low * each, each)


def find_points(measure: Ratios, pairs: int = PAIRS) -> dict[int, list[float]]:
    """Return log ratios by repetitions: of about `LOW` and of about `HIGH`."""
    count = FIRST
    while (slowdown := math.expm1(measure(count, 1)[0])) < HIGH / 2 and count < MOST:
        count *= 2
    each = max(slowdown, HIGH / 2) / count
    low = max(1, round(LOW / each))
    high = max(low + 1, round(HIGH / each))
    return {low: measure(low, pairs), high: measure(high, pairs)}


def calibrate(
    folder: Path, backend: str, cores: str, settings: Settings, known: list[BackendInfo]
) -> None:
    """Measure one backend on one mask, and note the points in `calibration.csv`."""
    own = folder / "own" / f"{backend}.py"
    source = own.read_text(encoding="utf-8")

    def measure(repetitions: int, pairs: int) -> list[float]:
        name = f"{backend}-{cores}-{repetitions}"
        (folder / "calibration").mkdir(exist_ok=True)
        slow = folder / "calibration" / f"{name}.py"
        slow.write_text(slowed(source, backend, repetitions), encoding="utf-8")
        return _pairs(folder, backend, cores, settings, known, (own, slow), pairs)

    for _ in range(TRIES):
        points = find_points(measure)
        if not (fault := fault_of(points)):
            break
        print(f"calibrating {backend} again: {fault}", flush=True)
    else:
        raise WorkerError(
            f"{backend}, --cores {cores}: {fault}. Is the machine idle? Try: the same again, later",
            "failed",
        )
    rows: list[dict[str, Any]] = []
    for count, ratios in points.items():
        for pair, ratio in enumerate(ratios):
            fields = {"backend": backend, "cores": cores, "repetitions": count}
            rows.append({**fields, "pair": pair, "log_ratio": ratio})
    append_rows(folder / "calibration.csv", COLUMNS, rows)


def _pairs(
    folder: Path,
    backend: str,
    cores: str,
    settings: Settings,
    known: list[BackendInfo],
    files: tuple[Path, Path],
    count: int,
) -> list[float]:
    wanted = [
        Wanted(name, f"given@{backend}", environment=(f"{VARIABLE}={path.absolute()}",))
        for name, path in zip("AB", files, strict=True)
    ]
    number = len(list((folder / "calibration").glob("pairs-*")))
    kept = PairsFolder(folder / "calibration" / f"pairs-{number}")
    loaded = data.load(settings.dataset)
    with contestant(wanted[0], known) as a, contestant(wanted[1], known) as b:
        plan = make_pair_plan(
            *(spec.load_spec(settings.model), settings.dataset, [a.info], known),
            cores=cores,
            rounds=settings.rounds,
        )
        shared = (plan, loaded, kept, Listener(), (a, b), ["train"], settings.rounds)
        with pair_bench(*shared) as bench:
            ratios = []
            for pair_number in range(count):
                pair = bench.measure(pair_number)
                kept.add_pair(pair, ["train"])
                if pair.failed:
                    raise WorkerError(pair.failed, "failed")
                ratios.append(pair.log_ratios["train"])
    kept.close()
    return ratios


def calibrated(folder: Path) -> dict[tuple[str, str], Line]:
    """Return the lines that are known, by backend and cores."""
    points: dict[tuple[str, str], dict[int, list[float]]] = {}
    for row in read(folder / "calibration.csv"):
        of_cell = points.setdefault((row["backend"], row["cores"]), {})
        of_cell.setdefault(int(row["repetitions"]), []).append(float(row["log_ratio"]))
    return {key: line(found) for key, found in points.items()}


def repetitions(folder: Path) -> dict[tuple[str, str, str], int]:
    """Return the work for each slowdown, by backend, cores and slowdown."""
    return {
        (*key, slowdown): found.repetitions(slowdown)
        for key, found in calibrated(folder).items()
        for slowdown in SLOWDOWNS
    }
