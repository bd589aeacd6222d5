"""The library `datasets` itself, where it is installed: a set in a folder, without the network."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data import load
from harness.errors import DataError

datasets = pytest.importorskip("datasets")
PIL = pytest.importorskip("PIL.Image")


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def pictures(count, shape, seed):
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, shape, dtype=np.uint8) for _ in range(count)]


def folder_of(tmp_path, shape):
    """Write twelve pictures to train with and six to test, with words and classes beside them."""
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "words": datasets.Value("string"),
            "kind": datasets.ClassLabel(names=["ant", "bee", "cat"]),
        }
    )
    made = {}
    (tmp_path / "set" / "data").mkdir(parents=True)
    for seed, (split, count) in enumerate({"train": 12, "test": 6}.items()):
        made[split] = pictures(count, shape, seed)
        columns = {
            "picture": [PIL.fromarray(pixels) for pixels in made[split]],
            "words": ["a picture"] * count,
            "kind": [row % 3 for row in range(count)],
        }
        path = tmp_path / "set" / "data" / f"{split}-00000-of-00001.parquet"
        datasets.Dataset.from_dict(columns, features=features).to_parquet(path)
    return tmp_path / "set", made


@pytest.mark.parametrize("shape", [(9, 7, 3), (9, 7)], ids=["colour", "grey"])
def test_pictures_and_classes_are_read_as_they_were_written(tmp_path, shape):
    folder, made = folder_of(tmp_path, shape)
    found = load(f"huggingface:{folder}")
    wanted = {split: np.stack(arrays).reshape(-1, 9, 7, shape[2] if shape[2:] else 1)
              for split, arrays in made.items()}  # fmt: skip
    assert np.allclose(found.train_images, wanted["train"] / 255, atol=1e-7)
    assert np.allclose(found.test_images, wanted["test"] / 255, atol=1e-7)
    assert found.train_labels.tolist() == [0, 1, 2] * 4
    assert found.test_labels.tolist() == [0, 1, 2] * 2
    assert found.classes == 3


def test_pictures_are_resized_where_that_is_asked_for(tmp_path):
    folder, _ = folder_of(tmp_path, (9, 7, 3))
    assert load(f"huggingface:{folder}:4x5").train_images.shape == (12, 4, 5, 3)


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(DataError, match=r"dataset 'huggingface:.*nowhere': "):
        load(f"huggingface:{tmp_path / 'nowhere'}")
