"""Trained here, used there: weights saved by a run, predictions and runs that start from them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from flow_model import DATASET, MODEL, info

from harness import registry
from harness.cli import main
from harness.data import load
from harness.errors import Interrupted, UsageError
from harness.run import predict as module
from harness.run.listener import Listener
from harness.run.plan import make_plan
from harness.run.predict import compare_logits, describe_predictions, predict, write_logits
from harness.run.weights import read_weights, write_weights
from harness.spec import infer, initial_parameters, parameters_hash, parse_spec

SPEC = parse_spec(MODEL, "small")
ARRAYS = initial_parameters(SPEC, 5)


@pytest.fixture
def weights(tmp_path):
    """A file of weights that nobody trained."""
    path = tmp_path / "given.safetensors"
    write_weights(path, SPEC, ARRAYS, {"backend": "twin", "seed": "5"})
    return path


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Where temporary folders go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def predicted(*names, dataset=DATASET, spec=SPEC, **options):
    known = [info(name) for name in (*names, "numpy")]
    options = {"device": "cpu", "threads": 1, "timed": False, **options}
    plan = make_plan(spec, dataset, known[: len(names)], known, **options)
    return predict(plan, ARRAYS, load(dataset), Listener())


def test_a_run_saves_the_weights_of_each_backend_and_seed(go):
    ran = go("twin", "other", save_weights=True)
    names = sorted(path.name for path in (ran.path / "weights").iterdir())
    assert names == [f"{b}-cpu-{seed}.safetensors" for b in ("other", "twin") for seed in (0, 1)]
    for seed in (0, 1):
        twin = read_weights(ran.path / "weights" / f"twin-cpu-{seed}.safetensors")
        drawn = initial_parameters(SPEC, seed)
        assert all(not np.array_equal(twin.arrays[name], drawn[name]) for name in drawn)
        assert twin.spec.name == "small"
        assert twin.facts["backend"] == "twin"
        assert twin.facts["device"] == "cpu"
        assert twin.facts["seed"] == str(seed)
        assert twin.facts["spec_hash"] == ran.row("twin", seed)["model_hash"]
        assert twin.facts["framework_version"] == ran.row("twin", seed)["framework_version"]


def test_saved_weights_predict_what_the_run_measured(go):
    ran = go("twin", seeds=1, save_weights=True)
    found = read_weights(ran.path / "weights" / "twin-cpu-0.safetensors")
    known = [info("other"), info("numpy")]
    plan = make_plan(found.spec, DATASET, known[:1], known, device="cpu", threads=1)
    (other,) = predict(plan, found.arrays, load(DATASET), Listener())
    row = ran.row("twin")
    assert other.loss == pytest.approx(row["test_loss"], rel=1e-12)
    assert other.accuracy == row["test_accuracy"]


def test_without_being_asked_a_run_saves_none(go):
    assert not (go("twin", seeds=1).path / "weights").exists()


def test_a_backend_that_crashed_or_diverged_has_no_weights_of_that_seed(go):
    ran = go("crashing", "diverging", save_weights=True)
    names = sorted(path.name for path in (ran.path / "weights").iterdir())
    assert names == ["crashing-cpu-0.safetensors", "diverging-cpu-0.safetensors"]


def test_a_run_may_start_every_seed_from_given_weights(go):
    ran = go("twin", "other", initial=ARRAYS)
    assert all(row["equivalent"] for row in ran.rows)
    assert {row["init_hash"] for row in ran.rows} == {parameters_hash(ARRAYS)}
    assert ran.row("twin", 0)["order_hash"] != ran.row("twin", 1)["order_hash"]


def test_every_backend_predicts_the_same_test_split(temporary):
    twin, numpy = predicted("twin", "numpy")
    images = load(DATASET).test_images
    assert twin.status == numpy.status == "ok"
    assert twin.logits.shape == (len(images), 3)
    assert np.array_equal(twin.logits, numpy.logits)
    assert list(temporary.iterdir()) == [], "nothing is left behind"


def test_a_backend_that_fails_does_not_end_the_others_and_its_log_is_kept(temporary):
    broken, twin = predicted("broken", "twin")
    assert broken.status == "failed"
    assert "no such luck" in broken.error
    assert Path(broken.error.rpartition("Log: ")[2]).is_file()
    assert broken.logits is None
    assert twin.status == "ok"
    first, second = describe_predictions([broken, twin], load(DATASET))
    assert first["logits_difference"] is None
    assert second["logits_difference"] == 0.0, "the first that succeeded is the measure"


def test_interrupted_it_leaves_nothing_behind(temporary, monkeypatch):
    def interrupt(cell, weights):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_predict", interrupt)
    with pytest.raises(Interrupted, match="interrupted"):
        predicted("twin")
    assert list(temporary.iterdir()) == []


def test_images_of_another_size_are_refused_before_anything_starts(temporary):
    with pytest.raises(UsageError, match="takes 6x6x1 images"):
        predicted("twin", dataset="synthetic:7x6x1:3:84")
    assert list(temporary.iterdir()) == []


def test_fewer_training_images_than_a_batch_are_enough():
    training = SPEC.training.model_copy(update={"batch_size": 1000})
    (twin,) = predicted("twin", spec=SPEC.model_copy(update={"training": training}))
    assert twin.status == "ok"


def test_without_classes_no_predictions_are_counted():
    one = np.array([[1.0], [-2.0]])
    beside = compare_logits(one + 0.5, one, has_classes=False)
    assert (beside.difference, beside.relative, beside.differing) == (0.5, 0.25, None)


def test_predictions_that_differ_are_counted():
    first = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 0.0]])
    assert compare_logits(first[:, ::-1], first, has_classes=True).differing == 3
    single = np.array([[1.0], [-1.0]])
    assert compare_logits(single * [[1], [-1]], single, has_classes=True).differing == 1


def test_logits_are_written_by_backend_with_their_targets(tmp_path):
    found = predicted("twin", "numpy")
    targets = load(DATASET).test_labels
    write_logits(tmp_path / "logits.npz", found, targets)
    with np.load(tmp_path / "logits.npz") as written:
        assert sorted(written) == ["numpy", "targets", "twin"]
        assert np.array_equal(written["twin"], found[0].logits)
        assert np.array_equal(written["targets"], targets)


def harness(monkeypatch, *arguments):
    """Run the command line here, with two backends that are known; return its exit code."""
    monkeypatch.setattr(registry, "describe", lambda: [*map(info, ("twin", "broken", "numpy"))])
    with pytest.raises(SystemExit) as end:
        main([*arguments])
    return int(end.value.code or 0)


def command(weights, *arguments):
    return ["predict", "--weights", str(weights), "--dataset", DATASET, *arguments]


def test_the_command_prints_a_table_and_the_spec_comes_from_the_file(weights, monkeypatch, capsys):
    assert harness(monkeypatch, *command(weights, "-b", "twin,numpy", "--quiet")) == 0
    said = capsys.readouterr()
    assert said.err == ""
    head, twin, numpy = said.out.splitlines()
    assert "accuracy %" in head
    assert twin.startswith("twin")
    assert "the first" in twin
    assert numpy.split()[-2:] == ["0.0e+00", "0"]


def test_the_command_prints_json(weights, monkeypatch, capsys):
    assert harness(monkeypatch, *command(weights, "-b", "twin,numpy", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == "small"
    assert found["weights"]["seed"] == "5"
    assert [row["backend"] for row in found["backends"]] == ["twin", "numpy"]
    row = found["backends"][1]
    assert row["images"] == len(load(DATASET).test_images)
    assert row["predictions_that_differ"] == 0
    assert 0 <= row["accuracy"] <= 1
    assert row["loss"] > 0


def test_a_backend_that_fails_makes_exit_code_4(weights, monkeypatch, capsys):
    assert harness(monkeypatch, *command(weights, "-b", "broken,twin")) == 4
    said = capsys.readouterr()
    assert "failed" in said.out
    assert "error: broken: RuntimeError: no such luck" in said.err


def test_a_model_of_ones_own_may_be_named(weights, tmp_path, monkeypatch, capsys):
    (tmp_path / "own.toml").write_text(MODEL.replace('"small"', '"own"'))
    own = str(tmp_path / "own.toml")
    assert harness(monkeypatch, *command(weights, "-b", "twin", "--json", "--model", own)) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "own"


BAD = {
    "no such file of weights": ("--weights", "nowhere.safetensors"),
    "damaged, or no safetensors file": ("--weights", "damaged.safetensors"),
    "does not fit model 'mnist-1conv'": ("--model", "mnist-1conv"),
    "unknown backend": ("--backend", "twix"),
    "unknown dataset": ("--dataset", "digit"),
    "takes 6x6x1 images": ("--dataset", "digits"),
    "--device 'tpu'": ("--device", "tpu"),
    "--threads 4096": ("--threads", "4096"),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_gives_one_clear_message(weights, message, monkeypatch, capsys):
    monkeypatch.chdir(weights.parent)
    Path("damaged.safetensors").write_bytes(weights.read_bytes()[:-1])
    assert harness(monkeypatch, *command(weights, "-b", "twin", *BAD[message])) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


@pytest.mark.parametrize("place", ["no/where.npz", "."])
def test_a_bad_place_for_logits_is_an_error_before_anything_starts(
    weights, place, monkeypatch, capsys
):
    assert harness(monkeypatch, *command(weights, "-b", "twin", "-o", place)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: cannot write {place}")


@pytest.mark.parametrize("damage", [b"", b"NaN"])
def test_a_run_refuses_damaged_initial_weights_before_it_starts(
    tmp_path, damage, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("bad.safetensors").write_bytes(damage)
    Path("small.toml").write_text(MODEL)
    assert (
        harness(monkeypatch, "run", "-m", "small.toml", "--initial-weights", "bad.safetensors") == 2
    )
    assert "cannot read weights from bad.safetensors" in capsys.readouterr().err
    assert not Path("results").exists()


def test_the_spec_in_a_file_has_all_that_its_network_needs(weights):
    assert infer(read_weights(weights).spec) == infer(SPEC)
