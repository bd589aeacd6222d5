from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from flow_model import MODEL

from harness.errors import UsageError
from harness.machine import available_cpus
from harness.run.agreement import TOLERANCE
from harness.run.figures import training_figures
from harness.run.training import CALLS, PREDICT_ROUNDS, Calls
from harness.spec import spec_from_json


def test_two_backends_of_one_network_get_the_same_and_do_the_same(go):
    ran = go("twin", "other")
    assert [row["status"] for row in ran.rows] == ["ok"] * 4
    assert all(row["equivalent"] for row in ran.rows)
    for seed in (0, 1):
        twin, other = ran.row("twin", seed), ran.row("other", seed)
        for column in ("order_hash", "init_hash", "train_loss", "test_accuracy", "dataset_hash"):
            assert twin[column] == other[column], column
    assert ran.row("twin", 0)["order_hash"] != ran.row("twin", 1)["order_hash"]
    assert ran.row("twin", 0)["init_hash"] != ran.row("twin", 1)["init_hash"]


OTHER_AXES = {
    "synthetic:20x2:3:84": ("[20, 2]", "conv1d"),
    "synthetic:4x5x6x1:3:84": ("[4, 5, 6, 1]", "conv3d"),
}


@pytest.mark.parametrize("dataset", OTHER_AXES)
def test_signals_and_volumes_are_trained_on_as_images_are(go, dataset):
    size, kind = OTHER_AXES[dataset]
    model = MODEL.replace("[6, 6, 1]", size).replace("conv2d", kind)
    ran = go("twin", "other", model=model, dataset=dataset, seeds=1)
    assert [(row["status"], row["equivalent"]) for row in ran.rows] == [("ok", True)] * 2
    assert ran.row("twin")["train_loss"] == ran.row("other")["train_loss"]
    assert ran.row("twin")["test_accuracy"] is not None


def test_every_column_of_the_design_is_filled(go):
    row = go("twin", seeds=1).row("twin")
    empty = {name for name, value in row.items() if value is None}
    assert empty <= {
        "error",
        "note",
        "variant",
        "peak_device_bytes",
        "commit",
        "dirty",
        "test_rmse",
        "test_mae",
        "limit_images_per_second",
        "fraction_of_limit",
        "target_accuracy",
        "seconds_to_target",
        "epochs_to_target",
        "joules_per_image",
        "gpu_watts",
        "gpu_mhz",
        "gpu_process_bytes",
        "streamed",
    }


def test_all_train_in_every_round_in_turns_that_vary(go):
    ran = go("twin", "other", epochs=8, seeds=1)
    rounds = defaultdict(list)
    for sample in ran.of("train"):
        rounds[sample["round"]].append(sample)
    assert sorted(rounds) == list(range(len(rounds)))
    orders = set()
    for samples in rounds.values():
        assert [sample["position"] for sample in samples] == [0, 1]
        assert (
            len({(sample["steps"], sample["images"], sample["epoch"]) for sample in samples}) == 1
        )
        orders.add(tuple(sample["backend"] for sample in samples))
    assert orders == {("twin", "other"), ("other", "twin")}


def test_blocks_stay_within_their_epoch_and_hold_every_step(go):
    ran = go("twin", seeds=1)
    steps = defaultdict(list)
    for sample in ran.of("train"):
        steps[sample["epoch"]].append(sample["steps"])
    assert {epoch: sum(block) for epoch, block in steps.items()} == {1: 10, 2: 10, 3: 10}
    assert all(max(block) <= 4 and max(block) - min(block) <= 1 for block in steps.values())


def test_a_last_partial_batch_is_trained_when_kept(go):
    ran = go("twin", seeds=1, model=MODEL + 'last_batch = "keep"\n')
    images = [sample["images"] for sample in ran.of("train", epoch=1)]
    assert sum(images) == 84
    assert {sample["images"] for sample in ran.of("warmup")} >= {4}, "its shape is met before"


def test_figures_can_be_computed_anew_from_the_samples(go):
    ran = go("twin", epochs=5, seeds=1)
    row = ran.row("twin")
    figures, _ = training_figures(ran.of("train"))
    for column, value in figures.items():
        assert row[column] == pytest.approx(value), column
    single = [s["seconds"] for s in ran.of("predict", images=1) if s["round"] >= 0]
    assert row["predict_ms_p50"] == pytest.approx(1000 * np.median(single))
    batched = [s["seconds"] for s in ran.of("predict", images=8) if s["round"] >= 0]
    assert row["predict_images_per_second"] == pytest.approx(8 / np.median(batched))
    last = ran.of("train", epoch=5)
    weights = [sample["images"] for sample in last]
    assert row["train_loss"] == pytest.approx(
        np.average([sample["loss"] for sample in last], weights=weights)
    )


