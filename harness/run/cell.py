"""A cell of a run: one backend on one device, its worker, and what is known of it so far."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contract import Device, Setting
from harness.errors import WorkerError
from harness.registry import BackendInfo
from harness.run.durable import storing
from harness.run.environment import worker_environment
from harness.run.figures import prediction_figures, training_figures
from harness.run.folder import ResultsFolder
from harness.run.messages import Arrays
from harness.run.plan import Plan
from harness.run.process import WorkerProcess
from harness.run.streamed import WINDOW_BYTES

Fields = dict[str, Any]
GAUGES = ("joules", "gpu_mhz")  # of a block, columns of the samples
MOST_TEXT = 10_000  # characters of versions and a device's name
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


def figure(fields: Fields, name: str) -> float | None:
    """Return a number that a worker answered, None where it has none to tell.

    Raises:
        WorkerError: it is no number, which no table could be read with.

    """
    value = fields[name]
    if value is None or type(value) is float or (type(value) is int and abs(value) < 2**63):
        return value
    raise WorkerError(f"an answer of no use: {name} is {value!r:.60}, no number")


@dataclass
class Cell:
    """One backend on one device.

    `tag` are columns that tell it from other cells of the same backend and device. `devices` are
    those that its framework sees, name by kind, once it is imported. `number` counts the workers
    that the backend has had on this device, this one included. `facts` are
    columns of the summary that hold for every seed. Of the present seed, `results`
    are columns too, `blocks` the measured blocks of training, `predictions` the seconds of each
    call, with one image ("single") and with a batch ("batched"), and `outcome` the status and
    the error behind it. One that has `reached` the run's accuracy does not train on. A cell whose
    worker is gone is `dead`; one that sits a seed out `rests`.
    One that has been through the preparation `is_warm`, and from then on keeps of each command the
    longest of the worker's `silences`. `strikes` are workers that have failed one after the other.
    What a GPU told while the last block was trained is in `gauges`.
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
    number: int = 1
    rests: bool = False
    is_warm: bool = False
    silences: dict[str, float] = field(default_factory=dict)
    strikes: int = 0

    @property
    def running(self) -> bool:
        """Whether it takes part in what comes next."""
        return not self.dead and not self.rests and self.outcome[0] == "ok"

    @property
    def training(self) -> bool:
        """Whether it takes part in what comes next of the training."""
        return self.running and not self.reached

    @property
    def keys(self) -> Fields:
        """The columns that name it, and its worker, in both files."""
        named = {"backend": self.info.backend, "variant": self.info.variant, "device": self.device}
        return {**named, "worker": self.number, **self.tag}

    def ask(self, command: str, arrays: Arrays = {}, **fields: Any) -> Answer:  # noqa: B006 (never changed)
        """Send a command to the worker and wait for the answer.

        Raises:
            WorkerError: it failed, crashed or did not answer in time.

        """
        self.send(command, arrays, **fields)
        return self.receive(command)

    def send(self, command: str, arrays: Arrays = {}, **fields: Any) -> None:  # noqa: B006 (never changed)
        """Send a command to the worker, without waiting for the answer.

        Raises:
            WorkerError: it is gone, or did not take the command in time.

        """
        timeout = self.plan.limits.seconds(command, self.is_warm)
        self.worker.send(command, arrays, timeout=timeout, **fields)

    def receive(self, command: str) -> Answer:
        """Wait for the answer to a command that was sent to the worker.

        Raises:
            WorkerError: it failed, crashed or did not answer in time.

        """
        limits = self.plan.limits
        silence = limits.silent(self.silences.get(command))
        answer = self.worker.receive(limits.seconds(command, self.is_warm), silence)
        if self.is_warm:
            silence = self.worker.longest_silence
            self.silences[command] = max(self.silences.get(command, 0.0), silence)
        return answer

    def begin_seed(self) -> None:
        """Forget what belongs to the seed before."""
        self.results, self.blocks, self.predictions, self.reached = {}, [], {}, False
        if not self.dead:
            self.outcome = ("ok", "")

    def fail(self, error: WorkerError) -> None:
        """Note the failure, and end the worker: what state it is in nobody knows."""
        self.outcome, self.dead = (error.status, str(error)), True
        self.strikes += 1
        self.worker.kill()

    def train(self, order: NDArray[np.int64], rates: NDArray[np.float64]) -> tuple[float, float]:
        """Train one block; return its seconds and the mean loss of its steps.

        Raises:
            WorkerError: as `ask`; or the answer makes no sense.

        """
        seconds, losses = self.train_steps(order, rates)
        return seconds, float(losses.mean())

    def train_steps(
        self, order: NDArray[np.int64], rates: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64]]:
        """Train one block; return its seconds and the loss of each step, as `train`."""
        fields, arrays = self.ask("train", {"order": order, "rates": rates})
        self.gauges = {name: figure(fields, name) for name in GAUGES if name in fields}
        seconds, losses = float(fields["seconds"]), arrays["losses"]
        if losses.shape != rates.shape:
            raise WorkerError(
                f"{self.label}: train returned losses of the shape {list(losses.shape)}; "
                f"the block has {len(rates)} steps"
            )
        return self.timed(seconds, "a block"), losses

    def predict(self, size: int, calls: int) -> NDArray[np.float64]:
        """Have a batch of so many images predicted some times; return the seconds of each call.

        Raises:
            WorkerError: as `ask`; or the answer makes no sense.

        """
        _, arrays = self.ask("predict", batch_size=size, calls=calls)
        seconds = arrays["seconds"].astype(np.float64)
        if seconds.shape != (calls,):
            raise WorkerError(
                f"{self.label}: predict returned times of the shape {list(seconds.shape)}; "
                f"there were {calls} calls"
            )
        for value in seconds.tolist():
            self.timed(value, "a prediction")
        return seconds

    def timed(self, seconds: float, what: str) -> float:
        """Return seconds that a worker measured.

        Raises:
            WorkerError: its clock went back, or they are no number.

        """
        if not 0 <= seconds < float("inf"):
            raise WorkerError(f"{self.label}: by its clock {what} took {seconds} s")
        return seconds

    def row(self) -> Fields:
        """Return the columns of the summary that this cell knows, for the present seed."""
        figures, note = training_figures(self.blocks)
        status, error = self.outcome
        if status == "ok" and self.facts.get("equivalent") is False:
            status = "differs"
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
    worker = _start_worker(info, label, plan, folder, scratch, variables, side)
    return Cell(info, device, label, worker, plan, dict(side.tag))


