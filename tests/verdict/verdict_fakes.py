"""Backends whose steps take exactly what a fake clock says; the NumPy reference computes them.

The clock is put in the place of the worker's own, so no test depends on how fast anything is. Each
process has its own luck, 1 %, and each block 1 % more, both drawn from the pair and the side.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import zlib
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from backends.numpy_backend import NumpyBackend, NumpySession
from harness.contract import import_source

STEP = 0.01


class FakeClock:
    """Stands still but for what is added."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


CLOCK = FakeClock()


class SteadySession(NumpySession):
    slowdown = 1.0

    def reset(self, parameters, seed):
        super().reset(parameters, seed)
        if not hasattr(self, "noise"):
            place = "/".join(Path(os.environ["TMPDIR"]).parts[-2:])
            self.noise = np.random.default_rng(zlib.crc32(place.encode()))
            self.cost = float(os.environ.get("FAKE_SLOWDOWN", "1")) * self.slowdown
            self.cost *= STEP * (1 + 0.01 * self.noise.standard_normal())

    def spend(self, steps):
        CLOCK.seconds += steps * self.cost * (1 + 0.01 * self.noise.standard_normal())

    def train(self, order, learning_rates, masks=None):
        self.spend(len(order))
        return np.ones(len(order))

    def predict(self, images):
        if hasattr(self, "noise"):
            self.spend(0.3)
        return super().predict(images)


class Steady(NumpyBackend):
    name = "steady"
    variants: ClassVar = {"": ("numpy",)}
    in_all = True
    session = SteadySession

    def prepare(self, variant, setting):
        sys.modules["__main__"].perf_counter = CLOCK
        self.precision = setting.precision

    def versions(self):
        malloc = str(os.environ.get("MALLOC_TOP_PAD_"))
        found = {"steady": "1.0", "python": sys.executable}
        return {**found, "precision": self.precision, "malloc": malloc}

    def open(self, path, spec, variant, setting):
        return self.session(import_source(path), spec)


class SlowerSession(SteadySession):
    slowdown = 1.1


class Slower(Steady):
    """10 % slower."""

    name = "slower"
    session = SlowerSession


class PlacedSession(SteadySession):
    def train(self, order, learning_rates, masks=None):
        Placed.note("train")
        return super().train(order, learning_rates, masks)


class Placed(Steady):
    """Notes on which cores it imports and trains, those of a thread that it began early, too."""

    name = "placed"
    session = PlacedSession

    @staticmethod
    def note(what):
        with Path(os.environ["FAKE_PLACES"]).open("a") as file:
            for thread in Path("/proc/self/task").iterdir():
                cores = sorted(os.sched_getaffinity(int(thread.name)))
                file.write(json.dumps([os.getpid(), what, cores]) + "\n")

    def prepare(self, variant, setting):
        super().prepare(variant, setting)
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        self.note("import")


class CrashingSession(SteadySession):
    def train(self, order, learning_rates, masks=None):
        if self.noise.uniform() < 0.2:  # one call in five: no comparison gets past that
            os._exit(3)
        return super().train(order, learning_rates, masks)


class Crashing(Steady):
    """Ends somewhere in its first pairs."""

    name = "crashing"
    session = CrashingSession


class DivergingSession(SteadySession):
    def train(self, order, learning_rates, masks=None):
        return super().train(order, learning_rates, masks) * np.nan


class Diverging(Steady):
    """Its loss is no number."""

    name = "diverging"
    session = DivergingSession


class WrongSession(SteadySession):
    def gradients(self, images, targets, masks=None):
        found = super().gradients(images, targets, masks)
        wrong = {**found.parameters, "dense1.bias": found.parameters["dense1.bias"] * 1.01}
        return replace(found, parameters=wrong)


class Wrong(Steady):
    """One gradient is 1 % too large."""

    name = "wrong"
    session = WrongSession


class Lying(Steady):
    """Answers something else than was asked for."""

    name = "lying"

    def versions(self):
        return ["1.0"]
