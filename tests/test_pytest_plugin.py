"""The pytest plug-in: a test for each backend, timed by the clock of its worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.testing import timed

FAKES = Path(__file__).parent / "run"
BENCHMARKS = """
import pytest

BLOCK = '''
name = "my-block"
input = [4, 4, 2]
layers = [{type = "flatten"}, {type = "dense", units = 3}]
'''

@pytest.mark.benchmark(max_time=0.0001)
def test_train_step(benchmark, harness_backend):
    benchmark(harness_backend.open(BLOCK).train_step)

@pytest.mark.benchmark(group="mine", max_time=0.0001)
def test_predict(benchmark, harness_backend):
    benchmark(harness_backend.open(BLOCK).predict)

def test_compile(benchmark, harness_backend):
    benchmark.pedantic(harness_backend.open(BLOCK).first_step, rounds=2)

def test_without_a_benchmark(harness_backend, harness_model):
    assert harness_backend.label == "fake"
    assert harness_model == "mnist-1conv"

def test_of_something_else():
    pass
"""


def run_pytest(folder, *arguments):
    (folder / "test_mine.py").write_text(BENCHMARKS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{FAKES}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_each_benchmark_is_timed_by_its_worker_and_says_what_it_timed(tmp_path):
    options = ("--harness-plugin", "fake_backends:FakeBackend", "--benchmark-json", "found.json")
    done = run_pytest(tmp_path, *options, "--harness-batch-size", "6")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
    found = {b["name"]: b for b in json.loads((tmp_path / "found.json").read_text())["benchmarks"]}
    assert set(found) == {f"test_{name}[fake]" for name in ("train_step", "predict", "compile")}
    groups = [found[f"test_{name}[fake]"]["group"] for name in ("train_step", "predict")]
    assert groups == ["test_train_step", "mine"]
    for benchmark in found.values():
        assert benchmark["options"]["timer"] == "worker_clock"
        assert benchmark["stats"]["min"] > 0
        said = benchmark["extra_info"]
        assert (said["backend"], said["model"], said["batch_size"]) == ("fake", "my-block", 6)
        assert json.loads(said["versions"])["fake"] == "1.0"


def test_a_backend_that_there_is_not_ends_it_with_one_message(tmp_path):
    done = run_pytest(tmp_path, "--harness-backend", "torhc")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--harness-backend: unknown backend 'torhc'" in done.stdout + done.stderr
    assert "Did you mean 'torch'?" in done.stdout + done.stderr


def test_where_nobody_uses_it_nothing_of_the_harness_is_loaded(tmp_path):
    program = (
        "import sys; import harness.pytest_plugin; "
        "print([n for n in sys.modules if n.startswith('harness.') or n == 'numpy'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['harness.pytest_plugin']"


class Worked(timed.TimedModel):
    """A step takes 0.5 ms, and after the warm-up half of it, of no clock but the workers'."""

    def __init__(self):
        self.repeats, self.asked = {}, []

    def _train(self, steps):
        self.asked.append(steps)
        return steps * (0.0005 if len(self.asked) < timed.WARM_UP else 0.00025)


def test_a_short_step_is_repeated_and_the_clock_moves_by_its_mean():
    model, clock = Worked(), timed.worker_clock
    before = clock.seconds
    model.train_step()
    assert clock.seconds - before == pytest.approx(0.00025)
    assert model.asked == [1] * timed.WARM_UP + [4]
    model.train_step()
    assert clock.seconds - before == pytest.approx(0.0005)
    assert model.asked[-1] == 4, "calibrated once"


def test_the_clock_moves_with_each_reading_or_its_precision_would_never_be_known():
    first, second = timed.worker_clock(), timed.worker_clock()
    assert 0 < second - first < 1e-8
