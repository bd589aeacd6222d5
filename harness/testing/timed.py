"""A backend's training step, prediction and first step, for pytest-benchmark to time."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness.check.material import made_up
from harness.check.report import CheckFolder
from harness.errors import WorkerError
from harness.run.arrays import write_arrays
from harness.run.bench import Bench
from harness.run.cell import Cell, begin_import, end_import, open_cell, start_cell
from harness.run.listener import Listener
from harness.run.plan import Plan
from harness.spec import initial_parameters

BATCHES = 4  # of made-up images; more would only fill memory
CALL_SECONDS = 0.001  # of a call: a step that is shorter is repeated, and the mean counts
WARM_UP = 5  # calls


class WorkerClock:
    """A timer for pytest-benchmark that stands still but while a worker computes.

    It is put forward by what a worker has measured, so neither the pipe nor this process is in
    the figures. Each reading adds a nanosecond, as pytest-benchmark waits for its timer to move in
    order to learn how precise it is.
    """

    def __init__(self) -> None:
        self.__name__ = "worker_clock"  # as which it stands in what pytest-benchmark saves
        self.seconds = 0.0

    def __call__(self) -> float:
        """Return seconds."""
        self.seconds += 1e-9
        return self.seconds

    def forward(self, seconds: float) -> None:
        """Put it forward."""
        self.seconds += seconds


worker_clock = WorkerClock()


class TimedModel:
    """One network in one backend, in a worker of its own, on made-up images.

    Each method does its work in the worker, and puts `worker_clock` forward by its seconds.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.spec = spec = plan.spec
        scratch = folder / "data"
        scratch.mkdir(parents=True)
        size = spec.training.batch_size
        dataset = made_up(spec, BATCHES * size, size, np.random.default_rng(0))
        arrays = {"train_images": dataset.train_images, "train_targets": dataset.train_labels}
        tests = {"test_images": dataset.test_images, "test_targets": dataset.test_labels}
        write_arrays(scratch, {**arrays, **tests})
        self.bench = Bench(plan, dataset, CheckFolder(folder / "log"), Listener(), "", scratch)
        self.parameters = initial_parameters(spec, 0)
        self.cell: Cell | None = None
        self.repeats: dict[str, int] = {}

    @property
    def facts(self) -> dict[str, Any]:
        """What was timed, for `benchmark.extra_info`."""
        plan, (info,) = self.bench.plan, self.bench.plan.backends
        return {
            "backend": info.label,
            "model": self.spec.name,
            "model_hash": self.spec.hash,
            "batch_size": self.spec.training.batch_size,
            "device": plan.device,
            "precision": plan.precision,
            "environment": plan.environment,
            "threads": plan.threads,
            **({"versions": self.cell.facts["versions"]} if self.cell else {}),
        }

    def train_step(self) -> None:
        """Train on one batch."""
        self._call("train", self._train)

    def predict(self) -> None:
        """Predict one batch, from host array to host array."""
        self._call("predict", self._predict)

    def first_step(self) -> None:
        """Take the first step of a fresh worker, in which compiled backends trace and compile.

        What comes before (import, writing the source, building the model) is not in the time.
        """
        self._end_worker()
        worker_clock.forward(self._train(1))

    def close(self) -> None:
        """End the worker."""
        self._end_worker()
        self.bench.folder.close()

    def _end_worker(self) -> None:
        if self.cell is not None:
            self.cell.worker.close()
            self.cell = None

    def _call(self, name: str, action: Callable[[int], float]) -> None:
        """Do it as often as it takes to last long beside the clock; the mean is what it took."""
        if name not in self.repeats:
            fastest = min(action(1) for _ in range(WARM_UP))
            self.repeats[name] = max(1, math.ceil(CALL_SECONDS / max(fastest, 1e-6)))
        count = self.repeats[name]
        worker_clock.forward(action(count) / count)

    def _train(self, steps: int) -> float:
        size = self.spec.training.batch_size
        order = np.arange(steps * size).reshape(steps, size) % (BATCHES * size)
        rates = np.full(steps, self.spec.training.learning_rates(1)[0])
        return self._running.train_steps(order, rates)[0]

    def _predict(self, calls: int) -> float:
        size = self.spec.training.batch_size
        _, arrays = self._running.ask("predict", batch_size=size, calls=calls)
        return float(arrays["seconds"].sum())

    @property
    def _running(self) -> Cell:
        """The worker, started and built where there is none."""
        if self.cell is None:
            plan, bench = self.bench.plan, self.bench
            (info,) = plan.backends
            assert plan.device != "all"
            cell = start_cell(info, plan.device, plan, bench.folder, bench.scratch, info.label)
            self.cell = cell
            begin_import(cell)
            end_import(cell)
            if cell.device not in cell.devices:
                raise WorkerError(f"{cell.label}: the framework sees no {cell.device}", "skipped")
            open_cell(cell, bench.folder, bench.scratch)
            cell.ask("reset", self.parameters, seed=0)
        return self.cell
