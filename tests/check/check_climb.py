"""A small model with something of every trap, and checks of fakes on it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import get_args

from harness.check.check import check, prepare_material
from harness.check.report import CheckFolder
from harness.contract import Precision
from harness.registry import BackendInfo
from harness.run.listener import Listener
from harness.run.plan import make_plan
from harness.spec import parse_spec

HERE = Path(__file__).parent
PYTHONPATH = os.pathsep.join([str(HERE), str(HERE.parents[1])])  # of the workers
MODEL = """
name = "small"
input = [8, 8, 2]
layers = [
  { type = "conv2d", filters = 3, kernel = 3, stride = 2, padding = "same", activation = "relu" },
  { type = "batch_norm", name = "bn1", decay = 0.9, epsilon = 1e-3 },
  { type = "max_pool", size = 2, stride = 1 },
  { type = "flatten" },
  { type = "dropout", rate = 0.25 },
  { type = "dense", units = 3, activation = "softmax" },
]
[training]
epochs = 3
batch_size = 8
optimizer = { type = "sgd", learning_rate = 0.02, momentum = 0.9 }
schedule = { type = "cosine" }
"""


def fake(variant: str) -> BackendInfo:
    target = "check_fakes:Faulty"
    return BackendInfo("fake", variant, target, True, (), {}, "pip install it")


NUMPY = BackendInfo(
    "numpy", "", "backends.numpy_backend:NumpyBackend", False, (), {}, "pip install it"
)


def climb(folder: Path, *variants: str, model: str = MODEL, steps: int = 12, **options):
    """Check fakes, and return what the JSON says."""
    fakes = [replace(fake(variant), precisions=get_args(Precision)) for variant in variants]
    known = [*fakes, NUMPY]
    options = {"device": "cpu", "threads": 1, "precision": "float64", **options}
    plan = make_plan(parse_spec(model, "small"), "check", known[:-1], known, timed=False, **options)
    out = CheckFolder(folder)
    return out.write(check(plan, prepare_material(plan, steps), out, Listener()))