def test_without_validation_the_test_set_is_seen_after_each_epoch(go):
    ran = go("twin", seeds=1)
    assert [sample["epoch"] for sample in ran.of("test")] == [1, 2, 3]
    assert ran.row("twin")["test_accuracy"] == ran.of("test")[-1]["accuracy"]


def test_with_validation_the_test_set_is_seen_once_at_the_end(go):
    ran = go("twin", seeds=1, model=MODEL + "validation_split = 0.25\n")
    assert [(s["epoch"], s["images"]) for s in ran.of("validation")] == [(1, 21), (2, 21), (3, 21)]
    assert [sample["epoch"] for sample in ran.of("test")] == [3]
    assert sum(sample["images"] for sample in ran.of("train", epoch=1)) == 56, "63 without a rest"


def test_the_first_step_is_timed_before_anything_else_compiles(go):
    ran = go("twin", seeds=1)
    assert ran.samples[0]["phase"] == "compile"
    assert ran.row("twin")["compile_seconds"] == ran.samples[0]["seconds"]


@pytest.mark.parametrize("cores", [1, 2])
def test_as_many_import_at_once_as_there_are_cores_and_one_builds(go, tmp_path, monkeypatch, cores):
    if available_cpus() < cores:
        pytest.skip("there is one core")
    monkeypatch.setenv("FLOW_SIGNAL", str(tmp_path))
    monkeypatch.setenv("FLOW_TOGETHER", str(cores))
    ran = go("slow", "slower", "slowest", seeds=1, threads=cores)
    assert [row["status"] for row in ran.rows] == ["ok"] * 3
    assert all(row["import_seconds"] >= 0.2 for row in ran.rows)
    spans = {
        deed: [tuple(map(float, path.read_text().split())) for path in tmp_path.glob(f"{deed}.*")]
        for deed in ("import", "build")
    }
    assert at_once(spans["import"]) == cores
    assert at_once(spans["build"]) == 1
    assert max(end for _, end in spans["import"]) < min(begin for begin, _ in spans["build"])


def at_once(spans: list[tuple[float, float]]) -> int:
    assert len(spans) == 3
    return max(sum(begin <= at < end for begin, end in spans) for at, _ in spans)


def test_predictions_are_as_many_in_every_round_and_warm_up_is_not_counted(go):
    ran = go("twin", "other")
    for row in ran.rows:
        for images in (1, 8):
            rounds = Counter(
                sample["round"]
                for sample in ran.of("predict", images=images, seed=row["seed"])
                if sample["backend"] == row["backend"]
            )
            kind = CALLS["single" if images == 1 else "batched"]
            assert rounds.pop(-1) == kind.warm_up
            assert len(rounds) == PREDICT_ROUNDS
            assert len(set(rounds.values())) == 1
            assert kind.least <= rounds[0] <= kind.most


@pytest.mark.parametrize(("seconds", "calls"), [(0.0, 25), (0.01, 25), (0.025, 10), (9.0, 5)])
def test_a_prediction_that_takes_long_is_timed_less_often(seconds, calls):
    assert Calls(warm_up=5, least=5, most=25, budget=0.25).within_budget(seconds) == calls


MANY_BENDS = """
name = "many-bends"
input = [28, 28, 1]
layers = [
  { type = "conv2d", filters = 256, kernel = 3, activation = "relu" },
  { type = "global_avg_pool" },
  { type = "dense", units = 3, activation = "softmax" },
]
[training]
epochs = 1
batch_size = 8
"""


def test_a_relu_on_its_other_side_by_rounding_is_told_from_one_that_no_rounding_tips(go):
    data = {"model": MANY_BENDS, "dataset": "synthetic:28x28x1:3:40", "seeds": 1}
    ran = go("tipping", "toppling", "wrong", precision="float32", **data)
    tipped, toppled = ran.row("tipping"), ran.row("toppling")
    assert tipped["equivalent"]
    assert tipped["equivalence_difference"] > TOLERANCE["float32"]
    assert not toppled["equivalent"]
    assert toppled["equivalence_where"] == tipped["equivalence_where"] == "gradient.images"
    assert toppled["equivalence_difference"] > 3 * tipped["equivalence_difference"]
    assert not ran.row("wrong")["equivalent"]


def test_a_backend_that_differs_is_marked_by_name_and_amount(go):
    ran = go("twin", "wrong")
    assert ran.row("twin")["equivalent"] is True
    row = ran.row("wrong")
    assert (row["status"], row["equivalent"]) == ("differs", False)
    assert row["equivalence_where"] == "gradient.dense1.bias"
    assert row["equivalence_difference"] == pytest.approx(0.01, rel=1e-3)


