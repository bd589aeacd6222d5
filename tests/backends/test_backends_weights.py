"""Weights that torch trained and saved give the same logits in every other framework."""

from __future__ import annotations

import numpy as np
import pytest
from studies import backends, installed

from harness.data import load
from harness.run.folder import ResultsFolder
from harness.run.listener import Listener
from harness.run.plan import make_plan
from harness.run.predict import compare_logits, predict
from harness.run.run import run
from harness.run.weights import read_weights
from harness.spec import parse_spec

# Statistics, a convolution in groups, a flattening and a dense layer: what has a layout.
MODEL = """
name = "layouts"
input = [8, 9, 2]
layers = [
  { type = "conv2d", filters = 6, kernel = [3, 2], padding = "same", activation = "relu" },
  { type = "batch_norm", decay = 0.5, epsilon = 1e-3 },
  { type = "conv2d", filters = 4, kernel = 3, groups = 2 },
  { type = "max_pool", size = 2 },
  { type = "flatten" },
  { type = "dropout", rate = 0.25 },
  { type = "dense", units = 5, activation = "softmax" },
]
[training]
epochs = 2
batch_size = 16
"""
DATASET = "synthetic:8x9x2:5:200"
LABELS = ("torch", "tensorflow", "flax", "keras", "numpy")
pytestmark = [mark for label in LABELS for mark in installed(label)]


def test_weights_saved_by_torch_give_the_same_logits_in_every_framework(tmp_path):
    known, dataset = list(backends().values()), load(DATASET)
    options = {"device": "cpu", "threads": 1}
    torch = [backends()["torch"]]
    plan = make_plan(
        parse_spec(MODEL, "layouts"), DATASET, torch, known, seeds=1, save_weights=True, **options
    )
    (row,) = run(plan, dataset, ResultsFolder(tmp_path / "out"), Listener())
    given = read_weights(tmp_path / "out" / "weights" / "torch-cpu-0.safetensors")

    chosen = [backends()[label] for label in LABELS]
    plan = make_plan(given.spec, DATASET, chosen, known, timed=False, **options)
    first, *others = predict(plan, given.arrays, dataset, Listener())
    assert first.error == ""
    assert first.loss == pytest.approx(row["test_loss"], rel=1e-6)
    assert first.accuracy == row["test_accuracy"]
    assert np.ptp(first.logits) > 0.1
    for other in others:
        assert other.error == ""
        beside = compare_logits(other.logits, first.logits, has_classes=True)
        assert beside.relative < 1e-5, other.label
