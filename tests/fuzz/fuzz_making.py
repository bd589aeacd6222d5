"""What a fuzz needs to work with the fakes."""

from __future__ import annotations

import os
from pathlib import Path

from harness.registry import BackendInfo

HERE = Path(__file__).parent
PYTHONPATH = os.pathsep.join([str(HERE), str(HERE.parents[1])])  # of the workers
NUMPY = [
    BackendInfo("numpy", v, "backends.numpy_backend:NumpyBackend", False, (), {}, "pip install it")
    for v in ("", "rounded")
]


def fake(variant: str) -> BackendInfo:
    return BackendInfo("fake", variant, "fuzz_fakes:Faulty", True, (), {}, "pip install it")
