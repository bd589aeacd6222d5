"""Several results on one page: who is fastest on what, by batch size, and over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from harness.show.answer import ratios
from harness.show.gather import Case
from harness.show.page.figure import Figure, grouped
from harness.show.page.keys import Keys
from harness.show.page.marks import DataTable, Key, Panel, Point, Trace, dots, path
from harness.show.page.scales import Axis, from_zero
from harness.show.table import Line

RATE = "train_images_per_second"
DAY = 86400.0


@dataclass(frozen=True)
class Square:
    """A cell of the matrix: a backend on a model, as a share of the fastest there."""

    key: Key
    text: str
    share: float
    times: str
    fastest: bool
    comparable: bool


@dataclass(frozen=True)
class Matrix:
    """Cases by backends."""

    keys: Sequence[Key]
    rows: Sequence[tuple[str, str, Sequence[Square | None]]]  # anchor, title, cells


def matrix(cases: Sequence[Case], anchors: Sequence[str], keys: Keys) -> Matrix:
    """Return the throughput of every backend on every case, beside the fastest of the case."""
    found: dict[tuple[str, str], Key] = {}
    for case in cases:
        for line in case.lines:
            found.setdefault((line.backend, line.device), keys.of(line))
    order = sorted(found)
    rows = []
    for case, anchor, title in zip(cases, anchors, titles(cases), strict=True):
        own = {(line.backend, line.device): line for line in case.lines}
        times = {ratio.line.label: ratio.times for ratio in ratios(case.lines)}
        best = next((line.typical(RATE) for line in case.lines if line.comparable), None)
        cells = [_square(own.get(name), found[name], times, best) for name in order]
        rows.append((anchor, title, cells))
    return Matrix([found[name] for name in order], rows)


def _square(
    line: Line | None, key: Key, times: dict[str, float], best: float | None
) -> Square | None:
    if line is None:
        return None
    rate = line.typical(RATE)
    if not line.finished or rate is None:
        status = next((str(row["status"]) for row in line.broken), "–")
        return Square(key, status, 0, "", False, False)
    ratio = times.get(line.label)
    share = 100 / ratio if ratio else 0
    said = "" if ratio is None else "fastest" if ratio == 1 else f"× {1 / ratio:.2f}"
    return Square(key, grouped(rate), share, said, ratio == 1, line.comparable)


def titles(cases: Sequence[Case]) -> list[str]:
    """Return a name for each case; those that would have the same one get their time, too."""
    names = [_title(case, cases) for case in cases]
    times = [case.started_at[:16].replace("T", " ") for case in cases]
    return [
        name if names.count(name) == 1 else f"{name}, {time}"
        for name, time in zip(names, times, strict=True)
    ]


def _title(case: Case, cases: Sequence[Case]) -> str:
    """Name a case by what it is of, and by what differs among the cases."""
    words = [case.title]
    if len({other.first("batch_size") for other in cases}) > 1:
        words.append(f"batch {case.first('batch_size')}")
    if len({other.first("machine_key") for other in cases}) > 1:
        words.append(machine_words(case))
    return ", ".join(words)


def machine_words(case: Case) -> str:
    """Return the machine as people call it."""
    machine = case.run.machine
    gpus = [str(gpu.get("name")) for gpu in machine.get("gpus") or [] if isinstance(gpu, dict)]
    cpu = machine.get("cpu") or case.first("machine_key") or "unknown machine"
    generation = f" ({machine['cpu_generation']})" if machine.get("cpu_generation") else ""
    cores = f", {machine['cpus_available']} cores" if machine.get("cpus_available") else ""
    return " + ".join([f"{cpu}{generation}{cores}", *gpus])


def history(cases: Sequence[Case], keys: Keys) -> list[Figure]:
    """Return throughput over time for everything that was run more than once."""
    groups: dict[tuple[object, ...], list[Case]] = {}
    for case in cases:
        if _moment(case) is not None:
            groups.setdefault(case.key, []).append(case)
    return [
        _figure(
            f"history-{number}",
            f"Over time: {own[0].title}, batch {own[0].first('batch_size')}",
            own,
            [(_moment(case) or 0) / DAY for case in own],
            _time_axis(own),
            keys,
            "started",
            [case.started_at[:16].replace("T", " ") for case in own],
        )
        for number, own in enumerate(g for g in groups.values() if len(g) > 1)
    ]


def by_batch_size(cases: Sequence[Case], keys: Keys) -> list[Figure]:
    """Return throughput over batch sizes, where runs differ in nothing else."""
    groups: dict[tuple[object, ...], dict[int, Case]] = {}
    for case in cases:  # oldest first, so that the newest of a size stays
        own = groups.setdefault(case.key_of_any_batch, {})
        own[case.first("batch_size") or 0] = case
    figures = []
    for number, group in enumerate(g for g in groups.values() if len(g) > 1):
        alike = [group[size] for size in sorted(group)]
        sizes = [float(size) for size in sorted(group)]
        axis = from_zero(sizes, "images in a batch")
        figures.append(
            _figure(
                f"batch-{number}",
                f"By batch size: {alike[0].title}",
                alike,
                sizes,
                axis,
                keys,
                "batch size",
                [f"{size:g}" for size in sizes],
            )
        )
    return figures


def _moment(case: Case) -> float | None:
    try:
        return datetime.fromisoformat(case.started_at).timestamp()
    except ValueError:
        return None


def _time_axis(cases: Sequence[Case]) -> Axis:
    days = [(_moment(case) or 0) / DAY for case in cases]
    room = max((max(days) - min(days)) * 0.04, 1e-4)
    return Axis(min(days) - room, max(days) + room, "when it was started")


def _figure(
    name: str,
    title: str,
    cases: Sequence[Case],
    places: Sequence[float],
    x: Axis,
    keys: Keys,
    column: str,
    said: Sequence[str],
) -> Figure:
    """Return one panel of throughput with intervals, over whatever the cases differ in."""
    found: dict[str, list[tuple[float, Line, str, Case]]] = {}
    for case, place, words in zip(cases, places, said, strict=True):
        for line in case.lines:
            if line.comparable and line.typical(RATE):
                found.setdefault(line.label, []).append((place, line, words, case))
    tops = [
        v for own in found.values() for _, line, _, _ in own for v in line.values(f"{RATE}_high")
    ]
    rates = [line.typical(RATE) or 0 for own in found.values() for _, line, _, _ in own]
    y = from_zero([*tops, *rates], "images per second")
    traces, rows, row_keys = [], [], []
    for own in found.values():
        key = keys.of(own[0][1])
        points, whiskers = [], ""
        for place, line, words, case in own:
            rate = line.typical(RATE) or 0
            low, high = line.typical(f"{RATE}_low"), line.typical(f"{RATE}_high")
            interval = f" ({grouped(low)} to {grouped(high)})" if low and high else ""
            points.append(
                Point(
                    x.at(place),
                    y.at(rate),
                    f"{key.name}, {words}: {grouped(rate)}{interval} images/s",
                )
            )
            if low and high:
                whiskers += path([(x.at(place), y.at(low)), (x.at(place), y.at(high))])
            version = line.rows[0]["framework_version"] or "–"
            commit = str(case.first("commit") or "–")[:7]
            rows.append(
                [
                    words,
                    line.backend,
                    line.device,
                    grouped(rate),
                    grouped(low),
                    grouped(high),
                    version,
                    commit,
                ]
            )
            row_keys.append(key)
        places_of = [(p.x, p.y) for p in points]
        traces.append(Trace(key, "mean", path(places_of), points, points[-1]))
        if whiskers:
            traces.append(Trace(key, "whiskers", whiskers))
        traces.append(Trace(key, "dots", dots(places_of)))
    notes = []
    if not x.ticks:  # the first and the last, for more would hide each other
        notes = [(x.at(places[end]), said[end]) for end in (0, -1)]
    columns = [column, "backend", "on", "images/s", "low", "high", "framework", "commit"]
    note = (
        "Whiskers are 95 % intervals of the median within a run. They do not hold what differs "
        "from one start of the processes to the next."
    )
    return Figure(
        name,
        title,
        [Panel("", x, y, traces, notes)],
        DataTable(columns, rows, row_keys),
        note,
        legend=True,
        model=str(cases[0].first("model")),
    )
