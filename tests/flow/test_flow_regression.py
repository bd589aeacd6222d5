"""A network that predicts values, from its dataset to its results."""

from __future__ import annotations

import numpy as np
import pytest
from flow_model import MODEL

from harness.data import load
from harness.errors import UsageError
from harness.show.table import read_lines, remarks, results_table

DATASET = "synthetic-regression:6x6x1:3:240"
VALUES = """
name = "small"
input = [6, 6, 1]
layers = [
  { type = "conv2d", filters = 8, kernel = 3, activation = "relu" },
  { type = "flatten" },
  { type = "dense", units = 3 },
]
[training]
epochs = 20
batch_size = 8
optimizer = { type = "adam", learning_rate = 0.01 }
"""


@pytest.mark.parametrize("loss", ["mean_squared_error", "huber"])
def test_values_are_learnt_and_their_error_stands_in_the_results(go, loss):
    model = VALUES.replace("[training]", f'[training]\nloss = "{loss}"')
    ran = go("twin", "other", seeds=1, block_steps=30, model=model, dataset=DATASET)
    row = ran.row("twin")
    assert (row["status"], row["equivalent"]) == ("ok", True)
    assert row["test_accuracy"] is None
    assert 0 < row["test_mae"] < row["test_rmse"]
    spread = load(DATASET).test_labels.std()
    assert row["test_rmse"] < 0.5 * spread, "better than the mean"
    if loss == "mean_squared_error":
        assert row["test_rmse"] == pytest.approx(np.sqrt(row["test_loss"]))
    assert ran.of("test")[-1]["rmse"] in {ran.row(name)["test_rmse"] for name in ("twin", "other")}
    lines = read_lines(ran.path)
    assert results_table(lines).columns[2].header == "test\nrmse"
    assert not any("ccurac" in remark for remark in remarks(lines))


def test_classes_have_an_accuracy_and_no_such_error(go):
    row = go("twin", seeds=1).row("twin")
    assert row["test_accuracy"] is not None
    assert row["test_rmse"] is row["test_mae"] is None


def test_a_loss_on_classes_is_refused_before_any_worker_starts(go, tmp_path):
    with pytest.raises(UsageError, match="cross_entropy needs class labels"):
        go("twin", model=MODEL, dataset=DATASET)
    assert not list((tmp_path / "out" / "logs").iterdir())
