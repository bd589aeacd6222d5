"""Backends that make faults: the NumPy reference, which does what FAULT says, where it says so.

FAULT is `backend:place:seed:deed`: `left:train:1:segfault`. The place is a method of the backend or
its session; the seed is that of the last reset, and `*` is any; the deed is a function below. With
`:once` behind it, it is done only if the file FAULT_ONCE is not there yet.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from backends.numpy_backend import NumpyBackend, NumpySession
from harness.contract import import_source
from harness.run.messages import MARK, write_message

SLEEP = 3600.0


def pipe() -> int:
    return int(sys.argv[2])


def raises():
    raise RuntimeError("made on purpose")


def exits():
    print("last words", flush=True)
    os._exit(3)


def aborts():
    os.abort()


def segfault():
    """A true one: a read of address 0."""
    faulthandler._read_null()


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def memory_error():
    raise MemoryError


def hoards():
    """Take memory until somebody ends it: 2 GB at most, should nobody do so."""
    held = []
    while len(held) < 40:
        held.append(np.ones(50_000_000, np.int8))
        time.sleep(0.05)
    time.sleep(SLEEP)


def runs_out():
    """Be refused memory by the system, as where there is no more."""
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    np.ones(2**31, np.int8)


def hangs():
    time.sleep(SLEEP)


def hangs_deaf():
    """Hang, deaf to SIGTERM, as is a child."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        time.sleep(SLEEP)
    Path(os.environ["FAULT_PIDS"]).write_text(f"{os.getpid()} {child}")
    time.sleep(SLEEP)


def babbles():
    os.write(pipe(), os.urandom(4096))
    time.sleep(SLEEP)


def stammers():
    """Say half of a message, and no more."""
    os.write(pipe(), MARK + bytes(7))
    time.sleep(SLEEP)


def breaks_off():
    """Die within a message."""
    os.write(pipe(), MARK + (500).to_bytes(8, "big") + b'{"id": ')
    os._exit(4)


def boasts():
    """Announce a header of an exabyte."""
    os.write(pipe(), MARK + (2**60).to_bytes(8, "big"))
    time.sleep(SLEEP)


def boasts_arrays():
    """Announce arrays of 64 GB."""
    header = b'{"id": 1, "status": "ok", "arrays": [["losses", "float64", [8589934592]]]}'
    os.write(pipe(), MARK + len(header).to_bytes(8, "big") + header)
    time.sleep(SLEEP)


def impersonates():
    """Answer as another worker would, whose questions are counted otherwise."""
    with os.fdopen(os.dup(pipe()), "wb") as stream:
        write_message(stream, {"id": 17, "status": "ok", "seconds": 1.0})
    time.sleep(SLEEP)


def chatters():
    """Print a gigabyte."""
    line = b"chatter " * 2**17
    for _ in range(2**10):
        os.write(1, line)


def shuts():
    os.close(pipe())
    time.sleep(SLEEP)


def backwards():
    """Set the worker's clock back by an hour from here on."""
    main = sys.modules["__main__"]
    main.perf_counter = lambda: time.perf_counter() - 3600.0


def orphans():
    """Die, and leave a child that holds the pipe open."""
    child = os.fork()
    if child == 0:
        time.sleep(SLEEP)
    Path(os.environ["FAULT_PIDS"]).write_text(f"{os.getpid()} {child}")
    os._exit(5)


class FaultySession(NumpySession):
    name = ""
    seed: int | str = "-"

    def act(self, place: str) -> None:
        log(f"{place} {self.seed}")
        act(self.name, place, self.seed)

    def load(self, images, targets):
        self.act("load")
        super().load(images, targets)

    def reset(self, parameters, seed):
        self.seed = seed
        self.act("reset")
        super().reset(parameters, seed)

    def train(self, order, learning_rates, masks=None):
        self.act("train")
        losses = super().train(order, learning_rates, masks)
        return self.spoil(losses)

    def spoil(self, losses):
        kind, place, seed, deed, *_ = (os.environ.get("FAULT", "") + "::::").split(":")
        if (kind, place, seed) == (self.name, "losses", str(self.seed)):
            return {"nan": losses * np.nan, "inf": losses + np.inf, "few": losses[:-1]}[deed]
        return losses

    def predict(self, images):
        self.act("predict")
        return super().predict(images)

    def gradients(self, images, targets, masks=None):
        self.act("gradients")
        return super().gradients(images, targets, masks)

    def state(self):
        self.act("state")
        return super().state()

    def peak_device_bytes(self):
        self.act("memory")
        return super().peak_device_bytes()

    def close(self):
        self.act("close")
        super().close()


def act(name: str, place: str, seed: int | str) -> None:
    for fault in os.environ.get("FAULT", "").split():
        kind, where, when, deed, *once = (*fault.split(":"),)
        if kind == name and where == place and when in ("*", str(seed)):
            if once:
                if Path(os.environ["FAULT_ONCE"]).exists():
                    return
                Path(os.environ["FAULT_ONCE"]).touch()
            globals()[deed]()


def log(what: str) -> None:
    """Note what is about to be done, in a file of this worker."""
    if folder := os.environ.get("FAULT_LOG"):
        with (Path(folder) / f"{sys.argv[-1]}-{os.getpid()}").open("a") as file:
            file.write(what + "\n")


class Left(NumpyBackend):
    name = "left"
    variants: ClassVar = {"": ("numpy",)}
    in_all = True

    def prepare(self, variant, setting):
        log(f"backend {self.name}")
        act(self.name, "prepare", "-")
        super().prepare(variant, setting)

    def source(self, spec, variant):
        act(self.name, "source", "-")
        return super().source(spec, variant)

    def versions(self):
        return {"fault": os.environ.get("FAULT_VERSION", "1.0")}

    def open(self, path, spec, variant, setting):
        act(self.name, "open", "-")
        session = FaultySession(import_source(path), spec)
        session.name = self.name
        return session


class Right(Left):
    name = "right"
