"""The backend under test in a worker of its own, asked as every run asks it."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import psutil
from numpy.typing import NDArray

from harness.check.ladder import Finding, Ladder
from harness.check.material import Material, make_material
from harness.check.report import CheckFolder
from harness.contract import Device, Precision
from harness.data import Dataset
from harness.registry import BackendInfo, choose, describe
from harness.run.arrays import write_arrays
from harness.run.bench import Bench
from harness.run.cell import Cell, begin_import, end_import, open_cell, start_cell
from harness.run.listener import Listener
from harness.run.plan import Plan, make_plan
from harness.run.reference import start_reference
from harness.spec import Spec

Arrays = dict[str, NDArray[Any]]
Watch = Literal["Watched", "Keeping"]
STEPS = 12  # of a trajectory; about three epochs


@cache
def _registered() -> tuple[BackendInfo, ...]:
    return tuple(describe())


class Subject:
    """One variant of a backend, on one device, in one precision; it is loaded in a worker only.

    Raises:
        UsageError: `target` is no backend; the message says all that is wrong.

    """

    def __init__(
        self, target: str, device: Device, precision: Precision, timeout: float, folder: Path
    ) -> None:
        chosen, _, self.known = choose(None, [target], _registered())
        self.info, self.device, self.precision = chosen[0], device, precision
        self.timeout, self.folder = timeout, folder
        self.results = CheckFolder(folder / "results")
        self.cells: dict[str, Cell] = {}
        self.opened: tuple[str, str] = ("", "")
        self.count = 0

    def open(
        self,
        spec: Spec,
        watch: Watch = "Watched",
        *,
        anew: bool = False,
        dataset: Dataset | None = None,
    ) -> Material:
        """Open a network with made-up data, unless it is open; return the data and the weights."""
        material = make_material(spec, STEPS)
        material = replace(material, dataset=dataset or material.dataset)
        if anew or self.opened != (spec.hash, watch) or self.cells[watch].dead:
            bench = self._bench(material)
            bench.cells = [self._cell(bench, watch)]
            open_cell(bench.cells[0], self.results, bench.scratch)
            self.cell, self.data, self.opened = bench.cells[0], bench.scratch, (spec.hash, watch)
        return material

    def open_source(self, spec: Spec, text: str) -> None:
        """Open a file that the backend did not write.

        Raises:
            WorkerError: the backend did not open it.

        """
        self.open(spec, anew=True)
        path, self.opened = self.folder / f"given_{self.count}.py", ("", "")
        path.write_text(text, encoding="utf-8")
        places = {"source": str(path), "data": str(self.data)}
        self.ask("open", None, spec=spec.model_dump_json(), given=True, **places)

    @property
    def source(self) -> str:
        """What the backend wrote last."""
        newest = max(self.results.models.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return newest.read_text(encoding="utf-8")

    def climb(self, spec: Spec) -> list[Finding]:
        """Take the backend up the ladder, beside the reference, and return what was found."""
        material = make_material(spec, STEPS)
        bench = self._bench(material)
        bench.cells, self.opened = [self._cell(bench, "Watched")], ("", "")
        if "reference" not in self.cells:
            self.cells["reference"] = start_reference(bench, "reference")
        reference = self._renewed(self.cells["reference"], bench.plan)
        bench.each("", lambda cell: open_cell(cell, self.results, bench.scratch))
        open_cell(reference, self.results, bench.scratch)
        ladder = Ladder(bench, material)
        ladder.climb(reference)
        return [finding for finding in ladder.findings if finding.cell is not reference]

    def ask(self, command: str, arrays: Arrays | None = None, **fields: Any) -> Any:
        """Send a command to the worker, and return the fields and the arrays of its answer."""
        return self.cell.ask(command, arrays or {}, **fields)

    def reset(self, parameters: Arrays, seed: int = 0) -> None:
        """Begin anew."""
        self.ask("reset", parameters, seed=seed)

    def train(
        self, order: NDArray[np.int64], rates: NDArray[Any], masks: Arrays | None = None
    ) -> NDArray[Any]:
        """Train some steps, and return their losses; `masks` has one for each step, stacked."""
        _, found = self.ask("train", {"order": order, "rates": rates, **(masks or {})})
        losses: NDArray[Any] = found["losses"]
        return losses

    def state(self) -> Arrays:
        """Return parameters and statistics by path."""
        found: Arrays = self.ask("state")[1]
        return found

    def host_bytes(self) -> int:
        """Return the memory that is the worker's own, without files that it has mapped."""
        memory = psutil.Process(self.cell.worker.process.pid).memory_info()
        return int(memory.rss - getattr(memory, "shared", 0))

    def close(self) -> None:
        """End all workers."""
        for cell in self.cells.values():
            cell.worker.close()

    def _bench(self, material: Material) -> Bench:
        plan = make_plan(
            material.spec,
            "check",
            [replace(self.info, target="harness.run.watched:WatchedBackend")],
            self.known,
            device=self.device,
            precision=self.precision,
            threads=1,
            timeout=self.timeout,
            timed=False,
            environment="stock",  # so that memory which is freed goes back, and can be seen to
        )
        self.count += 1
        scratch = self.folder / f"data_{self.count}"
        scratch.mkdir()
        dataset = material.dataset
        arrays = {"train_images": dataset.train_images, "train_targets": dataset.train_labels}
        tests = {"test_images": dataset.test_images, "test_targets": dataset.test_labels}
        write_arrays(scratch, {**arrays, **tests})
        return Bench(plan, dataset, self.results, Listener(), "", scratch)

    def _cell(self, bench: Bench, watch: Watch) -> Cell:
        """Return the worker, started if there is none alive, as that of another network."""
        kept = self.cells.get(watch)
        if kept is None or kept.dead or kept.worker.ended:
            info = replace(self.info, target=f"harness.run.watched:{watch}Backend")
            label = f"{self.info.label} {watch}"
            with mock.patch.dict(os.environ, WATCHED=self.info.target):
                kept = start_cell(info, self.device, bench.plan, self.results, bench.scratch, label)
            self.cells[watch] = kept
            begin_import(kept)
            end_import(kept)
        return self._renewed(kept, bench.plan)

    def _renewed(self, cell: Cell, plan: Plan) -> Cell:
        return replace(cell, plan=plan, outcome=("ok", ""))
