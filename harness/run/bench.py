"""The bench of a run: its plan, data, cells, folder and listener, and what all phases do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contract import Device
from harness.data import Dataset, split
from harness.errors import Interrupted, WorkerError
from harness.machine import commit
from harness.registry import BackendInfo
from harness.run.cell import Cell
from harness.run.durable import check_room, storing, temporary_folder
from harness.run.folder import SUPERSEDED, ResultsFolder, now
from harness.run.journal import Journal, Key
from harness.run.limit import beside_limit, training_limit
from harness.run.listener import Listener
from harness.run.peaks import Peaks
from harness.run.plan import Plan
from harness.run.process import NO_USE, no_use
from harness.spec import infer, initial_parameters

Row = dict[str, Any]
QUICK_SECONDS = 0.05  # a summary that is written in less is written at every change
PAUSE = 20.0  # times as long as writing takes, between two writings of another


@dataclass
class Bench:
    """What the phases of a run share.

    `scratch` is a folder that ends with the run, for its data and for what frameworks leave behind.
    `helpers` are workers beside the cells, as the reference's. `peaks` are the limits of each
    device, where they are known. `moved` counts the superseded rows whose samples have been moved.
    `summary.csv` `is_stale` where the journal knows more.
    """

    plan: Plan
    dataset: Dataset
    folder: ResultsFolder
    listener: Listener
    machine_key: str
    scratch: Path
    peaks: Mapping[Device, Peaks] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    helpers: list[Cell] = field(default_factory=list)
    block_steps: int = 1
    moved: int = 0
    is_stale: bool = False
    written_at: float = -inf
    writing_seconds: float = 0.0

    @property
    def journal(self) -> Journal:
        """The journal of a run; what only asks and checks has none."""
        assert self.folder.journal is not None
        return self.folder.journal

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
        except NO_USE as error:  # whatever a backend answers, it must not end the others
            self.fail(cell, no_use(cell.label, [cell.worker.log], error))
            return False
        return True

    @contextmanager
    def only(self, cell: Cell) -> Iterator[None]:
        """Have none but this cell at the bench for a while."""
        cells, self.cells = self.cells, [cell]
        try:
            yield
        finally:
            self.cells = cells

    def fail(self, cell: Cell, error: WorkerError) -> None:
        """Note that the cell's worker failed.

        Raises:
            StorageError: so would any other, as the disk is full; that is no failure of this one.

        """
        cell.fail(error)
        self.check_room()
        self.listener.failed(cell.label, *cell.outcome)

    def check_room(self) -> None:
        """See that workers can write what they have to.

        Raises:
            StorageError: they cannot.

        """
        for place in (self.folder.path, self.scratch):
            check_room(place)

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

    def is_wanted(self, info: BackendInfo, device: Device, seed: int) -> bool:
        """Return whether a backend has to be trained there; always, where there is no journal."""
        journal = self.folder.journal
        if journal is None:
            return True
        return journal.is_open(Key(info.backend, info.variant, device, seed))

    def next_worker(self, info: BackendInfo, device: Device) -> int:
        """Return the number of the next worker of a backend on a device, counted from 1."""
        journal = self.folder.journal
        if journal is None:
            return 1
        return journal.workers(info.backend, info.variant, device) + 1

    def plan_rows(self, devices: Iterable[Device]) -> None:
        """Put a row for every planned cell on disk that has none yet."""
        cells = [(info, device) for info in self.plan.backends for device in devices]
        keys = [
            Key(info.backend, info.variant, device, seed)
            for seed in self.plan.seeds
            for info, device in cells
        ]
        if missing := [key for key in keys if key not in self.journal.rows]:
            self.journal.add({**key._asdict(), "worker": 0, "status": "planned"} for key in missing)
            self.write_summary()

    def note_status(
        self, seed: int, cells: Iterable[Cell], facts: Row, status: str | None = None
    ) -> None:
        """Put a row of each of these cells on disk, which holds from now on.

        Its status is how the cell has ended, if none is given.
        `summary.csv` follows at once, or, where there are so many rows that writing all of them
        takes long, after a pause; see `finish_summary`.
        """
        common = {**self._trained(), "seed": seed, **facts}
        given = {} if status is None else {"status": status}
        self.journal.add({**common, **self._row(cell), **given} for cell in cells)
        self.is_stale = True
        since = monotonic() - self.written_at
        if self.writing_seconds < QUICK_SECONDS or since > PAUSE * self.writing_seconds:
            self.write_summary()

    def finish_summary(self) -> None:
        """Have `summary.csv` say what the journal does."""
        if self.is_stale:
            self.write_summary()

    def write_summary(self) -> None:
        """Make the tables of rows anew from the journal."""
        begun, common = monotonic(), self._trained()
        journal, folder = self.journal, self.folder
        folder.write_summary({**common, **row} for row in journal.current())
        if journal.superseded:
            place = folder.path / SUPERSEDED
            with storing(place):
                place.mkdir(exist_ok=True)
            rows = map(journal.read, journal.superseded)
            folder.write_summary(({**common, **row} for row in rows), place)
        self.written_at, self.is_stale = monotonic(), False
        self.writing_seconds = self.written_at - begun

    def _row(self, cell: Cell) -> Row:
        """Return what a cell knows, beside the limit of its device where that is known."""
        row = cell.row()
        if peaks := self.peaks.get(cell.device):
            limit = training_limit(self.plan.spec, peaks)
            row |= beside_limit(limit, row.get("train_images_per_second"))
        return row

    def _trained(self) -> Row:
        """Return the columns that all rows of trained cells have alike."""
        training = self.plan.spec.training
        return {
            **self.common(),
            "epochs": training.epochs,
            "batch_size": training.batch_size,
            "target_accuracy": self.plan.target_accuracy,
            "streamed": self.plan.stream == "always" or None,
        }

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


@contextmanager
def open_bench(
    plan: Plan,
    dataset: Dataset,
    folder: ResultsFolder,
    listener: Listener,
    machine_key: str = "",
    interrupted: str = "",
) -> Iterator[Bench]:
    """Yield a bench with a scratch folder; whatever ends it, none of its workers is left.

    The results folder is left open. `interrupted` is what to say to who ends it by Ctrl-C.

    Raises:
        StorageError: there is no room for a scratch folder.
        Interrupted: by Ctrl-C, or a signal that is taken as such, where `interrupted` is given.

    """
    with temporary_folder() as scratch:
        bench = Bench(plan, dataset, folder, listener, machine_key, Path(scratch))
        try:
            yield bench
        except KeyboardInterrupt:
            if interrupted:
                raise Interrupted(interrupted) from None
            raise
        finally:
            for cell in (*bench.cells, *bench.helpers):
                cell.worker.kill()
            listener.finished()
