"""Every rung, with fakes that fail on it: where the ladder stops, what it names and supposes."""

from __future__ import annotations

import csv
import json
import tempfile

import pytest
from check_climb import MODEL, PYTHONPATH, climb
from check_edits import EDITS

from harness.check.questions import RUNGS
from harness.check.report import COLUMNS

# Fault: rung, topic, where, part of the cause.
FAULTS = {
    "nobias": ("structure", "parameter", "conv1.bias", "missing"),
    "extra": ("structure", "parameter", "conv9.kernel", "no such"),
    "transposed": ("structure", "parameter", "dense1.kernel", "another order: (1, 0)"),
    "rounded": ("structure", "parameter", "conv1.kernel", ""),
    "unnamed": ("structure", "shape of the output", "bn1", "missing"),
    "no-relu": ("forward", "evaluation", "conv1", "without its activation"),
    "padding": ("forward", "evaluation", "conv1", "larger half on the other side"),
    "epsilon": ("forward", "evaluation", "bn1", "epsilon 1e-05 instead of 0.001"),
    "channels": ("forward", "evaluation", "flatten1", "NCHW"),
    "unscaled": ("forward", "training", "dropout1", "does not divide"),
    "smoothing": ("gradients", "training", "loss", "label smoothing 0.1"),
    "sum": ("gradients", "gradient", "dense1.bias", "the sum over the batch"),
    "percent": ("gradients", "gradient", "conv1.kernel", "1.01 times"),
    "unbiased": ("update", "after step 1", "bn1.variance", "unbiased estimate"),
    "decay": ("update", "after step 1", "bn1.mean", "decay 0.99 instead of 0.9"),
    "frozen": ("update", "after step 1", "dense1.bias", "before the training"),
    "forgetful": ("update", "after step 1", "conv1.kernel.velocity", "1/2"),
    "keras": ("update", "after step 2", "conv1.kernel", "inside the momentum's velocity"),
    "momentum": ("update", "after step 2", "conv1.kernel", "momentum 0.5 instead of 0.9"),
    "diverging": ("trajectory", "step 1", "loss", "no finite number"),
    "partial": ("trajectory", "step 4", "loss", ""),
    "stale": ("evaluation", "test set", "logits", ""),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """All fakes checked together, as `--backend all` would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PYTHONPATH)
        folder = tmp_path_factory.mktemp("check") / "out"
        found = climb(folder, "plain", *FAULTS, "crashing", "raising")
    return {**found, "folder": folder}


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop"])
def test_what_rounding_makes_of_a_bias_before_a_batch_norm_is_no_difference(tmp_path, optimizer):
    model = MODEL.replace(', activation = "relu" }', " }", 1)
    model = model.replace(
        '{ type = "sgd", learning_rate = 0.02, momentum = 0.9 }', OTHERS[optimizer]
    )
    found = climb(tmp_path, "noisy", "decay", model=model)
    assert of(found, "noisy")["verdict"] == "verified"
    assert of(found, "decay")["verdict"] == "differs at update: bn1.mean (after step 1)"


def test_in_float32_a_relu_tipped_by_rounding_is_told_from_those_that_no_rounding_tips(tmp_path):
    model = MODEL.replace("[8, 8, 2]", "[40, 40, 2]").replace("filters = 3", "filters = 256")
    model = model.replace("size = 2, stride = 1", "size = 20")
    options = {"precision": "float32", "steps": 2, "model": model}
    found = climb(tmp_path, "tipped", "toppled", **options)
    rung = of(found, "tipped")["rungs"][RUNGS.index("gradients")]
    assert rung["status"] == "ok"
    assert "within what rounding makes of the reference" in rung["cause"]
    assert of(found, "toppled")["verdict"].startswith("differs at gradients")


OTHERS = {
    "adam": '{ type = "adam", learning_rate = 0.02 }',
    "sgd": '{ type = "sgd", learning_rate = 0.02, momentum = 0.9 }',
    "rmsprop": '{ type = "rmsprop", learning_rate = 0.02, momentum = 0.9 }',
}


def of(report, variant):
    (found,) = [b for b in report["backends"] if b["variant"] == variant]
    return found


def test_the_reference_itself_climbs_to_the_top(report):
    plain = of(report, "plain")
    assert plain["verdict"] == "verified"
    assert [rung["rung"] for rung in plain["rungs"]] == list(RUNGS)
    assert {rung["status"] for rung in plain["rungs"]} == {"ok"}
    assert {rung["difference"] for rung in plain["rungs"]} == {0.0}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_stops_its_backend_at_its_rung_and_is_named(report, fault):
    rung, topic, where, cause = FAULTS[fault]
    rungs = of(report, fault)["rungs"]
    stopped = next(r for r in rungs if r["status"] != "ok")
    assert (stopped["rung"], stopped["topic"], stopped["where"]) == (rung, topic, where)
    assert stopped["status"] == "differs"
    assert float(stopped["difference"]) > stopped["tolerance"] or stopped["difference"] == "nan"
    assert cause in stopped["cause"]
    assert bool(cause) == bool(stopped["cause"]), stopped["cause"]
    place = RUNGS.index(rung)
    assert [r["status"] for r in rungs[:place]] == ["ok"] * place
    assert {r["status"] for r in rungs[place + 1 :]} <= {"not reached"}
    assert of(report, fault)["verdict"] == f"differs at {rung}: {where} ({topic})"


@pytest.mark.parametrize(
    ("fault", "rung", "status", "error"),
    [
        ("crashing", "update", "crashed", "exit code 3"),
        ("raising", "forward", "failed", "no kernel for this shape"),
    ],
)
def test_a_worker_that_fails_fails_at_its_rung_and_stops_no_other(
    report, fault, rung, status, error
):
    rungs = of(report, fault)["rungs"]
    place = RUNGS.index(rung)
    assert [r["status"] for r in rungs] == [
        *["ok"] * place,
        status,
        *["not reached"] * (len(RUNGS) - place - 1),
    ]
    assert error in rungs[place]["error"]
    assert of(report, fault)["verdict"] == status


def test_by_hand_and_numeric_gradients_of_the_reference_agree(report):
    (rung,) = of(report, "")["rungs"]
    assert rung["rung"] == "finite differences"
    assert rung["status"] == "ok"
    assert 0 < rung["difference"] < 1e-6


def test_the_files_say_the_same_as_the_report(report):
    folder = report["folder"]
    assert json.loads((folder / "check.json").read_text())["backends"] == report["backends"]
    with (folder / "check.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == COLUMNS
    assert len(rows) == (len(report["backends"]) - 1) * len(RUNGS) + 1
    row = next(r for r in rows if (r["variant"], r["rung"]) == ("unbiased", "update"))
    assert row["status"] == "differs"
    assert row["where"] == "bn1.variance"
    assert row["model_hash"] == report["model_hash"]
    assert row["machine_key"] == report["machine_key"]
    assert row["precision"] == "float64"
    assert {"logs", "models"} <= {path.name for path in folder.iterdir()}


def test_every_edit_of_a_source_is_tested():
    assert EDITS.keys() <= FAULTS.keys()


def test_in_float32_the_reference_is_within_what_rounding_grows_to_and_a_fault_is_not(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = climb(tmp_path / "out", "plain", "unbiased", "momentum", precision="float32")
    assert of(found, "plain")["verdict"] == "verified"
    assert of(found, "unbiased")["verdict"] == "differs at update: bn1.variance (after step 1)"
    assert of(found, "momentum")["verdict"] == "differs at update: conv1.kernel (after step 2)"
    for rung in of(found, "plain")["rungs"][3:5]:
        assert 1e-6 <= rung["tolerance"] < 1e-3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"], "nothing is left behind"
