"""Backends that make faults: the NumPy reference, which does what FAULT says, where it says so.

FAULT is `backend:place:seed:deed`: `left:train:1:segfault`. The place is a method of the backend or
its session, `import` for the first; the seed is that of the last reset, `*` is any; the deed is a
function below. With `:once` behind it, it is done only if the file FAULT_ONCE is not there yet. A
backend called `does_train_segfault` does so without being told.
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
from harness.run.agreement import CHECK_IMAGES
from harness.run.messages import MARK, write_message

SLEEP = 3600.0
OWN = "does_"


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


def hangs_deaf():
    """Hang, deaf to SIGTERM, as is a child; say so."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        time.sleep(SLEEP)
    announce(child)
    time.sleep(SLEEP)


def announce(*others: int) -> None:
    """Note which processes are not to outlive the run."""
    with Path(os.environ["FAULT_PIDS"]).open("a") as file:
        file.write(" ".join(map(str, (os.getpid(), *others))) + "\n")


def babbles():
    os.write(pipe(), os.urandom(4096))
    time.sleep(SLEEP)


def stammers():
    """Say half of a message, and no more."""
    os.write(pipe(), MARK + bytes(7))
    announce()
    time.sleep(SLEEP)


def claims():
    """Announce a million losses, send ten, and die."""
    header = (
        b'{"id": %d, "status": "ok", "seconds": 1, "arrays": [["losses", "float64", [1000000]]]}'
    )
    header %= asked()
    os.write(pipe(), MARK + len(header).to_bytes(8, "big") + header + bytes(80))
    os._exit(6)


def asked() -> int:
    """The number of the question that is being answered."""
    frame = sys._getframe()
    while "fields" not in frame.f_locals:
        frame = frame.f_back
    return int(frame.f_locals["fields"]["id"])


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


def slanders():
    """Tell of a failure at a length that no table could hold, as of a status that is none."""
    with os.fdopen(os.dup(pipe()), "wb") as stream:
        text = "x" * 200_000
        write_message(stream, {"id": asked(), "status": "planned", "error": text})
    time.sleep(SLEEP)


def chatters():
    """Print so many megabytes as FAULT_CHATTER says."""
    line = b"chatter " * 2**17
    for _ in range(int(os.environ["FAULT_CHATTER"])):
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
    announce(child)
    os._exit(5)


class FaultySession(NumpySession):
    name = ""
    seed: int | str = "-"

    def act(self, place: str) -> None:
        log(f"{place} {self.seed}")
        act(self.name, place, self.seed)

    def spoilt(self, place: str) -> str:
        """How what is returned from there is to be spoilt, if it is."""
        found = (
            f for f in faults_of(self.name) if f[1:3] in ([place, str(self.seed)], [place, "*"])
        )
        return next((fault[3] for fault in found), "")

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
        spoilt = {"nan": losses * np.nan, "inf": losses + np.inf, "few": losses[:-1]}
        return spoilt.get(self.spoilt("losses"), losses)

    def predict(self, images):
        # Of one image, of what is compared with the reference, of a batch of the test set.
        self.act({1: "predict", CHECK_IMAGES: "agree"}.get(len(images), "evaluate"))
        return super().predict(images)

    def gradients(self, images, targets, masks=None):
        self.act("gradients")
        return super().gradients(images, targets, masks)

    def state(self):
        self.act("state")
        return super().state()

    def peak_device_bytes(self):
        spoilt = {"words": "12 MB", "huge": 10**30, "list": [1]}
        return spoilt.get(self.spoilt("memory"), super().peak_device_bytes())

    def close(self):
        self.act("close")
        super().close()


def faults_of(name: str) -> list[list[str]]:
    """The faults of a backend, each as backend, place, seed, deed: FAULT's, and those of its name.

    One called `does_PLACE_DEED` does so on seed 1, or, before there is a seed, at once.
    """
    found = [fault.split(":") for fault in os.environ.get("FAULT", "").split()]
    if name.startswith(OWN):
        _, place, deed = name.split("_", 2)
        found += [[name, place, seed, deed] for seed in ("-", "1")]
    return [fault for fault in found if fault[0] == name]


def act(name: str, place: str, seed: int | str) -> None:
    for _, where, when, deed, *once in faults_of(name):
        if where == place and when in ("*", str(seed)):
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
        act(self.name, "import", "-")
        super().prepare(variant, setting)

    def source(self, spec, variant):
        act(self.name, "source", "-")
        return super().source(spec, variant)

    def versions(self):
        spoilt = {"list": ["1.0"], "long": {"fault": "1" * 200_000}}
        for _, place, _, how, *_ in faults_of(self.name):
            if place == "versions":
                return spoilt[how]
        return {"fault": os.environ.get("FAULT_VERSION", "1.0")}

    def open(self, path, spec, variant, setting):
        act(self.name, "open", "-")
        session = FaultySession(import_source(path), spec)
        session.name = self.name
        return session


class Right(Left):
    name = "right"


def __getattr__(name: str) -> type[Left]:
    """Make the class of a backend called `does_...`, of which there are as many as faults."""
    if not name.startswith(OWN):
        raise AttributeError(name)
    return type(name, (Left,), {"name": name})
