"""Figures of learning: accuracy and loss over epochs, and over seconds of training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, median

from harness.show.gather import Case
from harness.show.page.figure import Figure, seconds, share
from harness.show.page.keys import Keys
from harness.show.page.marks import DataTable, Key, Panel, Point, Trace, path
from harness.show.page.scales import Axis, around, from_zero, logarithmic
from harness.show.table import Line, Row

MOST_POINTS = 150  # of a trace of the training loss; blocks between are averaged
MOST_KNOTS = 25  # points that can be told apart, and pointed at
GOALS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)


@dataclass(frozen=True)
class Passage:
    """What was known at one moment of a seed's training: epochs and training seconds so far."""

    epochs: float
    seconds: float
    value: float


Curve = list[Passage]


def training_seconds(line: Line, seed: object) -> dict[int, float]:
    """Return the seconds of training by the end of each epoch: blocks only, no evaluation."""
    total, found = 0.0, {}
    for block in line.blocks:
        if block["seed"] == seed and block["epoch"] is not None:
            total += block["seconds"] or 0.0
            found[block["epoch"]] = total
    return found


def evaluated(case: Case, line: Line, column: str) -> dict[object, Curve]:
    """Return a score after each epoch, by seed."""
    found: dict[object, Curve] = defaultdict(list)
    clocks: dict[object, dict[int, float]] = {}
    for row in case.evaluations[line.label]:
        seed, epoch, value = row["seed"], row["epoch"], row[column]
        clock = clocks.setdefault(seed, training_seconds(line, seed))
        if value is not None and epoch in clock:
            found[seed].append(Passage(epoch, clock[epoch], value))
    return dict(found)


def training_loss(line: Line) -> dict[object, Curve]:
    """Return the loss of each block, by seed; neighbours are averaged where there are very many."""
    found = {}
    for seed in sorted({block["seed"] for block in line.blocks}):
        own = [
            b for b in line.blocks if b["seed"] == seed and b["loss"] is not None and b["images"]
        ]
        if own:
            found[seed] = _thinned(_passages(own))
    return found


def _passages(blocks: Sequence[Row]) -> Curve:
    """Place each block at its end; an epoch's images are as many as its blocks have."""
    images: dict[int, float] = defaultdict(float)
    for block in blocks:
        images[block["epoch"]] += block["images"]
    clock, done, curve = 0.0, 0.0, []
    for block in blocks:
        clock += block["seconds"] or 0.0
        done += block["images"] / images[block["epoch"]]
        curve.append(Passage(done, clock, block["loss"]))
    return curve


