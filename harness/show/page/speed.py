"""Figures of speed: throughput with its interval, prediction, the time of single steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.show.answer import ratios
from harness.show.gather import Case
from harness.show.page.figure import Figure, grouped
from harness.show.page.keys import Keys
from harness.show.page.marks import Bar, Bars, DataTable, Key, Panel, Point, Trace, dots, path
from harness.show.page.scales import Axis, from_zero, logarithmic
from harness.show.table import Line

Values = NDArray[np.float64]
MOST_DOTS = 300  # of one line: more cannot be told apart
DENSITY_POINTS = 80


def throughput(case: Case, keys: Keys) -> Figure | None:
    """Images trained in a second: median, its 95 % interval, and each seed."""
    lines = [line for line in case.lines if line.values("train_images_per_second")]
    if not lines:
        return None
    times = {ratio.line.label: ratio for ratio in ratios(case.lines)}
    bars, rows = [], []
    axis = _axis(lines, "train_images_per_second", "images per second", "_high")
    for line in lines:
        bar = bar_of(line, keys.of(line), "train_images_per_second", axis)
        ratio = times.get(line.label)
        aside = "another network" if not line.comparable else ""
        if ratio and ratio.times != 1:
            aside = f"× {1 / ratio.times:.2f}"
        bars.append(Bar(**{**vars(bar), "aside": aside}))
        low, high = (line.typical(f"train_images_per_second_{end}") for end in ("low", "high"))
        slower = "–"
        if ratio and ratio.low is not None:
            slower = f"{ratio.times:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
        elif ratio:
            slower = f"{ratio.times:.2f}"
        value = grouped(line.typical("train_images_per_second"))
        rows.append([line.backend, line.device, value, grouped(low), grouped(high), slower])
    columns = "backend|on|images/s|low|high|times the fastest's seconds (95 %)".split("|")
    note = (
        "Bars are medians over steady blocks, and over seeds; whiskers their 95 % intervals; dots "
        "single seeds. Factors are of the fastest's speed, medians over rounds in which both "
        "trained the same batches."
    )
    table = DataTable(columns, rows, [keys.of(line) for line in lines])
    return Figure("throughput", "Training", [Bars("", axis, bars)], table, note)


def _axis(lines: Sequence[Line], column: str, label: str, top: str = "") -> Axis:
    found = [v for line in lines for name in {column, column + top} for v in line.values(name)]
    return from_zero(found, label)


def bar_of(
    line: Line, key: Key, column: str, axis: Axis, form: Callable[[float | None], str] = grouped
) -> Bar:
    """Return the bar of a column: median over seeds, its interval if there is one, the seeds."""
    value = line.typical(column)
    low, high = line.typical(f"{column}_low"), line.typical(f"{column}_high")
    text = form(value)
    interval = f", 95 % interval {form(low)} to {form(high)}" if low and high else ""
    return Bar(
        key,
        value,
        text,
        length=axis.at(value or 0),
        low=axis.at(low) if low else None,
        high=axis.at(high) if high else None,
        dots=[axis.at(v) for v in line.values(column)] if len(line.values(column)) > 1 else [],
        doubtful=not line.comparable,
        tip=f"{line.label}: {text} {axis.label}{interval}",
    )


def prediction(case: Case, keys: Keys) -> Figure | None:
    """Images predicted in a second, and how long a single one takes."""
    lines = [line for line in case.lines if line.values("predict_images_per_second")]
    if not lines:
        return None
    lines.sort(key=lambda line: -(line.typical("predict_images_per_second") or 0))
    rate = _axis(lines, "predict_images_per_second", "images per second")
    slowest = [v for line in lines for v in line.values("predict_ms_p99")]
    wait = from_zero(slowest or [1.0], "milliseconds")
    latencies = []
    for line in lines:
        p50, p99 = line.typical("predict_ms_p50"), line.typical("predict_ms_p99")
        if p50 is not None and p99 is not None:
            text = f"{p50:.2f} to {p99:.2f}"
            tip = f"{line.label}: median {p50:.3g} ms, 99th percentile {p99:.3g} ms"
            ends = (wait.at(p50), wait.at(p50), wait.at(p99))
            latencies.append(Bar(keys.of(line), p50, text, *ends, tip=tip))
    latencies.sort(key=lambda bar: bar.value or 0)
    bars = [bar_of(line, keys.of(line), "predict_images_per_second", rate) for line in lines]
    rows = [
        [
            line.backend,
            line.device,
            grouped(line.typical("predict_images_per_second")),
            *(grouped(line.typical(f"predict_ms_{p}")) for p in ("p50", "p99")),
        ]
        for line in lines
    ]
    columns = ["backend", "on", "images/s", "one image, median ms", "99th percentile ms"]
    size = case.first("batch_size")
    charts = [Bars(f"In batches of {size}", rate, bars)]
    if latencies:
        charts.append(Bars("One image alone: median to 99th percentile", wait, latencies))
    return Figure(
        "prediction",
        "Prediction",
        charts,
        DataTable(columns, rows, [keys.of(line) for line in lines]),
        "From host array to host array.",
        columns=2,
    )


def step_times(case: Case, keys: Keys) -> Figure | None:
    """How the time of a step is spread over blocks, and how it went on."""
    found = {line.label: _block_ms(line) for line in case.lines}
    lines = [line for line in case.lines if len(found[line.label]) > 1]
    if not lines:
        return None
    every = np.concatenate([found[line.label] for line in lines])
    axis = logarithmic(every.tolist(), "milliseconds a step")
    charts = [_spread(line, keys.of(line), found[line.label], axis) for line in lines]
    charts.append(_course(lines, keys, axis))
    rows = []
    for line in lines:
        p = np.percentile(found[line.label], [0, 50, 95, 99, 100])
        figures = [f"{value:.2f}" for value in p]
        rows.append([line.backend, line.device, len(found[line.label]), *figures])
    columns = "backend|on|blocks|least|median|95 %|99 %|most ms".split("|")
    note = (
        "Each dot is a block: the mean time of its steps. Ticks are the median and the 95th and "
        "99th percentile. A long tail is a disturbed machine or a framework that stalls."
    )
    table = DataTable(columns, rows, [keys.of(line) for line in lines])
    return Figure("steps", "Time of a step", charts, table, note)


def _block_ms(line: Line) -> Values:
    """Return the mean milliseconds of a step of each block, in the order of measurement."""
    good = [b for b in line.blocks if b["seconds"] and b["steps"]]
    return np.array([1000 * b["seconds"] / b["steps"] for b in good], np.float64)


def _spread(line: Line, key: Key, values: Values, axis: Axis) -> Panel:
    """A density above, single blocks below, in one row."""
    places = np.array([axis.at(value) for value in values])
    traces = []
    if places.std() > 0:
        traces.append(Trace(key, "area", path(_density(places))))
    kept = np.sort(places)[:: max(1, len(places) // MOST_DOTS)]
    jitter = np.random.default_rng(0).uniform(6, 26, len(kept))
    traces.append(Trace(key, "dots", dots(list(zip(kept.tolist(), jitter.tolist(), strict=True)))))
    marks = np.percentile(values, [50, 95, 99])
    ticks = [
        Point(axis.at(float(mark)), 36, f"{line.label}: {name} {mark:.2f} ms a step")
        for mark, name in zip(marks, ("median", "95th percentile", "99th percentile"), strict=True)
    ]
    whiskers = "".join(
        f"M{10 * t.x:.4g} {(640 if i else 300)}V{(760 if i else 960)}" for i, t in enumerate(ticks)
    )
    traces.append(Trace(key, "whiskers", whiskers, ticks))
    return Panel(key.name, axis, None, traces)


def _density(places: Values) -> list[tuple[float, float]]:
    """Return the outline of a Gaussian kernel density (Silverman's bandwidth, 1986, eq. 3.31)."""
    spread = min(places.std(), float(np.subtract(*np.percentile(places, [75, 25]))) / 1.34)
    width = max(0.9 * (spread or places.std()) * len(places) ** -0.2, 0.25)
    low, high = max(places.min() - 3 * width, 0), min(places.max() + 3 * width, 100)
    x = np.linspace(low, high, DENSITY_POINTS)
    y = np.exp(-0.5 * ((x[:, None] - places[None]) / width) ** 2).sum(axis=1)
    y = 34 + 62 * y / y.max()
    return [(low, 34.0), *zip(x.tolist(), y.tolist(), strict=True), (high, 34.0)]


def _course(lines: Sequence[Line], keys: Keys, axis: Axis) -> Panel:
    """Every block in the order in which it was measured."""
    longest = max(len(line.blocks) for line in lines)
    x = Axis(0, longest, "block, in the order measured", ticks=())
    traces = []
    for line in lines:
        values = _block_ms(line)
        every = max(1, len(values) // MOST_DOTS)
        points = [
            (x.at(i + 0.5), axis.at(v)) for i, v in enumerate(values.tolist()) if not i % every
        ]
        traces.append(Trace(keys.of(line), "dots", dots(points)))
    seeds = sorted({b["seed"] for line in lines for b in line.blocks})
    first = {
        s: min(i for line in lines for i, b in enumerate(line.blocks) if b["seed"] == s)
        for s in seeds
    }
    notes = [(x.at(first[s]), f"seed {s}") for s in seeds] if len(seeds) > 1 else []
    return Panel("Over the run", x, axis, traces, notes)