def test_a_crash_costs_only_its_own_rows(go):
    ran = go("twin", "crashing")
    assert [ran.row("twin", seed)["status"] for seed in (0, 1)] == ["ok", "ok"]
    assert ran.row("crashing", 0)["status"] == "ok"
    row = ran.row("crashing", 1)
    assert row["status"] == "crashed"
    assert "exit code 3" in row["error"]
    assert "about to crash" in row["error"], "the end of its log"
    assert len(ran.of("train", backend="twin", seed=1)) == 9


def test_a_loss_that_is_no_number_ends_the_seed_and_nothing_else(go):
    ran = go("twin", "diverging", seeds=3)
    assert [ran.row("diverging", seed)["status"] for seed in (0, 1, 2)] == [
        "ok",
        "nan",
        "nan",
    ]
    assert "epoch 1" in ran.row("diverging", 1)["error"]
    assert len(ran.of("train", backend="diverging", seed=1)) == 1
    assert ran.row("twin", 2)["status"] == "ok"


def test_a_hang_is_ended_after_the_limit(go):
    ran = go("twin", "hanging", timeout=4.0)
    assert ran.row("hanging", 1)["status"] == "timed-out"
    assert "--timeout" in ran.row("hanging", 1)["error"]
    assert ran.row("twin", 1)["status"] == "ok"


def test_a_backend_that_cannot_be_prepared_has_rows_for_every_seed(go):
    ran = go("broken", "twin")
    for seed in (0, 1):
        assert ran.row("broken", seed)["status"] == "failed"
        assert "no such luck" in ran.row("broken", seed)["error"]
        assert ran.row("twin", seed)["status"] == "ok"


def test_when_all_fail_the_rows_say_so(go):
    ran = go("broken")
    assert [row["status"] for row in ran.rows] == ["failed", "failed"]


def test_gpu_rows_stand_beside_cpu_rows(go, monkeypatch):
    monkeypatch.setattr("harness.run.preparation.may_have_gpu", lambda: True)
    ran = go("twin", "withgpu", device="all", seeds=1)
    found = {(row["backend"], row["device"], row["status"], row["device_name"]) for row in ran.rows}
    assert found == {
        ("twin", "cpu", "ok", "cpu"),
        ("twin", "gpu", "skipped", None),
        ("withgpu", "cpu", "ok", "cpu"),
        ("withgpu", "gpu", "ok", "Imaginary 1"),
    }


def test_no_gpu_is_an_error_only_where_one_was_asked_for(go, monkeypatch):
    monkeypatch.setattr("harness.run.preparation.may_have_gpu", lambda: False)
    monkeypatch.setattr("harness.run.plan.may_have_gpu", lambda: False)
    assert [row["device"] for row in go("withgpu", device="all", seeds=1).rows] == ["cpu"]
    with pytest.raises(UsageError, match="--device gpu: this machine has none"):
        go("withgpu", device="gpu")


def test_a_gpu_that_no_framework_sees_is_an_error_where_one_was_asked_for(go, monkeypatch):
    monkeypatch.setattr("harness.run.plan.may_have_gpu", lambda: True)
    with pytest.raises(UsageError, match="none is seen by twin"):
        go("twin", device="gpu")


def test_the_source_that_was_run_lies_beside_the_results(go):
    ran = go("twin", seeds=1)
    source = (ran.path / "models" / "small_twin.py").read_text(encoding="utf-8")
    assert "def make_model" in source
    assert (ran.path / "logs" / "twin.log").exists()
    assert Path(ran.path / "machine.json").exists()


def test_the_spec_that_was_run_lies_beside_the_results(go):
    ran = go("twin", seeds=1)
    spec = spec_from_json((ran.path / "spec.json").read_text())
    assert spec.hash == ran.row("twin")["model_hash"]


def test_a_class_problem_can_be_trained_by_squared_error_on_one_hot_rows(go):
    model = MODEL.replace("[training]", '[training]\nloss = "mean_squared_error"')
    row = go("twin", seeds=1, model=model).row("twin")
    assert row["status"] == "ok"
    assert row["test_accuracy"] is not None


def test_a_backend_that_returns_early_is_refused_and_the_others_are_timed(go):
    ran = go("early", "twin", seeds=1)
    row = ran.row("early")
    assert row["status"] == "early"
    assert (
        "early: train returns before its device is done: a block of 10 steps took" in row["error"]
    )
    assert row["equivalent"], "it is the same network all the same"
    assert row["train_images_per_second"] is None
    assert {s["phase"] for s in ran.samples if s["backend"] == "early"} == {"compile"}
    assert ran.row("twin")["status"] == "ok"
    assert ran.row("twin")["train_images_per_second"] > 0
