"""Datasets of the Hugging Face hub, through their own library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.data.dataset import MAX_CLASSES, Dataset, build_from
from harness.data.faults import within
from harness.data.pictures import Size, faults_named, look, pillow, pixels, split_size
from harness.data.store import Arrays, Form, key_of, make_arrays
from harness.errors import DataError

FORM = "huggingface:NAME"
_TEST = ("test", "validation")  # what is tested on: the first of these that there is


def load_huggingface(name: str) -> Dataset:
    """Load `huggingface:NAME`, or `huggingface:NAME:HxW` to resize all pictures.

    Its first column of images and its first of class labels, its split `train`, and `test`, or
    where there is none `validation`. Images are grey or RGB as the first is, in [0, 1].
    Raises `DataError` if the library is missing, or the dataset is, or is of another kind.
    """
    library = _library(name)
    pillow(name)
    hub_name, size = split_size(name.partition(":")[2])
    if not hub_name:
        raise DataError(f"dataset {name!r}: no name. Try: huggingface:ylecun/mnist")
    with within(f"dataset {name!r}"):
        try:
            found = library.load_dataset(hub_name)
        except Exception as fault:  # of the network, of the hub, of the dataset's files
            raise DataError(f"{fault or type(fault).__name__}") from fault
        splits = _splits(found)
        features = splits["train"].features
        images = _column(features, library.Image, "images")
        labels = _column(features, library.ClassLabel, "class labels")
        classes = int(features[labels].num_classes)
        if not 2 <= classes <= MAX_CLASSES:
            raise DataError(f"{classes} classes; allowed: 2 to {MAX_CLASSES}")
        return build_from(name, _arrays(splits, images, labels, classes, hub_name, size), classes)


def _library(name: str) -> Any:
    try:
        import datasets  # type: ignore[import-not-found,unused-ignore]  # an extra
    except ImportError as fault:
        raise DataError(
            f"dataset {name!r} needs the package datasets, which is not installed. "
            "Try: pip install 'cnn-harness[huggingface]'"
        ) from fault
    return datasets


def _splits(found: Any) -> dict[str, Any]:
    names = list(found) if isinstance(found, Mapping) else []
    test = next((name for name in _TEST if name in names), None)
    if "train" not in names or test is None:
        raise DataError(
            f"splits {', '.join(names) or 'none'}; needed: train, and test or validation"
        )
    splits = {"train": found["train"], "test": found[test]}
    for part, split in splits.items():
        if len(split) == 0:
            raise DataError(f"split {part!r} is empty")
    return splits


def _column(features: Mapping[str, Any], kind: type, words: str) -> str:
    for name, feature in features.items():
        if isinstance(feature, kind):
            return name
    raise DataError(f"no column of {words}; there are {', '.join(features)}")


def _arrays(
    splits: Mapping[str, Any],
    images: str,
    labels: str,
    classes: int,
    hub_name: str,
    size: Size | None,
) -> Arrays:
    with within("split 'train', row 0"), faults_named():
        height, width, channels = look(splits["train"][0][images])
    height, width = size or (height, width)
    forms: dict[str, Form] = {}
    for part, split in splits.items():
        forms[f"{part}_images"] = ((len(split), height, width, channels), np.float32)
        forms[f"{part}_labels"] = ((len(split),), np.int32)

    def fill(made: Arrays) -> None:
        for part, split in splits.items():
            for row in range(len(split)):
                with within(f"split {part!r}, row {row}"), faults_named():
                    example = split[row]
                    found = look(example[images])
                    if size is None and found[:2] != (height, width):
                        raise DataError(
                            f"{found[0]}x{found[1]} pixels; the first has {height}x{width}. "
                            f"Try: huggingface:{hub_name}:{height}x{width} to resize all"
                        )
                    if found[2] > channels:
                        raise DataError("in colour, while the first is grey")
                    if not 0 <= example[labels] < classes:
                        raise DataError(f"label {example[labels]}; allowed: 0 to {classes - 1}")
                    made[f"{part}_images"][row] = pixels(example[images], channels, (height, width))
                    made[f"{part}_labels"][row] = example[labels]

    prints = [str(getattr(split, "_fingerprint", "")) for split in splits.values()]
    return make_arrays(key_of("huggingface", hub_name, size, prints), forms, fill)
