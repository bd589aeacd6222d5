"""Backends for the tests of a run: the NumPy reference, and what can go wrong with it."""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from backends.numpy_activations import Relu
from backends.numpy_backend import NumpyBackend, NumpySession
from harness.contract import DeviceInfo, import_source


class Twin(NumpyBackend):
    """The reference under another name."""

    name = "twin"
    variants: ClassVar = {"": ("numpy",)}
    in_all = True
    script = None  # the reference's refuses
    session = NumpySession

    def open(self, path, spec, variant, setting):
        return self.session(import_source(path), spec)


class Other(Twin):
    name = "other"


class WrongSession(NumpySession):
    def gradients(self, images, targets, masks=None):
        found = super().gradients(images, targets, masks)
        wrong = {**found.parameters, "dense1.bias": found.parameters["dense1.bias"] * 1.01}
        return replace(found, parameters=wrong)


class Wrong(Twin):
    """One gradient is 1 % too large."""

    name = "wrong"
    session = WrongSession


class TippingSession(NumpySession):
    """Has a ReLU on the other side of its bend: that whose input is nearest to it."""

    def gradients(self, images, targets, masks=None):
        (relu,) = (layer for layer in self.leaves if isinstance(layer, Relu))

        def tipped(x):
            is_on = Relu.derivative(relu, x)
            is_other = self.is_other(np.abs(x))
            return np.where(is_other, 1 - is_on, is_on)

        relu.derivative = tipped
        return super().gradients(images, targets, masks)

    def is_other(self, distance):
        return distance == distance.min()


class Tipping(Twin):
    """As rounding does it."""

    name = "tipping"
    session = TippingSession


class TopplingSession(TippingSession):
    def is_other(self, distance):
        return distance < 1e-4


class Toppling(Twin):
    """As no rounding does it."""

    name = "toppling"
    session = TopplingSession


class FailingSession(NumpySession):
    """Trains well for one seed, then does `harm`."""

    resets: tuple[int, ...] = ()

    def reset(self, parameters, seed):
        super().reset(parameters, seed)
        self.resets = (*self.resets, seed)

    def train(self, order, learning_rates, masks=None):
        losses = super().train(order, learning_rates, masks)
        return losses if self.resets[-1] == 0 else self.harm(losses)


class CrashingSession(FailingSession):
    def harm(self, losses):
        print("about to crash")
        os._exit(3)


class Crashing(Twin):
    name = "crashing"
    session = CrashingSession


class DivergingSession(FailingSession):
    def harm(self, losses):
        return losses * np.nan


class Diverging(Twin):
    name = "diverging"
    session = DivergingSession


class HangingSession(FailingSession):
    def harm(self, losses):
        time.sleep(3600)


class Hanging(Twin):
    name = "hanging"
    session = HangingSession


class WaitingSession(FailingSession):
    """Says in a file that it is in its second block of seed 1, and lets it last."""

    blocks = 0

    def harm(self, losses):
        self.blocks += 1
        if self.blocks == 2:
            Path(os.environ["FLOW_SIGNAL"]).touch()
        time.sleep(0.2)
        return losses


class Waiting(Twin):
    name = "waiting"
    session = WaitingSession


class Broken(Twin):
    """Cannot even be prepared."""

    name = "broken"

    def prepare(self, variant, setting):
        raise RuntimeError("no such luck")


class Prober(Twin):
    """Computes and copies at rates of its own, by a clock that nothing else moves."""

    name = "prober"
    flops, bandwidth, now = 4e9, 2e9, 0.0

    def probe(self, kind, size, setting):
        sys.modules["__main__"].perf_counter = lambda: self.now  # the worker's
        amounts = {"product": 2 * size**3, "copy": 2 * size}
        if kind not in amounts:
            return None
        rate = self.bandwidth if kind == "copy" else self.flops

        def work():
            self.now += amounts[kind] / rate

        return work


class FasterProber(Prober):
    name = "fasterprober"
    flops = 8e9


