"""The roofline on the page: each line where its network and its speed put it, below the roof."""

from __future__ import annotations

import math

import pytest
from show_results import (
    BATCH,
    CACHE,
    MEMORY,
    PEAK,
    PEAKS,
    beside_limit,
    change_machine,
    spec_of,
    write_results,
)

from harness.show.gather import gather, read_run
from harness.show.page.build import page
from harness.show.page.keys import Keys
from harness.show.page.roofline import roofline
from harness.spec import training_costs, training_flops

SPEEDS = {"tensorflow": 2000.0, "torch": 1000.0}
LIMIT = 4000.0


@pytest.fixture
def measured(tmp_path):
    """Write results of a machine whose peaks are given, and return their folder."""

    def made(peaks):
        folder = write_results(tmp_path / "run", SPEEDS, changes=beside_limit(SPEEDS, LIMIT))
        return change_machine(folder, peaks=peaks)

    return made


def drawn(folder):
    (case,) = read_run(folder).cases
    return roofline(case, Keys(case.lines))


def intensity() -> float:
    moved = sum(4 * (BATCH * cost.values + cost.parameters) for cost in training_costs(spec_of()))
    return BATCH * training_flops(spec_of()) / moved


def test_each_line_stands_at_its_operations_per_byte_and_per_second(measured):
    _, roof = drawn(measured([PEAKS])).charts
    marks = {t.key.backend: t.points[0] for t in roof.traces if t.style == "knots"}
    assert set(marks) == set(SPEEDS)
    for name, mark in marks.items():
        rate = SPEEDS[name] * training_flops(spec_of()) / 1e9
        assert mark.x == pytest.approx(roof.x.at(intensity()))
        assert mark.y == pytest.approx(roof.y.at(rate))
        assert f"{intensity():.3g} operations per byte" in mark.tip
    assert marks["tensorflow"].y > marks["torch"].y


def places(trace) -> list[tuple[float, float]]:
    """The corners of a path, in per cent."""
    pairs = [corner.split() for corner in trace.path.removeprefix("M").split("L")]
    return [(float(x) / 10, 100 - float(y) / 10) for x, y in pairs]


def test_the_roof_rises_with_the_bandwidth_to_the_peak_and_stays_there(measured):
    _, roof = drawn(measured([PEAKS])).charts
    (edge,) = [places(t) for t in roof.traces if t.style == "roof"]
    (memory,) = [places(t) for t in roof.traces if t.style == "ceiling"]
    for corners, bandwidth in ((edge, CACHE), (memory, MEMORY)):
        (x, y), (ridge, top) = corners[:2]
        assert ridge == pytest.approx(roof.x.at(PEAK / bandwidth), abs=0.1)
        assert top == pytest.approx(roof.y.at(PEAK / 1e9), abs=0.1)
        slope = (top - y) * math.log(roof.y.high / roof.y.low)
        assert slope == pytest.approx((ridge - x) * math.log(roof.x.high / roof.x.low), rel=0.02)
        assert x >= 0
        assert y >= 0
    assert edge[2] == (100, pytest.approx(edge[1][1], abs=0.1))


def test_the_limit_of_the_network_is_marked_above_its_lines(measured):
    _, roof = drawn(measured([PEAKS])).charts
    (mark,) = [t.points[0] for t in roof.traces if t.style == "whiskers"]
    assert mark.x == pytest.approx(roof.x.at(intensity()))
    assert mark.y == pytest.approx(roof.y.at(LIMIT * training_flops(spec_of()) / 1e9))
    assert all(t.points[0].y < mark.y for t in roof.traces if t.style == "knots")


@pytest.mark.parametrize(
    "peaks",
    [
        None,
        "many",
        [None],
        [3],
        [{}],
        [{**PEAKS, "flops": "many"}],
        [{**PEAKS, "flops": 0}],
        [{**PEAKS, "flops": math.inf}],
        [{**PEAKS, "bandwidths": []}],
        [{**PEAKS, "bandwidths": [[1, 0.0]]}],
        [{**PEAKS, "bandwidths": 7}],
        [{**PEAKS, "precision": "float23"}],
        [{**PEAKS, "device": "gpu"}],
    ],
    ids=str,
)
def test_without_peaks_of_the_device_there_are_the_shares_alone(measured, peaks):
    figure = drawn(measured(peaks))
    (shares,) = figure.charts
    assert [bar.text for bar in shares.bars] == ["50.00 %", "25.00 %"]


def test_a_filter_of_backends_leaves_the_roof(measured):
    runs, problems = gather([measured([PEAKS])])
    text = page(runs, [], problems)
    (section,) = [part for part in text.split("<section") if 'id="case-1-limit"' in part]
    assert section.count('<g class="" data-device="cpu">') == 3, "a roof, a slope, a limit"
    assert 'data-backend="" ' not in text
    assert 'aria-label="Under the roof: tensorflow: ' in section
