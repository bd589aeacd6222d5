"""The commands of a worker, called in this process."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from fake_backends import FakeClock, FakeSession, Queued
from scipy.special import log_softmax

from harness.run.messages import read_message, write_message
from harness.run.pending import Pending
from harness.run.score import score
from harness.run.worker import COMMANDS, Worker, serve
from harness.spec import parse_spec

LAYERS = 'layers = [{ type = "flatten" }, { type = "dense", units = 3 }]\n'
HEAD = 'name = "small"\ninput = [2, 2, 1]\n'
SPEC = parse_spec(HEAD + LAYERS, "test")
SQUARED = parse_spec(HEAD + LAYERS + '[training]\nloss = "mean_squared_error"\n', "test")
RNG = np.random.default_rng(0)
IMAGES = RNG.random((11, 2, 2, 1), np.float32) - np.float32(0.5)
TARGETS = np.arange(11, dtype=np.int32) % 3


@pytest.fixture
def worker(tmp_path) -> Worker:
    """A worker with a model and eleven images in each split."""
    for split in ("train", "test"):
        np.save(tmp_path / f"{split}_images.npy", IMAGES)
        np.save(tmp_path / f"{split}_targets.npy", TARGETS)
    worker = Worker()
    setting = {"device": "cpu", "precision": "float32", "threads": 1}
    worker.prepare({"target": "fake_backends:FakeBackend", "variant": "", "setting": setting}, {})
    fields = {
        "spec": SPEC.model_dump_json(),
        "source": str(tmp_path / "model.py"),
        "data": str(tmp_path),
    }
    worker.open(fields, {})
    worker.reset({"seed": 5}, {"dense1.bias": np.zeros(3)})
    return worker


def logits(images: np.ndarray) -> np.ndarray:
    return images.sum((1, 2, 3))[:, None] * np.arange(3, dtype=np.float32)


def accuracy(rows: np.ndarray) -> float:
    return float((logits(IMAGES[rows]).argmax(1) == TARGETS[rows]).mean())


def test_opening_writes_the_source_and_loads_the_training_set(worker, tmp_path):
    assert (tmp_path / "model.py").read_text() == "# small \n"
    assert np.array_equal(worker.session.images, IMAGES)
    assert np.array_equal(worker.session.targets, TARGETS)
    assert worker.session.seed == 5


def test_other_training_images_take_the_place_of_the_first_and_the_targets_stay(worker, tmp_path):
    np.save(tmp_path / "epoch_images.npy", 1 - IMAGES)
    assert worker.load({"images": "epoch_images"}, {}) == ({}, {})
    assert np.array_equal(worker.session.images, 1 - IMAGES)
    assert np.array_equal(worker.session.targets, TARGETS)


@pytest.mark.parametrize("size", [1, 3, 4, 11, 64])
def test_every_image_of_a_split_counts_once_whatever_the_batch(worker, size):
    fields, _ = worker.evaluate({"split": "test", "batch_size": size}, {})
    expected = -log_softmax(logits(IMAGES).astype(float), axis=1)[np.arange(11), TARGETS].mean()
    assert fields["images"] == 11
    assert fields["loss"] == pytest.approx(expected, rel=1e-6)
    assert fields["accuracy"] == pytest.approx(accuracy(np.arange(11)))
    assert fields["seconds"] > 0


def test_all_batches_of_an_evaluation_have_the_same_shape(worker):
    shapes = set()
    predict = worker.session.predict
    worker.session.predict = lambda images: (shapes.add(images.shape), predict(images))[1]
    worker.evaluate({"split": "test", "batch_size": 4}, {})
    assert shapes == {(4, 2, 2, 1)}


def test_an_evaluation_can_be_of_some_rows(worker):
    rows = np.array([2, 5, 10])
    fields, _ = worker.evaluate({"split": "train", "batch_size": 2}, {"rows": rows})
    assert fields["images"] == 3
    assert fields["accuracy"] == pytest.approx(accuracy(rows))


@pytest.mark.parametrize(("size", "calls"), [(1, 5), (8, 2), (64, 3)])
def test_predictions_are_timed_call_by_call_on_a_full_batch(worker, size, calls):
    _, arrays = worker.predict({"batch_size": size, "calls": calls}, {})
    assert arrays["seconds"].shape == (calls,)
    assert (arrays["seconds"] > 0).all()
    assert worker.session.largest == size


def test_a_prediction_that_is_no_array_yet_is_refused(worker):
    worker.session.predict = lambda images: logits(images).tolist()
    with pytest.raises(TypeError, match="predict returned a list, no NumPy array"):
        worker.predict({"batch_size": 4, "calls": 1}, {})


def test_the_worker_tells_how_much_work_was_left_by_its_own_clock(worker, monkeypatch):
    clock = FakeClock()
    monkeypatch.setattr("harness.run.worker.perf_counter", clock)
    worker.session = Queued(clock, 0.01, waited=0.4)
    arrays = {"dense1.bias": np.zeros(3), "batch": np.arange(4)}
    fields, _ = worker.pending({"rate": 0.1}, arrays)
    assert Pending(**fields).share == pytest.approx(0.6)
    assert fields["steps"] == 5


def test_masks_go_to_the_layers_they_are_named_after(worker):
    arrays = {"images": IMAGES, "targets": TARGETS, "mask.drop": np.ones((11, 4))}
    fields, found = worker.gradients({}, arrays)
    assert list(worker.session.masks) == ["drop"]
    assert fields == {"loss": 0.5}
    assert {"logits", "predictions", "gradient.images", "gradient.dense1.bias"} <= set(found)
    worker.gradients({}, {"images": IMAGES, "targets": TARGETS})
    assert worker.session.masks is None


def test_each_step_of_training_gets_its_own_mask(worker):
    order, masks = np.zeros((2, 3), np.int64), RNG.random((2, 3, 4))
    worker.train({}, {"order": order, "rates": np.ones(2), "mask.drop": masks})
    assert len(worker.session.masks) == 2
    assert np.array_equal(worker.session.masks[1]["drop"], masks[1])
    worker.train({}, {"order": order, "rates": np.ones(2)})
    assert worker.session.masks is None


def test_the_memory_of_the_host_is_bytes_and_that_of_the_device_may_be_unknown(worker):
    fields, _ = worker.memory({}, {})
    assert fields["host"] > 2**20
    assert fields["device"] is None


def test_closing_closes_the_session_if_there_is_one(worker):
    worker.close({}, {})
    assert worker.session.closed
    assert Worker().close({}, {}) == ({}, {})


def test_the_loss_is_that_of_large_logits_too():
    outputs = np.array([[1000.0, 0.0, -1000.0], [0.0, 0.0, 0.0]], np.float32)
    found = score(SPEC, outputs, np.array([1, 0], np.int32))
    assert found.loss == pytest.approx((1000 + np.log(3)) / 2)
    assert found[1:] == (0.5, None, None)


def test_squared_error_is_the_mean_over_images_and_outputs():
    outputs = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], np.float32)
    targets = np.array([[1.0, 0.0, 3.0], [0.5, 0.0, 0.0]], np.float32)
    found = score(SQUARED, outputs, targets)
    assert found.loss == pytest.approx((4 + 0.25) / 6)
    assert found.accuracy is None
    assert found.rmse == pytest.approx(np.sqrt(4.25 / 6))
    assert found.mae == pytest.approx(2.5 / 6)


def test_one_hot_targets_have_an_accuracy_and_single_values_have_none():
    outputs = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]], np.float32)
    one_hot = np.array([[0, 1, 0], [0, 0, 1]], np.float32)
    assert score(SQUARED, outputs, one_hot)[1:] == (0.5, None, None)
    assert score(SQUARED, outputs[:, :1], one_hot[:, :1]).accuracy is None


def test_rows_with_one_value_besides_zeros_are_values_unless_it_is_one():
    outputs, targets = np.zeros((2, 3)), np.array([[0, 2.0, 0], [0, 0, 1.0]], np.float32)
    assert score(SQUARED, outputs, targets).rmse == pytest.approx(np.sqrt(5 / 6))


def test_shares_are_compared_with_probabilities_and_choices_counted():
    binary = parse_spec(HEAD + LAYERS + '[training]\nloss = "binary_cross_entropy"\n', "test")
    logits = np.array([[800.0], [0.0]])
    found = score(binary, logits, np.array([[0.9], [0.7]], np.float32))
    assert (found.accuracy, found.mae) == (None, pytest.approx(0.15))
    assert score(binary, logits, np.array([[1.0], [0.0]], np.float32))[1:] == (1.0, None, None)


def conversation(*commands: dict) -> list[dict]:
    """What a worker answers, over pipes that are files."""
    asked, answered = io.BytesIO(), io.BytesIO()
    for number, command in enumerate(commands):
        write_message(asked, {"id": number, **command})
    asked.seek(0)
    serve(asked, answered)
    answered.seek(0)
    answers = []
    while (message := read_message(answered)) is not None:
        answers.append(message[0])
    return answers


def test_every_question_is_answered_under_its_number_and_the_end_of_the_pipe_is_the_end():
    answers = conversation({"command": "close"}, {"command": "state"}, {"command": "close"})
    assert [(answer["id"], answer["status"]) for answer in answers] == [
        (0, "ok"),
        (1, "failed"),
        (2, "ok"),
    ]
    assert conversation() == []


@pytest.mark.parametrize("command", ["", "sing", "_array", "__init__", "__class__", "backend"])
def test_only_commands_are_obeyed(command):
    (answer,) = conversation({"command": command})
    assert answer["status"] == "failed"
    assert answer["error"] == f"ValueError: unknown command {command!r}"


def test_every_public_method_of_a_worker_is_a_command():
    methods = {name for name, value in vars(Worker).items() if callable(value)}
    assert set(COMMANDS) == {name for name in methods if not name.startswith("_")}


def test_the_fake_session_has_the_methods_of_the_contract():
    from fake_backends import FakeBackend

    from harness.contract import Backend, Session

    assert isinstance(FakeBackend(), Backend)
    assert isinstance(FakeSession(SPEC, lambda place: None), Session)
    assert Path(__file__).with_name("fake_backends.py").exists()


def test_an_evaluation_returns_its_logits_where_they_are_wanted(worker):
    fields = {"split": "test", "batch_size": 4}
    assert worker.evaluate(fields, {})[1] == {}
    logits = worker.evaluate({**fields, "logits": True}, {})[1]["logits"]
    assert np.array_equal(logits, worker.session.predict(IMAGES))
