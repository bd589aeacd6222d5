"""A cell of a run: one backend on one device, its worker, and what is known of it so far."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contract import Device, Setting
from harness.errors import WorkerError
from harness.registry import BackendInfo
from harness.run.environment import worker_environment
from harness.run.figures import prediction_figures, training_figures
from harness.run.folder import ResultsFolder
from harness.run.messages import Arrays
from harness.run.plan import Plan
from harness.run.process import WorkerProcess

Fields = dict[str, Any]
GAUGES = ("joules", "gpu_mhz")  # of a block, columns of the samples
Answer = tuple[Fields, dict[str, NDArray[Any]]]


@dataclass(frozen=True)
class Side:
    """With what a worker is started, where that is not the harness's own: see `harness ab`.

    `python` is an interpreter, `environment` is put over the worker's, `tag` names the side.
    """

    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)
    tag: Mapping[str, Any] = field(default_factory=dict)


DEFAULT_SIDE = Side()


@dataclass
class Cell:
    """One backend on one device.

    `tag` are columns that tell it from other cells of the same backend and device. `devices` are
    those that its framework sees, name by kind, once it is imported. `facts` are
    columns of the summary that hold for every seed. Of the present seed, `results`
    are columns too, `blocks` the measured blocks of training, `predictions` the seconds of each
    call, with one image ("single") and with a batch ("batched"), and `outcome` the status and
    the error behind it. One that has `reached` the run's accuracy does not train on. A cell whose
    worker is gone is `dead`.
    """

    info: BackendInfo
    device: Device
    label: str
    worker: WorkerProcess
    plan: Plan
    tag: Fields = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    facts: Fields = field(default_factory=dict)
    results: Fields = field(default_factory=dict)
    blocks: list[Fields] = field(default_factory=list)
    predictions: dict[str, list[float]] = field(default_factory=dict)
    gauges: Fields = field(default_factory=dict)
    outcome: tuple[str, str] = ("ok", "")
    reached: bool = False
    dead: bool = False

    @property
    def running(self) -> bool:
        """Whether it takes part in what comes next."""
        return not self.dead and self.outcome[0] == "ok"

    @property
    def training(self) -> bool:
        """Whether it takes part in what comes next of the training."""
        return self.running and not self.reached

    @property
    def keys(self) -> Fields:
        """The columns that name it in both files."""
        variant = self.info.variant
        backend = self.info.backend
        return {"backend": backend, "variant": variant, "device": self.device, **self.tag}

    def ask(self, command: str, arrays: Arrays = {}, **fields: Any) -> Answer:  # noqa: B006 (never changed)
        """Send a command to the worker and wait for the answer.

        Raises:
            WorkerError: it failed, crashed or did not answer in time.

        """
        return self.worker.ask(command, arrays, timeout=self.plan.timeout, **fields)

    def begin_seed(self) -> None:
        """Forget what belongs to the seed before."""
        self.results, self.blocks, self.predictions, self.reached = {}, [], {}, False
        if not self.dead:
            self.outcome = ("ok", "")

    def fail(self, error: WorkerError) -> None:
        """Note the failure, and end the worker: what state it is in nobody knows."""
        self.outcome, self.dead = (error.status, str(error)), True
        self.worker.kill()

    def train(self, order: NDArray[np.int64], rates: NDArray[np.float64]) -> tuple[float, float]:
        """Train one block; return its seconds and the mean loss of its steps.

        What the GPU told meanwhile is in `gauges`.
        """
        fields, arrays = self.ask("train", {"order": order, "rates": rates})
        self.gauges = {name: fields[name] for name in GAUGES if name in fields}
        return float(fields["seconds"]), float(arrays["losses"].mean())

    def row(self) -> Fields:
        """Return the columns of the summary that this cell knows, for the present seed."""
        figures, note = training_figures(self.blocks)
        status, error = self.outcome
        if self.predictions.keys() >= {"single", "batched"}:
            single, batched = (np.array(self.predictions[k]) for k in ("single", "batched"))
            size = self.plan.spec.training.batch_size
            figures |= prediction_figures(single, batched, size)
        outcome = {"status": status, "error": error, "note": note}
        return {**outcome, **self.keys, **self.facts, **figures, **self.results}


def start_cell(
    info: BackendInfo,
    device: Device,
    plan: Plan,
    folder: ResultsFolder,
    scratch: Path,
    label: str,
    variables: Mapping[str, str] = {},
    side: Side = DEFAULT_SIDE,
) -> Cell:
    """Start the worker of a cell; nothing is imported in it yet.

    `variables` are added to its environment; `side` says with what it is started.

    Its temporary files go to a folder of its own below `scratch`: none are left behind, and no
    cache of an earlier run, such as that of torch.compile, makes its first step seem short.
    """
    temporary = scratch / label.replace(" ", "_")
    temporary.mkdir()
    log = folder.logs / f"{label.replace(' ', '_')}.log"
    environment = {
        **worker_environment(plan.environment, plan.threads, info.tuned),
        **variables,
        **side.environment,
        "TMPDIR": str(temporary),
    }
    worker = WorkerProcess(label, log, environment, plan.threads, side.python)
    return Cell(info, device, label, worker, plan, dict(side.tag))


def begin_import(cell: Cell) -> None:
    """Have the framework imported, without waiting for it.

    Raises:
        WorkerError: the worker is gone.

    """
    setting = asdict(Setting(cell.device, cell.plan.precision, cell.plan.threads))
    target, variant = cell.info.target, cell.info.variant
    cell.worker.send("prepare", target=target, variant=variant, setting=setting)


def end_import(cell: Cell) -> None:
    """Wait until the framework is imported; note versions, devices and seconds.

    Raises:
        WorkerError: as `Cell.ask`.

    """
    answer, _ = cell.worker.receive(cell.plan.timeout)
    versions: dict[str, str] = answer["versions"]
    cell.devices = {found["kind"]: found["name"] for found in reversed(answer["devices"])}
    cell.facts |= {
        "framework_version": next(iter(versions.values()), ""),
        "versions": json.dumps(versions),
        "device_name": cell.devices.get(cell.device, ""),
        "import_seconds": answer["seconds"],
    }


def open_cell(cell: Cell, folder: ResultsFolder, data: Path) -> None:
    """Have the source written, imported and built, and the training set loaded."""
    spec = cell.plan.spec
    tag = str(cell.tag.get("side", ""))
    name = "_".join(filter(None, [spec.name, cell.info.backend, cell.info.variant, tag]))
    answer, _ = cell.ask(
        "open",
        spec=spec.model_dump_json(),
        source=str((folder.models / f"{name.replace('-', '_')}.py").absolute()),
        data=str(data),
    )
    cell.facts["build_seconds"] = answer["seconds"]