class BrokenProber(Twin):
    """Fails where it is to compute, and in nothing else."""

    name = "brokenprober"

    def probe(self, kind, size, setting):
        raise RuntimeError("no such unit")


class UnlikeSession(NumpySession):
    def predict(self, images):
        return super().predict(images) * 1.001


class Unlike(Twin):
    """Its logits are 0.1 % too large."""

    name = "unlike"
    session = UnlikeSession


class SmallOnlySession(NumpySession):
    def predict(self, images):
        if 1 < len(images) < 10:  # what the comparison takes is larger
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().predict(images)


class SmallOnly(Twin):
    name = "smallonly"
    session = SmallOnlySession


class LearnerSession(NumpySession):
    """Is right about no image until so many steps were trained, then about all.

    In the data of its test, an image's first pixel tells its class.
    """

    steps_needed, steps = 20, 0

    def reset(self, parameters, seed):
        super().reset(parameters, seed)
        self.steps = 0

    def train(self, order, learning_rates, masks=None):
        self.steps += len(order)
        return super().train(order, learning_rates, masks)

    def predict(self, images):
        right = np.eye(3)[np.round(images[:, 0, 0, 0]).astype(int)]
        return right if self.steps >= self.steps_needed else -right


class Learner(Twin):
    name = "learner"
    session = LearnerSession


class SlowLearnerSession(LearnerSession):
    steps_needed = 30


class SlowLearner(Twin):
    name = "slowlearner"
    session = SlowLearnerSession


class Slow(Twin):
    """Notes in a folder when it imported and built, and imports only with others beside it."""

    def note(self, deed):
        folder, begun, deadline = Path(os.environ["FLOW_SIGNAL"]), time.monotonic(), 60.0
        (folder / f"begun-{deed}.{os.getpid()}").touch()
        together = int(os.environ["FLOW_TOGETHER"]) if deed == "import" else 1
        while len(list(folder.glob(f"begun-{deed}.*"))) < together:
            assert time.monotonic() < begun + deadline, "nobody came"
            time.sleep(0.01)
        time.sleep(0.2)
        (folder / f"{deed}.{os.getpid()}").write_text(f"{begun} {time.monotonic()}")

    def prepare(self, variant, setting):
        self.note("import")

    def open(self, path, spec, variant, setting):
        self.note("build")
        return super().open(path, spec, variant, setting)


class Slower(Slow):
    name = "slower"


class Slowest(Slow):
    name = "slowest"


class WithGpu(Twin):
    name = "withgpu"

    def devices(self):
        return [DeviceInfo("cpu", "cpu"), DeviceInfo("gpu", "Imaginary 1")]


class RecordingSession(NumpySession):
    """Keeps in a folder what it is given to train on."""

    def load(self, images, targets):
        super().load(images, targets)
        folder = Path(os.environ["FLOW_RECORDS"])
        np.save(folder / f"{len(list(folder.iterdir())):03}.npy", images)


class Recording(Twin):
    name = "recording"
    session = RecordingSession


class EarlySession(NumpySession):
    """Trains in a thread, and returns at once; 5 ms a step, by a clock that nothing else moves."""

    now, asked = 0.0, None

    def __init__(self, *arguments):
        super().__init__(*arguments)
        sys.modules["__main__"].perf_counter = lambda: self.now  # the worker's

    def train(self, order, learning_rates, masks=None):
        self.synchronize()
        self.asked = threading.Event()
        self.losses = np.zeros(len(order))
        self.thread = threading.Thread(target=self.compute, args=(order, learning_rates, masks))
        self.thread.start()
        return self.losses

    def compute(self, *arguments):
        self.asked.wait()
        self.losses[:] = super().train(*arguments)
        self.now += 0.005 * len(self.losses)

    def synchronize(self):
        if self.asked is not None:
            self.asked.set()
            self.thread.join()
            self.asked = None

    def state(self):
        self.synchronize()
        return super().state()

    def reset(self, parameters, seed):
        self.synchronize()
        super().reset(parameters, seed)


class Early(Twin):
    name = "early"
    session = EarlySession
