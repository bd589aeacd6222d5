"""Peaks as they are kept, and the limits that follow from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from harness.contract import Setting
from harness.machine import describe_machine
from harness.registry import BackendInfo
from harness.run import peaks as module
from harness.run.limit import (
    least_seconds,
    prediction_limit,
    training_intensity,
    training_limit,
)
from harness.run.listener import Listener
from harness.run.peaks import Peaks, as_json, find_peaks, known_peaks, peaks_file
from harness.spec import Cost, load_spec, parse_spec, training_costs, training_flops

PEAKS = Peaks(
    machine_key=describe_machine()["machine_key"],
    device="cpu",
    threads=2,
    precision="float32",
    flops=1e9,
    flops_by="torch convolution 8",
    bandwidths=((1000, 4e6), (10_000, 5e6), (100_000, 1e6)),
    measured_at="2026-01-01T00:00:00+00:00",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("traffic", "rate"),
    [
        (0, 5e6),  # no copy is slower than a larger one
        (1000, 5e6),
        (9_999, 5e6),
        (10_000, 5e6),
        (99_999, 5e6),
        (100_000, 1e6),
        (1e12, 1e6),
    ],
)
def test_traffic_moves_as_fast_as_the_next_smaller_copy(traffic, rate):
    assert PEAKS.bandwidth(traffic) == rate


def test_a_layer_takes_the_longer_of_computing_and_moving():
    computing = Cost("a", flops=10**6, values=1, parameters=0)
    moving = Cost("b", flops=1, values=0, parameters=1_000_000)
    assert least_seconds([computing], 10, PEAKS) == pytest.approx(1e7 / 1e9)
    assert least_seconds([moving], 10, PEAKS) == pytest.approx(4e6 / 1e6)
    both = least_seconds([computing, moving], 10, PEAKS)
    assert both == pytest.approx(0.01 + 4.0)


def test_values_and_parameters_have_the_bytes_of_the_precision():
    cost = [Cost("a", 0, 0, 100_000)], [Cost("a", 0, 100_000, 0)]
    bytes_of = {"float32": (4, 4), "tf32": (4, 4), "float64": (8, 8), "bfloat16": (4, 2)}
    for precision, sizes in bytes_of.items():
        peaks = replace(PEAKS, precision=precision)
        for one, size in zip(cost, sizes, strict=True):
            assert least_seconds(one, 1, peaks) == pytest.approx(size * 0.1), precision


def test_with_boundless_memory_the_limit_is_the_peak_over_the_operations():
    spec = load_spec("mnist-2conv")
    peaks = replace(PEAKS, flops=4e11, bandwidths=((1, 1e30),))
    assert training_limit(spec, peaks) == pytest.approx(4e11 / training_flops(spec))
    assert prediction_limit(spec, 7, peaks) == pytest.approx(4e11 / 27_767_808)


def test_with_boundless_operations_it_is_the_bandwidth_over_the_bytes():
    spec = load_spec("mnist-2conv")
    peaks = replace(PEAKS, flops=1e30, bandwidths=((1, 1e9),))
    moved = sum(4 * (128 * cost.values + cost.parameters) for cost in training_costs(spec))
    assert training_limit(spec, peaks) == pytest.approx(128 * 1e9 / moved)


def test_a_small_batch_pays_for_its_parameters():
    spec = load_spec("mnist-2conv")
    assert prediction_limit(spec, 1, PEAKS) < prediction_limit(spec, 128, PEAKS)


DENSE = """name = "dense"
input = [2, 2, 1]
layers = [{{type = "flatten"}}, {{type = "dense", units = 2}}]
[training]
batch_size = {size}
optimizer = {{type = "sgd", learning_rate = 0.1}}
"""


@pytest.mark.parametrize("size", [1, 10])
@pytest.mark.parametrize(("precision", "width"), [("float32", 4), ("float64", 8)])
def test_the_intensity_of_a_step_is_that_counted_by_hand(size, precision, width):
    """4 values in, 2 out: 16 operations there and 16 back, of which each way moves 4 + 2 values.

    The 10 parameters are read, their gradients written; then both are read, and the former written.
    """
    spec = parse_spec(DENSE.format(size=size), "dense")
    moved = width * (size * (6 + 6) + 10 + 10 + 30)
    assert training_intensity(spec, precision) == pytest.approx(size * 32 / moved)


def test_a_network_without_products_has_no_intensity():
    spec = parse_spec('name = "x"\ninput = [2, 2, 1]\nlayers = [{type = "flatten"}]', "x")
    assert training_intensity(spec, "float32") == 0


def keep(peaks: Peaks = PEAKS, **changes: object) -> None:
    path = peaks_file(peaks.machine_key, peaks.device, peaks.threads, peaks.precision)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**as_json(peaks), **changes}))


def test_what_was_measured_is_found_again_for_the_same_question_only():
    keep()
    assert known_peaks("cpu", 2, "float32") == PEAKS
    assert known_peaks("cpu", 1, "float32") is None
    assert known_peaks("gpu", 2, "float32") is None
    assert known_peaks("cpu", 2, "float64") is None


@pytest.mark.parametrize(
    "changes", [{"version": 0}, {"bandwidths": []}, {"flops": 0}, {"flops": None}, {"more": 1}]
)
def test_what_is_damaged_or_of_another_version_is_measured_anew(changes):
    keep(**changes)
    assert known_peaks("cpu", 2, "float32") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3"])
def test_a_file_that_is_none_is_measured_anew(text):
    keep()
    peaks_file(PEAKS.machine_key, "cpu", 2, "float32").write_text(text)
    assert known_peaks("cpu", 2, "float32") is None


def test_known_peaks_start_no_process(monkeypatch):
    keep()
    monkeypatch.setattr(module, "WorkerProcess", None)
    assert find_peaks(["cpu"], 2, "float32", [], Listener()) == {"cpu": PEAKS}


def test_without_a_backend_that_has_work_nothing_is_known():
    assert find_peaks(["cpu"], 2, "float32", [], Listener()) == {}


def test_a_backend_whose_answer_makes_no_sense_is_left_out(monkeypatch):
    def probe(info: BackendInfo, setting: Setting, scratch: Path) -> dict[str, float]:
        if info.label == "liar":
            return {"product 1": 1.0 / len("")}
        return {"product 1": 2.0, "copy 8": 3.0}

    class Hearing(Listener):
        heard: ClassVar[list[tuple[str, str]]] = []

        def failed(self, label: str, status: str, message: str) -> None:
            self.heard.append((label, message))

    able = [
        BackendInfo(name, "", "nowhere:Nobody", True, (), {}, "", probes=True)
        for name in ("liar", "sound")
    ]
    monkeypatch.setattr(module, "_probe", probe)
    found = find_peaks(["cpu"], 2, "float32", able, Hearing())
    assert found["cpu"].flops_by == "sound product 1"
    ((label, message),) = Hearing.heard
    assert label == "liar"
    assert message.startswith("liar: an answer of no use: ZeroDivisionError")
