"""Fakes, and what a fuzz needs to work with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.fuzz.fuzz import Watcher, fuzz, make_fuzz_plan
from harness.fuzz.report import FuzzFolder
from harness.registry import BackendInfo

HERE = Path(__file__).parent
PYTHONPATH = os.pathsep.join([str(HERE), str(HERE.parents[1])])  # of the workers
NUMPY = [
    BackendInfo("numpy", v, "backends.numpy_backend:NumpyBackend", False, (), {}, "pip install it")
    for v in ("", "rounded")
]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)


def fake(variant: str) -> BackendInfo:
    return BackendInfo("fake", variant, "fuzz_fakes:Faulty", True, (), {}, "pip install it")


@pytest.fixture
def carry_out(tmp_path):
    """Fuzz with fakes; return what was found, and the folder."""

    def carry_out(*variants, specs=30, seed=0, seconds=300.0, watcher=None):
        fakes = [fake(variant) for variant in variants]
        plan, rounded = make_fuzz_plan(fakes, [*fakes, *NUMPY], timeout=60.0)
        folder = FuzzFolder(tmp_path / "found")
        options = {"specs": specs, "seconds": seconds, "seed": seed}
        found = fuzz(plan, rounded, folder, watcher or Watcher(), **options)
        return found, folder

    return carry_out