def _thinned(curve: Curve) -> Curve:
    size = -(-len(curve) // MOST_POINTS)
    parts = [curve[start : start + size] for start in range(0, len(curve), size)]
    return [Passage(p[-1].epochs, p[-1].seconds, mean(x.value for x in p)) for p in parts]


def averaged(curves: dict[object, Curve]) -> Curve:
    """Return the mean over seeds, moment by moment, as far as all seeds go."""
    return [
        Passage(moment[0].epochs, mean(p.seconds for p in moment), mean(p.value for p in moment))
        for moment in zip(*curves.values(), strict=False)
    ]


def goal_of(case: Case) -> float | None:
    """Return the highest round accuracy that every comparable line reached in every seed."""
    best = [
        max((p.value for p in curve), default=0.0)
        for line in case.lines
        if line.comparable
        for curve in evaluated(case, line, "accuracy").values()
    ]
    reached = [goal for goal in GOALS if best and min(best) >= goal]
    return reached[-1] if reached else None


def seconds_to(curves: dict[object, Curve], goal: float) -> float | None:
    """Return the median over seeds of the training seconds until a score is reached."""
    times = [next((p.seconds for p in c if p.value >= goal), None) for c in curves.values()]
    known = [time for time in times if time is not None]
    return median(known) if known and len(known) == len(times) else None


SCORES = (("accuracy", "Accuracy"), ("rmse", "Root mean squared error"), ("loss", "Loss"))


def learning(case: Case, keys: Keys) -> Figure | None:
    """Scores after each epoch and the training loss, over epochs and over training seconds."""
    curves = {
        title: [(line, evaluated(case, line, column)) for line in case.lines]
        for column, title in SCORES
    }
    curves["Training loss"] = [(line, training_loss(line)) for line in case.lines]
    curves = {t: kept for t, found in curves.items() if (kept := [f for f in found if f[1]])}
    if not curves:
        return None
    charts = [
        _panel(title, own, keys, over)
        for over in ("epochs", "seconds")
        for title, own in curves.items()
    ]
    note = (
        f"Accuracy and loss are of the {_split(case)}. Thick: mean over seeds. Thin: single "
        "seeds. Seconds are of training alone: no import, compilation, or evaluation. By epoch "
        "the curves should lie on each other, for it is the same network on the same batches; "
        "dropout is drawn by each framework itself."
    )
    table, finding = _table(case, keys), _finding(case)
    return Figure(
        "learning", "Learning", charts, table, note, finding, legend=True, columns=len(curves)
    )


def _split(case: Case) -> str:
    phases = {row["phase"] for rows in case.evaluations.values() for row in rows}
    return "validation images" if "validation" in phases else "test images"


def _panel(
    title: str, found: list[tuple[Line, dict[object, Curve]]], keys: Keys, over: str
) -> Panel:
    moments = [p for _, curves in found for curve in curves.values() for p in curve]
    is_share = title.startswith("Accuracy")
    if is_share:
        y = around([p.value for p in moments], "per cent", 100)
    else:
        y = logarithmic([p.value for p in moments], title.lower())
    label = "epochs" if over == "epochs" else "seconds of training"
    x = from_zero([getattr(p, over) for p in moments], label)
    traces = []
    for line, curves in found:
        key = keys.of(line)
        if len(curves) > 1:
            traces += [Trace(key, "seed", _path(c, x, y, over)) for c in curves.values()]
        average = averaged(curves)
        if average:
            points = _points(average, x, y, over, key, title, is_share)
            many = len(points) > MOST_KNOTS
            traces.append(
                Trace(key, "mean", _path(average, x, y, over), [] if many else points, points[-1])
            )
    by = "epoch" if over == "epochs" else "second of training"
    return Panel(f"{title} by {by}", x, y, traces)


def _path(curve: Curve, x: Axis, y: Axis, over: str) -> str:
    return path([(x.at(getattr(p, over)), y.at(p.value)) for p in curve])


def _points(
    curve: Curve, x: Axis, y: Axis, over: str, key: Key, title: str, is_share: bool
) -> list[Point]:
    return [
        Point(
            x.at(getattr(p, over)),
            y.at(p.value),
            f"{key.name}: {share(p.value) if is_share else f'{p.value:.4g}'} {title.lower()} "
            f"after {p.epochs:.3g} epochs, {seconds(p.seconds)}",
        )
        for p in curve
    ]


def _table(case: Case, keys: Keys) -> DataTable:
    rows, own = [], []
    for line in case.lines:
        clocks: dict[object, dict[int, float]] = {}
        for row in case.evaluations[line.label]:
            clock = clocks.setdefault(row["seed"], training_seconds(line, row["seed"]))
            passed = clock.get(row["epoch"])
            scores = [
                share(row["accuracy"]) if row["accuracy"] is not None else _plain(row["rmse"]),
                _plain(row["loss"]),
            ]
            rows.append(
                [line.backend, line.device, row["seed"], row["epoch"], _plain(passed), *scores]
            )
            own.append(keys.of(line))
    score = "accuracy" if case.holds("test_accuracy") else "rmse"
    columns = ["backend", "on", "seed", "epoch", "training seconds", score, "loss"]
    return DataTable(columns, rows, own)


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _finding(case: Case) -> str:
    goal = goal_of(case)
    if goal is None:
        return ""
    times = [
        (seconds_to(evaluated(case, line, "accuracy"), goal), line)
        for line in case.lines
        if line.comparable
    ]
    known = sorted(((t, line.label) for t, line in times if t is not None))
    if len(known) < 2 or len(known) < len(times):
        return ""
    said = ", ".join(f"{label.removesuffix(' on cpu')} {seconds(time)}" for time, label in known)
    where = f"{_split(case)}, looked at after each epoch"
    return f"Seconds of training until {100 * goal:g} % ({where}): {said}."
