"""A run beside what the machine can do, and one that ends where an accuracy is reached."""

from __future__ import annotations

import json

import numpy as np
import pytest
from flow_model import MODEL, info

from harness.errors import Interrupted, UsageError
from harness.run.folder import read_rows
from harness.run.limit import training_limit
from harness.run.listener import Listener
from harness.run.peaks import COPY_BYTES, find_peaks, known_peaks
from harness.spec import parse_spec


class Heard(Listener):
    def __init__(self) -> None:
        self.said: list[tuple] = []

    def phase(self, label, phase):
        self.said.append((label, phase))

    def failed(self, label, status, message):
        self.said.append((label, status, message))

    def reached(self, *fields):
        self.said.append(("reached", *fields))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_fastest_of_all_backends_sets_the_limit_and_it_is_measured_once(go):
    heard = Heard()
    ran = go("prober", "fasterprober", seeds=1, limit=True, listener=heard)
    peaks = known_peaks("cpu", 1, "float32")
    assert peaks.flops == pytest.approx(8e9)
    assert peaks.flops_by == "fasterprober product 2048"
    assert peaks.bandwidths == tuple((2 * size, pytest.approx(2e9)) for size in COPY_BYTES["cpu"])
    limit = training_limit(parse_spec(MODEL, "small"), peaks)
    for row in ran.rows:
        assert row["limit_images_per_second"] == pytest.approx(limit)
        assert row["fraction_of_limit"] == pytest.approx(row["train_images_per_second"] / limit)
    (kept,) = json.loads((ran.path / "machine.json").read_text())["peaks"]
    assert kept["flops"] == peaks.flops
    spoken = [phase for _, phase in heard.said if "peak" in phase]
    assert spoken == ["peak of this machine's cpu, once for all runs"] * 2
    again = Heard()
    assert find_peaks(["cpu"], 1, "float32", [info("prober")], again) == {"cpu": peaks}
    assert again.said == []
    anew = find_peaks(["cpu"], 1, "float32", [info("prober")], again, anew=True)
    assert anew["cpu"].flops == pytest.approx(4e9)
    assert known_peaks("cpu", 1, "float32") == anew["cpu"]


def test_a_backend_that_fails_at_it_is_left_out_and_trains_all_the_same(go):
    heard = Heard()
    ran = go("prober", "brokenprober", seeds=1, limit=True, listener=heard)
    assert [row["status"] for row in ran.rows] == ["ok", "ok"]
    assert known_peaks("cpu", 1, "float32").flops == pytest.approx(4e9)
    (failure,) = [said for said in heard.said if said[0] == "brokenprober" and len(said) == 3]
    assert failure[1] == "no peak: failed"
    assert "no such unit" in failure[2]


def test_without_a_limit_both_columns_are_empty_as_where_nobody_can_measure(go):
    row = go("twin", seeds=1, limit=True).row("twin")
    assert (row["limit_images_per_second"], row["fraction_of_limit"]) == (None, None)


LABELLED = MODEL + "validation_split = 0.25\n"


@pytest.fixture
def told(tmp_path):
    """Images whose first pixel is their class."""
    labels = np.arange(108) % 3
    images = np.random.default_rng(0).random((108, 6, 6, 1), np.float32)
    images[:, 0, 0, 0] = labels
    path = tmp_path / "told.npz"
    split = {"x_train": images[:84], "y_train": labels[:84]}
    np.savez(path, **split, x_test=images[84:], y_test=labels[84:])
    return f"npz:{path}"


def test_each_backend_stops_at_the_epoch_that_reaches_the_accuracy(go, told):
    heard = Heard()
    ran = go(
        "learner",
        "slowlearner",
        dataset=told,
        epochs=4,
        target_accuracy=0.9,
        listener=heard,
    )
    assert [row["status"] for row in ran.rows] == ["differs"] * 4, "they learn by another rule"
    for seed in (0, 1):
        for name, epochs in (("learner", 2), ("slowlearner", 3)):
            row = ran.row(name, seed)
            blocks = ran.of("train", backend=name, seed=seed)
            assert row["target_accuracy"] == 0.9
            assert row["epochs_to_target"] == epochs
            assert row["seconds_to_target"] == pytest.approx(sum(b["seconds"] for b in blocks))
            assert {block["epoch"] for block in blocks} == set(range(1, epochs + 1))
            assert [s["accuracy"] for s in ran.of("test", backend=name, seed=seed)] == [0.0] * (
                epochs - 1
            ) + [1.0]
            assert row["test_accuracy"] == 1.0
            assert row["predict_ms_p50"] is not None
            assert row["peak_host_bytes"] is not None
    first, second = (ran.row(name, 0)["order_hash"] for name in ("learner", "slowlearner"))
    assert first != second, "one trained on fewer batches"
    reached = [said[1:4] for said in heard.said if said[0] == "reached"]
    assert reached == [
        (name, seed, epochs)
        for seed in (0, 1)
        for name, epochs in (("learner", 2), ("slowlearner", 3))
    ]
    steps = [said[5] for said in heard.said if said[0] == "reached"]
    assert steps == [20, 10] * 2, "what is not trained any more"


