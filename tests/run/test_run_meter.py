"""A GPU's own readings, from a made-up NVML."""

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pytest
from fake_backends import FakeSession

from harness.run.figures import gpu_figures, training_figures
from harness.run.folder import SAMPLE_COLUMNS, SUMMARY_COLUMNS
from harness.run.meter import GpuMeter, open_meter
from harness.run.worker import Worker
from harness.spec import parse_spec


class NVMLError(Exception):
    pass


class FakeNvml:
    """Two GPUs, of which each reading adds 2.5 J; `deaf` lists functions that fail."""

    NVML_CLOCK_SM = 1
    NVMLError = NVMLError

    def __init__(self, *deaf):
        self.deaf, self.millijoules = deaf, 0

    def nvmlInit(self):  # noqa: N802
        self._hear("init")

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        if index > 1:
            raise NVMLError
        return f"gpu {index}"

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        return f"gpu {uuid}"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        self._hear("energy")
        self.millijoules += 2500
        return self.millijoules

    def nvmlDeviceGetClockInfo(self, handle, kind):  # noqa: N802
        self._hear("clock")
        assert kind == 1
        return 1980

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        self._hear("processes")
        other = SimpleNamespace(pid=os.getpid() + 1, usedGpuMemory=1)
        return [other, SimpleNamespace(pid=os.getpid(), usedGpuMemory=5_000_000)]

    def _hear(self, what):
        if what in self.deaf:
            raise NVMLError


@pytest.mark.parametrize(
    ("visible", "handle"),
    [(None, "gpu 0"), ("", "gpu 0"), ("1,0", "gpu 1"), ("GPU-7", "gpu GPU-7")],
)
def test_the_meter_is_that_of_the_gpu_that_frameworks_take(monkeypatch, visible, handle):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert open_meter("gpu", FakeNvml()).handle == handle


def test_without_a_gpu_a_driver_or_the_package_there_is_none(monkeypatch):
    assert open_meter("cpu", FakeNvml()) is None
    assert open_meter("gpu", FakeNvml("init")) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert open_meter("gpu", FakeNvml()) is None
    monkeypatch.setitem(__import__("sys").modules, "pynvml", None)
    assert open_meter("gpu") is None


def test_units_are_joules_megahertz_and_bytes_of_this_process():
    meter = GpuMeter(FakeNvml(), "gpu 0")
    assert (meter.joules(), meter.joules()) == (2.5, 5.0)
    assert meter.mhz() == 1980
    assert meter.process_bytes() == 5_000_000


def test_what_a_gpu_does_not_tell_is_none():
    meter = GpuMeter(FakeNvml("energy", "clock", "processes"), "gpu 0")
    assert (meter.joules(), meter.mhz(), meter.process_bytes()) == (None, None, None)


@pytest.mark.parametrize(
    ("deaf", "gauges"),
    [
        ((), {"joules": 2.5, "gpu_mhz": 1980}),
        (("energy",), {"joules": None, "gpu_mhz": 1980}),
        (("clock",), {"joules": 2.5, "gpu_mhz": None}),
    ],
)
def test_a_worker_reads_before_and_after_a_block(deaf, gauges):
    worker = Worker()
    layers = 'layers = [{ type = "flatten" }, { type = "dense", units = 3 }]\n'
    spec = parse_spec('name = "small"\ninput = [2, 2, 1]\n' + layers, "test")
    worker.session = FakeSession(spec, lambda place: None)
    worker.session.load(np.ones((4, 2, 2, 1), np.float32), np.zeros(4))
    block = {"order": np.zeros((1, 2), np.int64), "rates": np.ones(1)}
    answer, _ = worker.train({}, block)
    assert set(answer) == {"seconds"}, "on a CPU"
    worker.meter = GpuMeter(FakeNvml(*deaf), "gpu 0")
    answer, _ = worker.train({}, block)
    assert {name: answer[name] for name in gauges} == gauges
    assert worker.memory({}, {})[0]["process"] == 5_000_000


def block(joules, mhz=1000.0, seconds=2.0):
    return {"steps": 1, "images": 10, "seconds": seconds, "joules": joules, "gpu_mhz": mhz}


def test_energy_and_power_are_sums_over_the_blocks_and_the_clock_their_median():
    blocks = [block(100.0, 1000.0), block(0.0, 1800.0), block(200.0, 1900.0)]
    found = gpu_figures(blocks)
    assert found == {"gpu_mhz": 1800.0, "joules_per_image": 10.0, "gpu_watts": 50.0}


def test_blocks_of_a_cpu_have_no_such_figures():
    plain = {"steps": 1, "images": 10, "seconds": 2.0}
    assert gpu_figures([plain] * 5) == {}
    assert "gpu_watts" not in training_figures([plain] * 5)[0]


def test_only_steady_blocks_count():
    slow = [block(1e6, seconds=100.0)] * 2
    figures, _ = training_figures([*slow, *[block(20.0)] * 10])
    assert figures["steady_from_block"] == 1
    steady = [*slow[1:], *[block(20.0)] * 10]
    assert figures["joules_per_image"] == gpu_figures(steady)["joules_per_image"]


def test_all_have_columns():
    assert {"joules", "gpu_mhz"} <= set(SAMPLE_COLUMNS)
    assert {"joules_per_image", "gpu_watts", "gpu_mhz", "gpu_process_bytes"} <= set(SUMMARY_COLUMNS)