def _start_worker(
    info: BackendInfo,
    label: str,
    plan: Plan,
    folder: ResultsFolder,
    scratch: Path,
    variables: Mapping[str, str] = {},
    side: Side = DEFAULT_SIDE,
) -> WorkerProcess:
    name = label.replace(" ", "_")
    with storing(scratch):
        own = tempfile.mkdtemp(prefix=f"{name}-", dir=scratch)
    environment = {
        **worker_environment(plan.environment, plan.threads, info.tuned),
        **variables,
        **side.environment,
        "TMPDIR": own,
    }
    log = folder.logs / f"{name}.log"
    return WorkerProcess(label, log, environment, plan.threads, side.python, plan.memory)


def restart_cell(cell: Cell, folder: ResultsFolder, scratch: Path) -> None:
    """Give a cell whose worker is gone another one; nothing is imported in it yet."""
    cell.worker = _start_worker(cell.info, cell.label, cell.plan, folder, scratch)
    cell.number += 1
    cell.dead = cell.rests = cell.is_warm = False
    cell.outcome, cell.silences = ("ok", ""), {}


def begin_import(cell: Cell) -> None:
    """Have the framework imported, without waiting for it.

    Raises:
        WorkerError: the worker is gone.

    """
    setting = asdict(Setting(cell.device, cell.plan.precision, cell.plan.threads))
    target, variant = cell.info.target, cell.info.variant
    cell.send("prepare", target=target, variant=variant, setting=setting)


def end_import(cell: Cell) -> None:
    """Wait until the framework is imported; note versions, devices and seconds.

    Raises:
        WorkerError: as `Cell.ask`.

    """
    answer, _ = cell.worker.receive(cell.plan.limits.seconds("prepare", is_warm=False))
    versions = {str(name): str(version) for name, version in answer["versions"].items()}
    devices = reversed(answer["devices"])
    cell.devices = {str(found["kind"]): str(found["name"]) for found in devices}
    facts = {
        "framework_version": next(iter(versions.values()), ""),
        "versions": json.dumps(versions),
        "device_name": cell.devices.get(cell.device, ""),
    }
    if (count := sum(map(len, facts.values()))) > MOST_TEXT:  # no table could be read with it
        raise WorkerError(f"{cell.label}: versions of {count:,} characters; allowed: {MOST_TEXT:,}")
    cell.facts |= {**facts, "import_seconds": figure(answer, "seconds")}


def open_cell(cell: Cell, folder: ResultsFolder, data: Path) -> None:
    """Have the source written, imported and built, and the training set loaded.

    Raises:
        WorkerError: as `Cell.ask`.

    """
    begin_open(cell, folder, data)
    end_open(cell)


def begin_open(cell: Cell, folder: ResultsFolder, data: Path) -> None:
    """Have it done, without waiting for it.

    Raises:
        WorkerError: the worker is gone.

    """
    spec = cell.plan.spec
    tag = str(cell.tag.get("side", ""))
    name = "_".join(filter(None, [spec.name, cell.info.backend, cell.info.variant, tag]))
    cell.send(
        "open",
        spec=spec.model_dump_json(),
        source=str((folder.models / f"{name.replace('-', '_')}.py").absolute()),
        data=str(data),
        window_bytes=WINDOW_BYTES if cell.plan.stream == "always" else 0,
    )


def end_open(cell: Cell) -> None:
    """Wait until it is done; note the seconds.

    Raises:
        WorkerError: as `Cell.ask`.

    """
    answer, _ = cell.receive("open")
    cell.facts["build_seconds"] = figure(answer, "seconds")