def test_with_validation_that_decides_and_the_test_set_is_seen_then(go, told):
    ran = go("learner", dataset=told, model=LABELLED, epochs=6, target_accuracy=1.0, seeds=1)
    row = ran.row("learner")
    assert row["epochs_to_target"] == 3, "7 steps an epoch"
    assert [s["epoch"] for s in ran.of("validation")] == [1, 2, 3]
    assert [s["epoch"] for s in ran.of("test")] == [3]
    assert row["test_accuracy"] == 1.0


class Ending(Heard):
    """Ends the run when a backend has reached the accuracy on the second seed."""

    def reached(self, label, seed, *fields):
        super().reached(label, seed, *fields)
        if seed == 1:
            raise KeyboardInterrupt


def test_a_run_that_goes_on_keeps_its_target_and_its_limits(go, told, tmp_path, monkeypatch):
    options = {"dataset": told, "epochs": 4, "target_accuracy": 0.9, "limit": True}
    names = ("learner", "slowlearner", "prober")
    with pytest.raises(Interrupted):
        go(*names, listener=Ending(), **options)
    begun = {(row["backend"], row["seed"]): row for row in read_rows(tmp_path / "out/summary.csv")}
    ended = {"learner": "differs", "slowlearner": "differs", "prober": "ok"}
    assert {key: row["status"] for key, row in begun.items()} == {
        (name, seed): "interrupted" if seed else ended[name] for name in names for seed in (0, 1)
    }
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another cache"))
    with pytest.raises(UsageError, match=r"target_accuracy: 0\.9 then, 0\.8 now"):
        go(*names, resume=True, **{**options, "target_accuracy": 0.8})
    with pytest.raises(UsageError, match="limit: true then, false now"):
        go(*names, resume=True, **{**options, "limit": False})
    heard = Heard()
    ran = go(*names, resume=True, listener=heard, **options)
    assert not [said for said in heard.said if "peak" in said[1]], "measured before"
    assert {(row["backend"], row["status"]) for row in ran.rows} == set(ended.items())
    assert len({row["limit_images_per_second"] for row in ran.rows}) == 1
    for name, epochs in (("learner", 2), ("slowlearner", 3), ("prober", None)):
        assert ran.row(name, 0) == begun[name, 0]
        assert ran.row(name, 1)["epochs_to_target"] == epochs
        assert ran.row(name, 1)["fraction_of_limit"] is not None
    (kept,) = json.loads((ran.path / "machine.json").read_text())["peaks"]
    assert kept["flops"] == pytest.approx(4e9)


def test_who_does_not_reach_it_trains_all_epochs_and_has_no_seconds(go, told):
    ran = go("twin", "learner", dataset=told, epochs=3, target_accuracy=1.0, seeds=1)
    assert ran.row("learner")["epochs_to_target"] == 2
    row = ran.row("twin")
    assert (row["seconds_to_target"], row["epochs_to_target"]) == (None, None)
    assert {sample["epoch"] for sample in ran.of("train", backend="twin")} == {1, 2, 3}


@pytest.mark.parametrize(("share", "instead"), [(99, "0.99"), (0, "0.99"), (-1, "0.99")])
def test_a_target_that_is_no_share_is_refused(go, share, instead):
    with pytest.raises(UsageError, match=f"allowed: above 0, up to 1. Try: .* {instead}$"):
        go("twin", target_accuracy=share)


def test_values_have_no_accuracy_to_reach(go):
    model = MODEL.replace(', activation = "softmax"', "") + 'loss = "mean_squared_error"\n'
    with pytest.raises(UsageError, match="no classes to be right or wrong about"):
        go("twin", model=model, dataset="synthetic-regression:6x6x1:3:84", target_accuracy=0.9)
