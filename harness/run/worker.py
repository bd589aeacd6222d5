"""A worker: one backend in a process of its own, doing what the harness asks over a pipe.

Frameworks print what they like on stdout and stderr, which are the worker's log. The clock read
here is the harness's: a backend is timed from outside its session.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from harness.contract import Backend, Probing, Session, Setting, missing_members, script_of
from harness.registry import load_backend
from harness.run.messages import read_message, write_message
from harness.run.meter import GpuMeter, open_meter
from harness.run.pending import measure_pending
from harness.run.score import score
from harness.run.streamed import StreamedSession
from harness.spec import spec_from_json

Fields = dict[str, Any]
Arrays = dict[str, NDArray[Any]]
PR_SET_PDEATHSIG = 1
SIGN_SECONDS = 5.0  # between two signs of life, where a command takes longer


class Worker:
    """Holds the backend and its session; every public method is a command.

    `alive` gives the harness a sign of life; it is called outside of what is timed.
    """

    backend: Backend
    session: Session
    meter: GpuMeter | None = None

    def __init__(self, alive: Callable[[], None] = lambda: None) -> None:
        self.alive = alive

    def prepare(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Import the framework."""
        self.variant = fields["variant"]
        self.setting = Setting(**fields["setting"])
        started = perf_counter()
        self.backend = load_backend(fields["target"])
        self.backend.prepare(self.variant, self.setting)
        seconds = perf_counter() - started
        self.meter = open_meter(self.setting.device)
        devices = [{"kind": d.kind, "name": d.name} for d in self.backend.devices()]
        return {"seconds": seconds, "versions": self.backend.versions(), "devices": devices}, {}

    def script(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Write a program, for people: the framework is not imported, and need not be there."""
        backend, spec = load_backend(fields["target"]), spec_from_json(fields["spec"])
        try:
            return script_of(backend, spec, fields["variant"])._asdict(), {}
        except NotImplementedError as error:
            return {"refused": str(error)}, {}

    def probe(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Time one piece of work, again and again for some seconds; return the shortest time.

        The answer has no `seconds` where the backend has no such work.
        """
        if not isinstance(self.backend, Probing):
            return {}, {}
        work = self.backend.probe(fields["kind"], fields["size"], self.setting)
        if work is None:
            return {}, {}
        work()  # compiles, allocates
        begun, shortest = perf_counter(), float("inf")
        while perf_counter() - begun < fields["budget"]:
            started = perf_counter()
            work()
            shortest = min(shortest, perf_counter() - started)
        return {"seconds": shortest}, {}

    def open(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Write the source, import it and build the model; load the data.

        With `given`, the source is not written: the file is imported as it lies there. With
        `window_bytes`, the framework holds no more of the training set than a window of these.
        """
        self.spec = spec_from_json(fields["spec"])
        path = Path(fields["source"])
        if not fields.get("given", False):
            path.write_text(self._source(), encoding="utf-8")
        started = perf_counter()
        self.session = self.backend.open(path, self.spec, self.variant, self.setting)
        seconds = perf_counter() - started
        if missing := missing_members(self.session, Session):
            raise TypeError(f"{type(self.session).__name__} has no method {', '.join(missing)}")
        if window_bytes := fields.get("window_bytes", 0):
            # Which has the other methods, too, but none that mypy sees.
            self.session = cast(Session, StreamedSession(self.session, window_bytes))
        self.data = Path(fields["data"])
        self.session.load(self._array("train_images"), self._array("train_targets"))
        return {"seconds": seconds}, {}

    def _source(self) -> str:
        """Have the source written; only for bfloat16 is it another one."""
        if self.setting.precision == "bfloat16":
            return self.backend.source(self.spec, self.variant, "bfloat16")
        return self.backend.source(self.spec, self.variant)

    def load(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Put other training images, as many, in the place of the first; the targets stay."""
        self.session.load(self._array(fields["images"]), self._array("train_targets"))
        return {}, {}

    def reset(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Begin anew from the given parameters."""
        self.session.reset(arrays, fields["seed"])
        return {}, {}

    def gradients(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Differentiate one batch; arrays named `mask.NAME` go to the dropout layers."""
        found = self.session.gradients(arrays["images"], arrays["targets"], _masks(arrays))
        gradients = {f"gradient.{path}": value for path, value in found.parameters.items()}
        return {"loss": found.loss}, {
            "predictions": self.session.predict(arrays["images"]),
            "logits": found.logits,
            "gradient.images": found.images,
            **gradients,
        }

    def train(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Train one block, timed; arrays named `mask.NAME` have a mask for each of its steps."""
        order, rates = arrays["order"], arrays["rates"]
        stacked = _masks(arrays)
        masks = None
        if stacked:
            masks = [{k: v[step] for k, v in stacked.items()} for step in range(len(order))]
        before = self.meter.joules() if self.meter else None
        started = perf_counter()
        losses = self.session.train(order, rates, masks)
        seconds = perf_counter() - started
        answer = {"seconds": seconds, **self._gauges(before)}
        return answer, {"losses": np.asarray(losses, np.float64)}

    def _gauges(self, before: float | None) -> Fields:
        """Return the GPU's clock, and its energy since `before`, in joules, where it tells."""
        if self.meter is None:
            return {}
        mhz, after = self.meter.mhz(), self.meter.joules()
        joules = None if before is None or after is None else after - before
        return {"joules": joules, "gpu_mhz": mhz}

    def pending(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Measure how much work is left when `train` returns, from the given parameters."""
        batch, rate = arrays.pop("batch"), float(fields["rate"])
        return asdict(measure_pending(self.session, arrays, batch, rate, perf_counter)), {}

    def activations(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Return every layer's output for `images`, by the layer's name.

        In `training` mode, arrays named `mask.NAME` go to the dropout layers.
        """
        training = bool(fields.get("training", False))
        return {}, self.session.activations(arrays["images"], _masks(arrays), training)

    def state(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Return the parameters by path."""
        return {}, self.session.state()

    def optimizer_state(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Return what the optimizer keeps of each parameter, `PATH.SLOT`."""
        return {}, self.session.optimizer_state()

    def evaluate(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Predict a split, timed batch by batch; count loss and accuracy outside the clock.

        `rows`, if given, are the row numbers to predict; else all are. With `logits`, the outputs
        `[n, outputs]` are returned as well.
        A last, partial batch is filled up with copies of its first image, so that compiled
        backends need no second shape; what the copies give is dropped.
        """
        images = self._array(f"{fields['split']}_images")
        targets = self._array(f"{fields['split']}_targets")
        rows = arrays.get("rows", np.arange(len(images)))
        size, seconds, outputs = int(fields["batch_size"]), 0.0, []
        for start in range(0, len(rows), size):
            batch = images[rows[start : start + size]]
            count = len(batch)
            if count < size:
                batch = np.concatenate([batch, np.repeat(batch[:1], size - count, axis=0)])
            started = perf_counter()
            logits = self.session.predict(batch)
            seconds += perf_counter() - started
            outputs.append(logits[:count])
            self.alive()
        found = np.concatenate(outputs)
        scores = score(self.spec, found, targets[rows])._asdict()
        answer = {"seconds": seconds, "images": len(rows), **scores}
        return answer, {"logits": found} if fields.get("logits", False) else {}

    def predict(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Time `calls` predictions of one batch, from host array to host array."""
        images = np.array(self._array("test_images")[: fields["batch_size"]])
        while len(images) < fields["batch_size"]:
            images = np.concatenate([images, images])[: fields["batch_size"]]
        seconds = np.empty(fields["calls"])
        for call in range(fields["calls"]):
            started = perf_counter()
            logits = self.session.predict(images)
            seconds[call] = perf_counter() - started
            self.alive()
            if not isinstance(logits, np.ndarray):  # which is where the waiting would be
                raise TypeError(f"predict returned a {type(logits).__name__}, no NumPy array")
        return {}, {"seconds": seconds}

    def memory(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Return the most memory held so far, on the host (resident) and on the device.

        And what the whole process, with the framework's own libraries, holds of a GPU now.
        """
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        process = self.meter.process_bytes() if self.meter else None
        return {"host": peak, "device": self.session.peak_device_bytes(), "process": process}, {}

    def close(self, fields: Fields, arrays: Arrays) -> tuple[Fields, Arrays]:
        """Free the session."""
        if hasattr(self, "session"):
            self.session.close()
        return {}, {}

    def _array(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.load(self.data / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return array


def _masks(arrays: Arrays) -> Arrays | None:
    """Return the arrays named `mask.NAME` by NAME; None where there are none."""
    masks = {k.removeprefix("mask."): v for k, v in arrays.items() if k.startswith("mask.")}
    return masks or None


COMMANDS = (
    "prepare", "script", "probe", "open", "load", "reset", "gradients", "train", "pending",
    "activations", "state", "optimizer_state", "evaluate", "predict", "memory", "close",
)  # fmt: skip


def serve(commands: BinaryIO, answers: BinaryIO) -> None:
    """Answer commands until the harness closes the pipe."""
    fields: Fields = {}
    sign = monotonic()

    def alive() -> None:
        nonlocal sign
        if monotonic() - sign >= SIGN_SECONDS:
            write_message(answers, {"id": fields["id"], "status": "alive"})
            sign = monotonic()

    worker = Worker(alive)
    while (message := read_message(commands)) is not None:
        fields, arrays = message
        sign = monotonic()
        try:
            if fields["command"] not in COMMANDS:
                raise ValueError(f"unknown command {fields['command']!r}")
            answer, results = getattr(worker, fields["command"])(fields, arrays)
        except Exception as error:
            traceback.print_exc()
            status = "out-of-memory" if _is_out_of_memory(error) else "failed"
            text = f"{type(error).__name__}: {error}"
            write_message(answers, {"id": fields["id"], "status": status, "error": text[:2000]})
        else:
            write_message(answers, {"id": fields["id"], "status": "ok", **answer}, results)


def _is_out_of_memory(error: Exception) -> bool:
    text = f"{type(error).__name__}: {error}".lower()
    signs = r"out of memory|outofmemory|resource_?exhausted|\boom\b"
    return isinstance(error, MemoryError) or re.search(signs, text) is not None


def main() -> None:
    """Run as `python -m harness.run.worker COMMANDS_FD ANSWERS_FD CPUS [PARENT]`.

    PARENT is the harness's process; older harnesses do not give it.
    """
    commands, answers, cpus = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the harness decides what Ctrl-C means
    if sys.platform == "linux":
        # A worker must not outlive the harness, however that ends.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if len(sys.argv) > 4 and not Path(f"/proc/{sys.argv[4]}").exists():  # before that
            os._exit(1)
        _be_killed_first()
        # The mask bounds every framework's threads alike, those of XLA included, which has no
        # setting of its own for them.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus])
    with os.fdopen(commands, "rb") as reader, os.fdopen(answers, "wb") as writer:
        serve(reader, writer)
    # There is nothing left to save, and to be taken down in order takes most frameworks a second.
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)
    os._exit(0)


def _be_killed_first() -> None:
    """Have the kernel, when memory runs out, end a worker rather than the harness."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


if __name__ == "__main__":
    main()
