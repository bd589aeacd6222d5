"""A backend without a framework that misbehaves on request, for a worker to load.

The variant says where and how: `train:segfault` does in `train` what `segfault` does below.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.contract import DeviceInfo, Gradients, Setting
from harness.run.messages import MARK, write_message
from harness.spec import Spec, infer


def say() -> None:
    """Print in every way there is, and read what is not there to be read."""
    print("printed")
    print("complained", file=sys.stderr)
    os.write(1, b"written past Python\n")
    subprocess.run(["echo", "said by a child"], check=True)
    assert sys.stdin.read() == ""


def fail() -> None:
    raise ValueError("a kernel of 3x3 is too small\nfor this")


def memory() -> None:
    raise MemoryError


def cuda_memory() -> None:
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")


def tight() -> None:
    raise ValueError("there is no room for this")


def leave() -> None:
    sys.exit(7)


def end() -> None:
    print("last words", flush=True)
    os._exit(3)


def segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def doze() -> None:
    time.sleep(1.0)


def linger() -> None:
    """Leave something to do at the end that takes long, and words that are not written yet."""
    atexit.register(time.sleep, 600)
    sys.stdout.reconfigure(write_through=False, line_buffering=False)
    sys.stdout.write("not yet written")


def hang() -> None:
    """Sleep, as does a child that is deaf to SIGTERM; say who both are."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    place = Path(os.environ["FAKE_PIDS"])
    place.with_suffix(".new").write_text(f"{os.getpid()} {child}")
    place.with_suffix(".new").replace(place)
    time.sleep(600)


def orphan() -> None:
    """End, leaving a child that holds the pipe open."""
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
    os._exit(5)


def babble() -> None:
    os.write(_pipe(), b"0.123 images/s\n")
    time.sleep(600)


def stammer() -> None:
    """Begin an answer and die."""
    os.write(_pipe(), MARK + bytes(7))
    os.kill(os.getpid(), signal.SIGKILL)


def mistake() -> None:
    """Answer a question that nobody asked."""
    with os.fdopen(os.dup(_pipe()), "wb") as pipe:
        write_message(pipe, {"id": 99, "status": "ok"})
    time.sleep(600)


def shut() -> None:
    os.close(_pipe())
    time.sleep(600)


def chirp() -> None:
    """Give signs of life and nothing else, as fast as they are taken."""
    with os.fdopen(os.dup(_pipe()), "wb") as pipe:
        while True:
            write_message(pipe, {"id": _asked(), "status": "alive"})


def slander() -> None:
    """Tell of a failure at length, with half a character, and a status that is none of failures."""
    with os.fdopen(os.dup(_pipe()), "wb") as pipe:
        text = "\ud800" + "x" * 200_000
        write_message(pipe, {"id": _asked(), "status": "planned", "error": text})
    time.sleep(600)


def _asked() -> int:
    """Return the number of the question that is being answered."""
    frame = sys._getframe()
    while "fields" not in frame.f_locals:
        assert frame.f_back is not None
        frame = frame.f_back
    return int(frame.f_locals["fields"]["id"])


def _pipe() -> int:
    return int(sys.argv[2])


class FakeSession:
    """Logits are the sums of the images' pixels times the output's number, plus one bias."""

    def __init__(self, spec: Spec, act: Any) -> None:
        self.outputs = infer(spec).output_shape[0]
        self.act = act
        self.largest = 0
        self.closed = False

    def load(self, images: Any, targets: Any) -> None:
        self.images, self.targets = images, targets

    def reset(self, parameters: Mapping[str, Any], seed: int) -> None:
        self.parameters = {path: np.array(value) for path, value in parameters.items()}
        self.seed = seed

    def train(
        self, order: Any, rates: Any, masks: Sequence[Mapping[str, Any]] | None = None
    ) -> Any:
        self.act("train")
        self.masks = masks
        return self.images[order].mean((1, 2, 3, 4)) * rates

    def predict(self, images: Any) -> Any:
        self.act("predict")
        self.largest = max(self.largest, len(images))
        return images.sum((1, 2, 3))[:, None] * np.arange(self.outputs, dtype=np.float32)

    def activations(
        self, images: Any, masks: Mapping[str, Any] | None = None, training: bool = False
    ) -> dict[str, Any]:
        return {"flatten1": images.reshape(len(images), -1)}

    def gradients(self, images: Any, targets: Any, masks: Any = None) -> Gradients:
        self.masks = masks
        return Gradients(0.5, self.predict(images), self.state(), np.zeros_like(images))

    def state(self) -> dict[str, Any]:
        return self.parameters

    def optimizer_state(self) -> dict[str, Any]:
        return {}

    def peak_device_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        self.closed = True


class FakeBackend:
    name = "fake"
    variants: ClassVar[Mapping[str, Sequence[str]]] = {"": ("numpy",)}
    in_all = False
    session = FakeSession

    def prepare(self, variant: str, setting: Setting) -> None:
        self.variant, self.setting = variant, setting
        self.act("prepare")

    def act(self, place: str) -> None:
        where, _, deed = self.variant.partition(":")
        if where == place:
            globals()[deed]()

    def versions(self) -> dict[str, str]:
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        return {"fake": "1.0", "cpus": str(cpus), "threads": os.environ.get("OMP_NUM_THREADS", "")}

    def devices(self) -> list[DeviceInfo]:
        return [DeviceInfo("cpu", "a fake one")]

    def source(self, spec: Spec, variant: str) -> str:
        return f"# {spec.name} {variant}\n"

    def open(self, path: Path, spec: Spec, variant: str, setting: Setting) -> FakeSession:
        self.act("open")
        self.opened = path.read_text()
        return self.session(spec, self.act)


class FakeClock:
    """Moves only when a device computes or something is fetched."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += seconds


class Queued:
    """A device that computes in a thread, and takes `step` seconds of a clock for each step.

    `waited` is the share of the steps that `train` waits for; the rest is done when asked for.
    """

    def __init__(self, clock: FakeClock, step: float, waited: float, fetch: float = 0.001) -> None:
        self.clock, self.step, self.waited, self.fetch = clock, step, waited, fetch
        self.asked: threading.Event | None = None

    def load(self, images: Any, targets: Any) -> None:
        pass

    def reset(self, parameters: Mapping[str, Any], seed: int) -> None:
        self.synchronize()
        self.parameters = dict(parameters)

    def train(self, order: Any, rates: Any, masks: Any = None) -> Lazy:
        seconds = self.step * len(order)
        self.clock.pass_(self.waited * seconds)
        self.asked = threading.Event()
        self.thread = threading.Thread(target=self.compute, args=((1 - self.waited) * seconds,))
        self.thread.start()
        return Lazy(self, rates)

    def compute(self, seconds: float) -> None:
        assert self.asked is not None
        self.asked.wait()  # so that no reading of the clock depends on who comes first
        self.clock.pass_(seconds)

    def synchronize(self) -> None:
        if self.asked is not None:
            self.asked.set()
            self.thread.join()
            self.asked = None

    def state(self) -> dict[str, Any]:
        self.synchronize()
        self.clock.pass_(self.fetch)
        return self.parameters


class Lazy:
    """An array on the device: to have it on the host is to wait for it."""

    def __init__(self, device: Any, value: Any) -> None:
        self.device, self.value = device, value

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        self.device.synchronize()
        return np.asarray(self.value, dtype)

    def __len__(self) -> int:
        return len(self.value)
