"""The bench of a run: its plan, data, cells, folder and listener, and what all phases do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contract import Device
from harness.data import Dataset, split
from harness.errors import WorkerError
from harness.machine import commit
from harness.run.cell import Cell
from harness.run.folder import ResultsFolder, now
from harness.run.limit import beside_limit, training_limit
from harness.run.listener import Listener
from harness.run.peaks import Peaks
from harness.run.plan import Plan
from harness.spec import infer, initial_parameters

Row = dict[str, Any]


@dataclass
class Bench:
    """What the phases of a run share.

    `scratch` is a folder that ends with the run, for its data and for what frameworks leave
    behind. `peaks` are the limits of each device, where they are known. `rows` are those of the
    summary so far, also on disk.
    """

    plan: Plan
    dataset: Dataset
    folder: ResultsFolder
    listener: Listener
    machine_key: str
    scratch: Path
    peaks: Mapping[Device, Peaks] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    block_steps: int = 1

    def each(self, phase: str, action: Callable[[Cell], object]) -> None:
        """Do `action` for one running cell after another; a failure ends only its own cell."""
        for cell in self.cells:
            if cell.running:
                if phase:
                    self.listener.phase(cell.label, phase)
                self.attempt(cell, action)

    def attempt(self, cell: Cell, action: Callable[[Cell], object]) -> bool:
        """Do `action` for one cell, and return whether its worker did not fail."""
        try:
            action(cell)
        except WorkerError as error:
            self.fail(cell, error)
            return False
        return True

    def fail(self, cell: Cell, error: WorkerError) -> None:
        """Note that the cell's worker failed."""
        cell.fail(error)
        self.listener.failed(cell.label, *cell.outcome)

    def sample(self, cell: Cell, phase: str, **fields: Any) -> Row:
        """Put one measurement on disk, and return it."""
        row = {**cell.keys, "phase": phase, "started_at": now(), **fields}
        self.folder.add_samples([row])
        return row

    def split(self, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of the training set that are for training, and for validation."""
        count = len(self.dataset.train_images)
        return split(count, self.plan.spec.training.validation_split, seed)

    def initial(self, seed: int) -> Mapping[str, NDArray[Any]]:
        """Return the weights that training starts from: given to the run, or drawn."""
        given = self.plan.initial
        return initial_parameters(self.plan.spec, seed) if given is None else given

    def write_rows(self, seed: int, facts: Row) -> None:
        """Put one row of each cell for `seed` on disk, beside those of earlier seeds."""
        training = self.plan.spec.training
        common = {
            **self.common(),
            "seed": seed,
            "epochs": training.epochs,
            "batch_size": training.batch_size,
            "target_accuracy": self.plan.target_accuracy,
        }
        for cell in self.cells:
            row = {**common, **facts, **cell.row()}
            if peaks := self.peaks.get(cell.device):
                limit = training_limit(self.plan.spec, peaks)
                row |= beside_limit(limit, row.get("train_images_per_second"))
            self.rows.append(row)
        self.folder.write_summary(self.rows)

    def common(self) -> Row:
        """Return the columns that all rows have alike: what is computed, how, and where."""
        head, dirty = commit()
        plan, network = self.plan, infer(self.plan.spec)
        return {
            "model": plan.spec.name,
            "model_hash": plan.spec.hash,
            "dataset": self.dataset.name,
            "dataset_hash": self.dataset.hash,
            "precision": plan.precision,
            "environment": plan.environment,
            "threads": plan.threads,
            "parameters": network.parameter_count,
            "flops_per_image": network.flops_per_image,
            "machine_key": self.machine_key,
            "commit": head,
            "dirty": dirty,
        }
