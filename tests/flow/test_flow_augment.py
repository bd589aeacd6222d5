"""Training on images that change in every epoch."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest
from flow_model import MODEL

from harness.data import epoch_batches, load, split
from harness.data.augment import augment
from harness.errors import DataError, StorageError
from harness.registry import BackendInfo
from harness.run.folder import ResultsFolder, read_rows
from harness.run.listener import Listener
from harness.run.plan import make_plan
from harness.run.run import run
from harness.spec import Augment, parse_spec

DATASET = "synthetic:6x6x1:3:84"
CHANGE = Augment(crop_padding=1, flip=True, cutout=2)
AUGMENTED = MODEL + "augment = { crop_padding = 1, flip = true, cutout = 2 }\n"


@pytest.fixture
def records(tmp_path, monkeypatch):
    folder = tmp_path / "records"
    folder.mkdir()
    monkeypatch.setenv("FLOW_RECORDS", str(folder))
    return lambda: [np.load(path) for path in sorted(folder.iterdir())]


def test_every_epoch_of_every_seed_has_the_images_that_augment_makes(go, records):
    go("recording", model=AUGMENTED)
    original, *epochs = records()
    dataset = load(DATASET)
    assert np.array_equal(original, dataset.train_images), "compiled and checked on real images"
    assert len(epochs) == 6, "two seeds of three epochs"
    for found, (seed, epoch) in zip(epochs, np.ndindex(2, 3), strict=True):
        order = epoch_batches(np.arange(84), 8, seed, epoch, "drop")[0].ravel()
        expected = augment(dataset.train_images, order, CHANGE, seed, epoch)
        assert found.shape == original.shape, "no backend sees a new shape"
        assert np.array_equal(found[order], expected)


def test_a_last_partial_batch_is_augmented_and_validation_images_are_not_trained_on(go, records):
    model = AUGMENTED + 'validation_split = 0.25\nlast_batch = "keep"\n'
    ran = go("recording", seeds=1, model=model)
    _, validation = split(84, 0.25, 0)
    for found in records()[1:]:
        rows = np.flatnonzero(found.any(axis=(1, 2, 3)))
        assert sorted([*rows, *validation]) == list(range(84))
    assert [sample["images"] for sample in ran.of("validation")] == [21] * 3


def test_without_the_section_the_training_set_is_loaded_once(go, records):
    go("recording", model=MODEL)
    assert len(records()) == 1


def test_backends_stay_alike_and_differ_from_training_without(go, tmp_path):
    ran = go("twin", "other", seeds=1, model=AUGMENTED)
    twin, other = ran.row("twin"), ran.row("other")
    assert twin["train_loss"] == other["train_loss"]
    assert twin["status"] == other["status"] == "ok"


def test_augmentation_changes_the_training_and_not_the_order(go, tmp_path):
    plain = go("twin", seeds=1).row("twin")
    (tmp_path / "out").rename(tmp_path / "plain")
    changed = go("twin", seeds=1, model=AUGMENTED).row("twin")
    assert changed["order_hash"] == plain["order_hash"]
    assert changed["train_loss"] != plain["train_loss"]


CIFAR_LIKE = """
name = "small"
input = [8, 8, 3]
layers = [
  { type = "conv2d", filters = 4, kernel = 3, padding = "same", activation = "relu" },
  { type = "max_pool", size = 2 },
  { type = "flatten" },
  { type = "dense", units = 4, activation = "softmax" },
]
[training]
epochs = 2
batch_size = 16
optimizer = { type = "sgd", learning_rate = 0.05 }
augment = { crop_padding = 2, flip = true, cutout = 3 }
"""


def test_real_frameworks_train_on_the_same_changed_images(tmp_path):
    names = {"torch": "TorchBackend", "tensorflow": "TensorFlowBackend"}
    for name in names:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    known = [
        BackendInfo(name, "", f"backends.{name}_backend:{target}", True, (), {}, "pip")
        for name, target in {**names, "numpy": "NumpyBackend"}.items()
    ]
    options = {"seeds": 1, "device": "cpu", "threads": 1, "block_steps": 4}
    dataset = "synthetic:8x8x3:4:128"
    plan = make_plan(parse_spec(CIFAR_LIKE, "small"), dataset, known[:2], known, **options)
    folder = ResultsFolder(tmp_path / "out")
    run(plan, load(dataset), folder, Listener())
    rows = read_rows(folder.path / "summary.csv")
    assert [(row["status"], row["equivalent"]) for row in rows] == [("ok", True)] * 2
    blocks = [s for s in read_rows(folder.path / "samples.csv") if s["phase"] == "train"]
    losses = {name: [b["loss"] for b in blocks if b["backend"] == name] for name in names}
    assert losses["torch"] == pytest.approx(losses["tensorflow"], rel=1e-4)


def test_a_memory_mapped_set_gives_the_same_training(go, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    plain = go("twin", seeds=1, model=AUGMENTED).row("twin")
    (tmp_path / "out").rename(tmp_path / "plain")
    monkeypatch.setattr("harness.data.store.MEMORY_LIMIT", 0)
    mapped = go("twin", seeds=1, model=AUGMENTED).row("twin")
    assert list((tmp_path / "cache").rglob("train.npy"))
    for column in ("status", "dataset_hash", "train_loss", "test_loss"):
        assert mapped[column] == plain[column]


def test_a_disk_too_small_for_the_epoch_is_an_error_of_one_line(go, monkeypatch):
    monkeypatch.setattr("harness.run.arrays.shutil.disk_usage", lambda _: FewBytes)
    with pytest.raises(DataError, match=r"augmented images need 12,096 bytes .* 9 are free"):
        go("twin", seeds=1, model=AUGMENTED)


def test_a_disk_that_is_full_before_the_images_are_written_is_said_and_kills_nobody(
    go, monkeypatch
):
    """Were the file mapped without its room, the first write beyond would end the process."""

    def full(descriptor: int, begin: int, count: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"epoch_images\.npy: No space left .*--resume"):
        go("twin", seeds=1, model=AUGMENTED)


class FewBytes:
    free = 9
