"""Figures of cost: where the time goes, and memory."""

from __future__ import annotations

from collections import defaultdict
from statistics import median

from harness.show.gather import Case
from harness.show.page.figure import Figure, grouped, seconds
from harness.show.page.keys import Keys
from harness.show.page.marks import Bars, DataTable, Segment, Stack, Stacks
from harness.show.page.scales import Axis, from_zero
from harness.show.page.speed import bar_of
from harness.show.table import Line, label_of

START = {
    "import": "import_seconds",
    "build": "build_seconds",
    "compile": "compile_seconds",
    "warm-up": "warmup_seconds",
}
PHASES = (*START, "train", "evaluate")


def phase_seconds(case: Case, line: Line) -> dict[str, float]:
    """Return the seconds of each phase for one seed: the median over seeds; the start, once.

    Evaluation is that after every epoch, if the single measurements are there.
    """
    found = {name: line.typical(column) or 0.0 for name, column in START.items()}
    found["train"] = line.typical("train_seconds") or 0.0
    by_seed: dict[object, float] = defaultdict(float)
    for row in case.samples:
        if (
            row["phase"] in ("test", "validation")
            and (label_of(row), row["device"]) == (line.backend, line.device)
            and row["seconds"]
        ):
            by_seed[row["seed"]] += row["seconds"]
    once = line.typical("eval_seconds") or 0.0
    found["evaluate"] = median(by_seed.values()) if by_seed else once
    return found


def where_time_goes(case: Case, keys: Keys) -> Figure | None:
    """Seconds from the start of a process to its trained model, in phases."""
    lines = [line for line in case.lines if line.finished]
    if not lines:
        return None
    found = {line.label: phase_seconds(case, line) for line in lines}
    whole = from_zero([sum(f.values()) for f in found.values()], "seconds")
    start = from_zero([sum(f[name] for name in START) for f in found.values()], "seconds")
    charts = [
        Stacks(
            "One seed, from import to the last evaluation",
            whole,
            _stacks(lines, keys, found, PHASES, whole),
        ),
        Stacks(
            "Of that, until the first measured batch",
            start,
            _stacks(lines, keys, found, tuple(START), start),
        ),
    ]
    rows = [
        [line.backend, line.device, *(f"{found[line.label][name]:.3f}" for name in PHASES)]
        for line in lines
    ]
    note = (
        "Import, building, compilation (the first step) and warm-up happen once in a process; "
        "training and evaluation are those of one seed, the median over seeds."
    )
    table = DataTable(
        ["backend", "on", *(f"{name} s" for name in PHASES)], rows, [keys.of(x) for x in lines]
    )
    return Figure("time", "Where the time goes", charts, table, note)


def _stacks(
    lines: list[Line],
    keys: Keys,
    found: dict[str, dict[str, float]],
    names: tuple[str, ...],
    axis: Axis,
) -> list[Stack]:
    stacks = []
    for line in lines:
        parts = found[line.label]
        segments = [
            Segment(
                name,
                f"p{PHASES.index(name)}",
                axis.at(parts[name]),
                f"{line.label}, {name}: {seconds(parts[name])}",
            )
            for name in names
            if parts[name] > 0
        ]
        stacks.append(Stack(keys.of(line), segments, seconds(sum(parts[n] for n in names))))
    return stacks


def memory(case: Case, keys: Keys) -> Figure | None:
    """The most memory that each worker held, on the host and on the GPU."""
    charts, columns = [], []
    for column, title in (("peak_host_bytes", "Host"), ("peak_device_bytes", "GPU")):
        lines = [line for line in case.lines if line.values(column)]
        if lines:
            lines.sort(key=lambda line: line.typical(column) or 0)
            axis = from_zero([v for x in lines for v in x.values(column)], "MB", 1e-6)
            bars = [bar_of(line, keys.of(line), column, axis, _megabytes) for line in lines]
            charts.append(Bars(title, axis, bars))
            columns.append(column)
    if not charts:
        return None
    rows = [[x.backend, x.device, *(_megabytes(x.typical(c)) for c in columns)] for x in case.lines]
    table = DataTable(
        ["backend", "on", *(f"{c.title} MB" for c in charts)],
        rows,
        [keys.of(x) for x in case.lines],
    )
    note = "The most that was resident by the end, the training set included."
    return Figure("memory", "Memory", charts, table, note)


def _megabytes(value: float | None) -> str:
    return grouped(None if value is None else value / 1e6)
