"""Datasets of the hub, with a library that only looks like the real one."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from harness.data import load, store
from harness.errors import DataError

PIL = pytest.importorskip("PIL.Image")


class Picture:
    """The type of a column of images."""


class ClassLabel:
    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes


class Text:
    pass


class Split:
    def __init__(self, rows, features) -> None:
        self.rows, self.features = rows, features

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict:
        return self.rows[row]


def picture(value: int, mode: str = "L", size: tuple[int, int] = (5, 4)):
    return PIL.new(mode, size, value if mode == "L" else (value, 0, 0))


FEATURES = {
    "id": Text(),
    "picture": Picture(),
    "kind": ClassLabel(3),
    "thumbnail": Picture(),
    "colour": ClassLabel(9),
}


def rows(count: int, first: int = 0, **options) -> list[dict]:
    return [
        {"picture": picture(first + n, **options), "kind": n % 3, "thumbnail": None, "colour": 8}
        for n in range(count)
    ]


@pytest.fixture
def hub(monkeypatch):
    """What there is on the hub, by name; each a mapping of splits."""
    content = {
        "someone/things": {"train": Split(rows(6), FEATURES), "test": Split(rows(3, 50), FEATURES)}
    }

    def load_dataset(name: str):
        if name not in content:
            raise FileNotFoundError(f"Dataset '{name}' doesn't exist on the Hub")
        return content[name]

    module = SimpleNamespace(Image=Picture, ClassLabel=ClassLabel, load_dataset=load_dataset)
    monkeypatch.setitem(sys.modules, "datasets", module)
    return content


def test_the_first_columns_of_images_and_of_labels_are_taken(hub):
    dataset = load("huggingface:someone/things")
    assert dataset.image_shape == (4, 5, 1)
    assert dataset.classes == 3
    assert dataset.train_labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert np.rint(dataset.train_images[:, 0, 0, 0] * 255).tolist() == [0, 1, 2, 3, 4, 5]
    assert np.rint(dataset.test_images[:, 3, 4, 0] * 255).tolist() == [50, 51, 52]
    assert (dataset.train_images.dtype, dataset.train_labels.dtype) == (np.float32, np.int32)


def test_colour_gives_three_channels(hub):
    hub["someone/things"]["train"] = Split(rows(6, mode="RGB"), FEATURES)
    dataset = load("huggingface:someone/things")
    assert dataset.image_shape == (4, 5, 3)
    assert dataset.test_images.shape == (3, 4, 5, 3), "grey is a colour, too"


def test_validation_stands_in_for_a_missing_test(hub):
    splits = hub["someone/things"]
    splits["validation"] = Split(rows(2, 90), FEATURES)
    assert len(load("huggingface:someone/things").test_images) == 3
    del splits["test"]
    assert len(load("huggingface:someone/things").test_images) == 2


def test_with_a_size_all_are_resized(hub):
    hub["someone/things"]["test"] = Split(rows(3, size=(50, 40)), FEATURES)
    assert load("huggingface:someone/things:8x9").image_shape == (8, 9, 1)


def test_a_mapped_dataset_is_the_same_dataset(hub, monkeypatch):
    plain = load("huggingface:someone/things").hash
    monkeypatch.setattr(store, "MEMORY_LIMIT", 0)
    mapped = load("huggingface:someone/things")
    assert isinstance(mapped.train_images, np.memmap)
    assert mapped.hash == plain


def with_row(hub, **changes) -> None:
    hub["someone/things"]["test"] = Split([*rows(1), {**rows(1)[0], **changes}], FEATURES)


def without(feature: str) -> dict:
    return {name: kind for name, kind in FEATURES.items() if feature not in type(kind).__name__}


def with_split(hub, name: str, found: list[dict], features: dict) -> None:
    hub["someone/things"][name] = Split(found, features)


REFUSED = {
    "another size": (
        lambda hub: with_row(hub, picture=picture(1, size=(6, 6))),
        r"split 'test', row 1: 6x6 pixels; the first has 4x5. Try: .*:4x5",
    ),
    "colour after grey": (
        lambda hub: with_row(hub, picture=picture(1, "RGB")),
        "split 'test', row 1: in colour, while the first is grey",
    ),
    "no label": (
        lambda hub: with_row(hub, kind=-1),
        "split 'test', row 1: label -1; allowed: 0 to 2",
    ),
    "no picture": (
        lambda hub: with_row(hub, picture=None),
        "split 'test', row 1: broken image",
    ),
    "no test": (
        lambda hub: hub["someone/things"].pop("test"),
        "splits train; needed: train, and test or validation",
    ),
    "an empty split": (
        lambda hub: with_split(hub, "test", [], FEATURES),
        "split 'test' is empty",
    ),
    "no images": (
        lambda hub: with_split(hub, "train", rows(2), without("Picture")),
        "no column of images; there are id, kind, colour",
    ),
    "no labels": (
        lambda hub: with_split(hub, "train", rows(2), without("Label")),
        "no column of class labels; there are id, picture, thumbnail",
    ),
    "one split alone": (
        lambda hub: hub.update({"someone/things": Split(rows(3), FEATURES)}),
        "splits none; needed",
    ),
    "not there": (lambda hub: hub.clear(), "Dataset 'someone/things' doesn't exist on the Hub"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_unsuitable_datasets_are_refused_by_name(hub, fault):
    spoil, message = REFUSED[fault]
    spoil(hub)
    with pytest.raises(DataError, match=message) as caught:
        load("huggingface:someone/things")
    assert "dataset 'huggingface:someone/things': " in str(caught.value)


@pytest.mark.parametrize("name", ["huggingface", "huggingface:"])
def test_a_name_is_needed(hub, name):
    with pytest.raises(DataError, match=r"no name\. Try: huggingface:"):
        load(name)


def test_without_the_library_the_line_that_installs_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"Try: pip install 'cnn-harness\[huggingface\]'"):
        load("huggingface:someone/things")


def test_without_pillow_too(hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"Try: pip install 'cnn-harness\[images\]'"):
        load("huggingface:someone/things")
