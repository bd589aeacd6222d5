"""Datasets of your own, from one .npz file as `numpy.savez` writes it."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import (
    MAX_CLASSES,
    Dataset,
    Images,
    Labels,
    build,
    check_size,
    unit_interval,
)
from harness.data.faults import within
from harness.data.npy import check_member, read_member
from harness.data.streams import RawBits, Stream
from harness.errors import DataError

Pair = tuple[Images, Labels]

_FOUR = ("x_train", "y_train", "x_test", "y_test")
_TWO = ("images", "labels")
# All that zipfile, struct and zlib are known to raise for bytes that are no zip archive.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError)


def load_npz(name: str) -> Dataset:
    """Load `npz:FILE`, with `x_train, y_train, x_test, y_test`, or `images, labels`.

    Images are `[n, h, w]` or `[n, h, w, c]`: uint8, divided by 255, or finite floats, as they
    are. Labels are integers `[n]` or `[n, 1]` (classes: the largest plus one), or, for
    regression, finite floats `[n]` or `[n, k]`. Without a test set, a fifth is taken for it,
    always the same. Raises `DataError`, naming the file and the array.
    """
    path = Path(name.removeprefix("npz:")).expanduser()
    if not path.is_file():
        raise DataError(
            f"dataset {name!r}: no such file: {path}. Try: npz:FILE, FILE as written by numpy.savez"
        )
    with within(str(path)):
        arrays = _read(path)
        if "images" in arrays:
            train, test = _split(*_pair(arrays, "images", "labels"))
        else:
            train, test = _pair(arrays, "x_train", "y_train"), _pair(arrays, "x_test", "y_test")
            _check_alike(train, test)
        return build(name, train, test, _classes(train[1], test[1]))


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_arrays(archive)
    except _DAMAGE as fault:
        raise DataError(f"damaged, or no .npz file: {fault}") from fault


def _read_arrays(archive: zipfile.ZipFile) -> dict[str, NDArray[Any]]:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    names = _choose(list(members))
    headers = {}
    for name in names:
        with within(f"array {name!r}"):
            headers[name] = check_member(archive, members[name])
    check_size(sum(header.elements for header in headers.values()))
    arrays = {}
    for name in names:
        with within(f"array {name!r}"):
            arrays[name] = read_member(archive, members[name], headers[name])
    return arrays


def _choose(found: list[str]) -> tuple[str, ...]:
    if all(name in found for name in _TWO):
        return _TWO
    missing = [name for name in _FOUR if name not in found]
    if missing:
        raise DataError(
            f"without {', '.join(missing)}; it holds {sorted(found)[:10]}. "
            f"Needed: {', '.join(_FOUR)}, or {', '.join(_TWO)}"
        )
    return _FOUR


def _pair(arrays: dict[str, NDArray[Any]], images_name: str, labels_name: str) -> Pair:
    """Check two arrays that belong together, and bring them to their final types."""
    raw_images, raw_labels = arrays[images_name], arrays[labels_name]
    for name, array in ((images_name, raw_images), (labels_name, raw_labels)):
        if array.ndim == 0 or array.size == 0:
            raise DataError(f"array {name!r}: shape {array.shape}; it is empty")
    if len(raw_images) != len(raw_labels):
        raise DataError(
            f"array {labels_name!r}: {len(raw_labels)} labels for the {len(raw_images)} images "
            f"of {images_name!r}"
        )
    with within(f"array {images_name!r}"):
        images = _images(raw_images)
    with within(f"array {labels_name!r}"):
        return images, _labels(raw_labels)


def _split(images: Images, labels: Labels) -> tuple[Pair, Pair]:
    if len(images) < 2:
        raise DataError("array 'images': 1 image; at least 2 needed, for training and test")
    order = RawBits(Stream.NPZ, seed=0).permutation(len(images))
    count = max(1, len(images) // 5)
    test, train = np.sort(order[:count]), np.sort(order[count:])
    return (images[train], labels[train]), (images[test], labels[test])


def _check_alike(train: Pair, test: Pair) -> None:
    for name, one, other in zip(("x_test", "y_test"), train, test, strict=True):
        if (one.dtype, one.shape[1:]) != (other.dtype, other.shape[1:]):
            raise DataError(
                f"array {name!r}: {other.dtype} {other.shape}; for training: {one.dtype} "
                f"{one.shape}; all but the first size must agree"
            )


def _classes(train: Labels, test: Labels) -> int | None:
    if train.dtype != np.int32:
        return None
    classes = int(max(train.max(), test.max())) + 1
    if classes < 2:
        raise DataError("every label is 0; at least two classes needed")
    return classes


def _images(array: NDArray[Any]) -> Images:
    if array.ndim not in (3, 4):
        raise DataError(f"shape {array.shape}; allowed: [n, h, w] or [n, h, w, c]")
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.dtype == np.uint8:
        return unit_interval(array)
    if array.dtype.kind != "f":
        raise DataError(f"{array.dtype} images; allowed: uint8, or floats")
    return _finite(array)


def _labels(array: NDArray[Any]) -> Labels:
    if array.ndim > 2:
        raise DataError(f"shape {array.shape}; allowed: [n] or [n, k]")
    if array.dtype.kind == "f":
        return _finite(array.reshape(len(array), -1))
    if array.size != len(array):
        raise DataError(
            f"shape {array.shape}; class labels are [n] (or save one-hot rows "
            "as labels.argmax(axis=1))"
        )
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= MAX_CLASSES:
        raise DataError(f"labels from {low} to {high}; allowed: 0 to {MAX_CLASSES - 1}")
    return array.reshape(-1).astype(np.int32)


def _finite(array: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large for float32 is reported below
        single = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(single).all():
        raise DataError("NaN, infinite, or too large for float32")
    return single
