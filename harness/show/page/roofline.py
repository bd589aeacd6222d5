"""How near the machine's limit training is: shares of it, and the roofline with each line below.

The drawing is that of Williams, Waterman and Patterson, *Communications of the ACM* 52(4), 2009:
operations per second over operations per byte, both logarithmic. The roof rises with the bandwidth,
until the peak of arithmetic is reached.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.run.limit import BYTES, training_intensity
from harness.run.peaks import Peaks, from_json
from harness.show.gather import Case
from harness.show.page.figure import Figure, grouped, share
from harness.show.page.keys import Keys
from harness.show.page.marks import Bars, DataTable, Key, Panel, Point, Trace, dots, path
from harness.show.page.scales import Axis, from_zero, logarithmic
from harness.show.page.speed import bar_of
from harness.show.table import Line
from harness.spec import training_flops

GIGA = 1e9
BESIDE = 4.0  # how many times less, and more, the axis of intensities reaches than what is on it
HALF_A_MARK = 2.5  # per cent of the plot
LIMIT = "limit_images_per_second"


def roofline(case: Case, keys: Keys) -> Figure | None:
    """Which share of what the machine could do at most was reached; absent in older results."""
    lines = [line for line in case.lines if line.values("fraction_of_limit")]
    if not lines:
        return None
    top = max(1.0, *(v for line in lines for v in line.values("fraction_of_limit")))
    axis = from_zero([top], "per cent of the limit", 100)
    bars = [bar_of(line, keys.of(line), "fraction_of_limit", axis, share) for line in lines]
    each = training_flops(case.spec) / GIGA if case.spec is not None else None
    rows = [
        [
            line.backend,
            line.device,
            grouped(line.typical("train_images_per_second")),
            grouped(line.typical(LIMIT)),
            share(line.typical("fraction_of_limit")),
            grouped(None if each is None else each * _rate(line)),
        ]
        for line in lines
    ]
    columns = ["backend", "on", "images/s", "limit images/s", "share of it", "GFLOP/s"]
    table = DataTable(columns, rows, [keys.of(line) for line in lines])
    shares = Bars("Share of the limit", axis, bars)
    roof = _roof(case, keys, lines)
    note = (
        "The limit is what this machine's arithmetic and memory would allow this network at most, "
        "layer by layer."
    )
    if roof is None:
        return Figure("limit", "How near the limit", [shares], table, note)
    note += (
        " Under the roof, the network stands where the operations and bytes of a whole step put "
        "it; the short line there is its limit. The roof's slope is the bandwidth of a cache, the "
        "dashed one that of memory."
    )
    return Figure("limit", "How near the limit", [shares, roof], table, note, columns=2)


def _rate(line: Line) -> float:
    return line.typical("train_images_per_second") or 0.0


def _roof(case: Case, keys: Keys, lines: Sequence[Line]) -> Panel | None:
    """Draw the roof of each device, and each line at what the network asks for and what it did."""
    known = _known_peaks(case)
    lines = [line for line in lines if line.device in known and _rate(line)]
    if case.spec is None or not lines:
        return None
    roofs = {line.device: known[line.device] for line in lines}
    intensity = training_intensity(case.spec, next(iter(roofs.values())).precision)
    if not intensity:
        return None
    flops = training_flops(case.spec) / GIGA
    x, y = _axes(list(roofs.values()), intensity, [flops * _rate(line) for line in lines])
    traces = []
    for device, peaks in roofs.items():
        limits = [value for line in lines if line.device == device for value in line.values(LIMIT)]
        traces += _roof_traces(peaks, x, y)
        traces += [_limit(device, x.at(intensity), limit * flops, y) for limit in limits[:1]]
    for line in lines:
        key, rate = keys.of(line), flops * _rate(line)
        said = f"{key.name}: {grouped(rate)} GFLOP/s, {intensity:.3g} operations per byte"
        point = Point(x.at(intensity), y.at(rate), said)
        traces.append(Trace(key, "knots", dots([(point.x, point.y)]), [point], point))
    return Panel("Under the roof", x, y, traces)


def _axes(roofs: Sequence[Peaks], intensity: float, rates: Sequence[float]) -> tuple[Axis, Axis]:
    """Return axes with room for all ridges and rates, and for the slope of each roof."""
    ridges = [peaks.flops / rate for peaks in roofs for _, rate in peaks.bandwidths]
    left, right = min(intensity, *ridges) / BESIDE, max(intensity, *ridges) * BESIDE
    most = max(*rates, *(peaks.flops / GIGA for peaks in roofs))
    y = logarithmic([min(min(rates) / 2, most / 20), 1.25 * most], "GFLOP/s")
    return logarithmic([left, right], "operations per byte"), y


def _roof_traces(peaks: Peaks, x: Axis, y: Axis) -> list[Trace]:
    """Return the roof of one device, and the slope that memory alone would give it."""
    top, fastest = peaks.flops / GIGA, peaks.bandwidth(0) / GIGA
    memory = peaks.memory_bandwidth / GIGA
    words = (
        f"{peaks.device}, at most: {grouped(top)} GFLOP/s ({peaks.flops_by}), {grouped(fastest)} "
        f"GB/s from a cache, {grouped(memory)} GB/s from memory"
    )
    ridge = Point(x.at(top / fastest), y.at(top), words)
    roof = [*_slope(fastest, top, x, y), (100.0, y.at(top))]
    key = _roof_key(peaks.device)
    return [
        Trace(key, "ceiling", path(_slope(memory, top, x, y))),
        Trace(key, "roof", path(roof), [ridge]),
    ]


def _slope(bandwidth: float, top: float, x: Axis, y: Axis) -> list[tuple[float, float]]:
    """Return both ends of what a bandwidth allows, in GB/s and GFLOP/s, within the plot."""
    start = max(x.low, y.low / bandwidth)
    return [(x.at(start), y.at(start * bandwidth)), (x.at(top / bandwidth), y.at(top))]


def _limit(device: str, place: float, limit: float, y: Axis) -> Trace:
    """Return a short line across the network's place, at what all its layers allow together."""
    said = f"{device}: the limit, layer by layer, {grouped(limit)} GFLOP/s"
    ends = [(place - HALF_A_MARK, y.at(limit)), (place + HALF_A_MARK, y.at(limit))]
    return Trace(_roof_key(device), "whiskers", path(ends), [Point(place, y.at(limit), said)])


def _roof_key(device: str) -> Key:
    return Key("", device, "", "")  # of no backend: no filter takes it out with one


def _known_peaks(case: Case) -> dict[str, Peaks]:
    """Return what was measured of each device; what is damaged is left out."""
    found = {}
    for one in case.run.machine.get("peaks") or []:
        try:
            peaks = from_json(one)
            figures = [peaks.flops, *(rate for _, rate in peaks.bandwidths)]
            is_sound = all(math.isfinite(figure) and figure > 0 for figure in figures)
            if is_sound and len(figures) > 1 and peaks.precision in BYTES:
                found[str(peaks.device)] = peaks
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
            continue
    return found
