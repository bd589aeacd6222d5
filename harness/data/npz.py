"""Datasets of your own, from one .npz file as `numpy.savez` writes it."""

from __future__ import annotations

import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import (
    MAX_CLASSES,
    Dataset,
    Images,
    Labels,
    build_from,
    check_size,
    unit_interval,
)
from harness.data.faults import within
from harness.data.npy import Header, check_member, check_packing, read_rows
from harness.data.store import Arrays, Form, file_state, key_of, make_arrays
from harness.data.streams import RawBits, Stream
from harness.errors import DataError

_FOUR = ("x_train", "y_train", "x_test", "y_test")
_TWO = ("images", "labels")
_IMAGES = ("x_train", "x_test", "images")
_SHAPE = re.compile(r":(\d{1,9}(?:x\d{1,9}){1,3})\Z", re.ASCII)
_BLOCK = 2**22  # values converted at a time; the result does not depend on it
# All that zipfile, struct and zlib are known to raise for bytes that are no zip archive.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError)


@dataclass(frozen=True)
class _Source:
    """The open archive, and the headers of the arrays that are used.

    `shape` is what each image is to have, if the dataset's name says so.
    """

    archive: zipfile.ZipFile
    members: Mapping[str, zipfile.ZipInfo]
    headers: Mapping[str, Header]
    shape: tuple[int, ...] | None


def load_npz(name: str) -> Dataset:
    """Load `npz:FILE`, with `x_train, y_train, x_test, y_test`, or `images, labels`.

    Images are `[n, h, w]`, `[n, h, w, c]` or `[n, d, h, w, c]`: uint8, divided by 255, or finite
    floats, as they are. Of `npz:FILE:LENGTHxCHANNELS` they are signals, `[n, length]` if there is
    one channel; any other shape of as many values, in C order, may be given so, too. Labels are
    integers `[n]` or `[n, 1]` (classes: the largest plus one), or, for regression, finite floats
    `[n]` or `[n, k]`. Without a test set, a fifth is taken for it, always the same. Raises
    `DataError`, naming the file and the array.
    """
    file, shape = _split_shape(name.removeprefix("npz:"))
    path = Path(file).expanduser()
    if not path.is_file():
        raise DataError(
            f"dataset {name!r}: no such file: {path}. Try: npz:FILE, FILE as written by numpy.savez"
        )
    with within(str(path)):
        try:
            with zipfile.ZipFile(path) as archive:
                arrays = _load(_check(archive, shape), key_of("npz", file_state(path), shape))
        except _DAMAGE as fault:
            raise DataError(f"damaged, or no .npz file: {fault}") from fault
        except OSError as fault:  # also where a damaged directory points to before the file
            raise DataError(f"cannot be read: {fault.strerror or fault}") from fault
        return build_from(name, arrays, _classes(arrays["train_labels"], arrays["test_labels"]))


def _split_shape(text: str) -> tuple[str, tuple[int, ...] | None]:
    """Split `FILE:8000x1` into its parts; without a shape where there is none."""
    match = _SHAPE.search(text)
    if match is None:
        return text, None
    return text[: match.start()], tuple(map(int, match[1].split("x")))


def _check(archive: zipfile.ZipFile, shape: tuple[int, ...] | None) -> _Source:
    """Look at the headers of the arrays, before anything is unpacked."""
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    names = _choose(list(members))
    headers = {}
    for name in names:
        with within(f"array {name!r}"):
            headers[name] = check_member(archive, members[name])
    check_size(sum(header.elements for header in headers.values()))
    for name in names:
        with within(f"array {name!r}"):
            check_packing(archive, members[name])
    return _Source(archive, members, headers, shape)


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


def _load(source: _Source, key: str) -> Arrays:
    if "images" in source.headers:
        return _load_two(source, key)
    forms = _pair(source, "train", "x_train", "y_train") | _pair(source, "test", "x_test", "y_test")
    for name, part in (("x_test", "images"), ("y_test", "labels")):
        (one, one_dtype), (other, other_dtype) = forms[f"train_{part}"], forms[f"test_{part}"]
        if (one_dtype, one[1:]) != (other_dtype, other[1:]):
            raise DataError(
                f"array {name!r}: {np.dtype(other_dtype)} {other}; for training: "
                f"{np.dtype(one_dtype)} {one}; all but the first size must agree"
            )
    one_kind, other_kind = (source.headers[name].dtype for name in ("x_train", "x_test"))
    if (one_kind == np.uint8) != (other_kind == np.uint8):
        raise DataError(
            f"array 'x_test': {other_kind} images; for training: {one_kind}. uint8 is divided by "
            "255 and floats are not, so they would be of different scales. Try: both of one type"
        )

    def fill(made: Arrays) -> None:
        for part in ("train", "test"):
            for letter, kind in (("x", "images"), ("y", "labels")):
                out = made[f"{part}_{kind}"]
                _convert(source, f"{letter}_{part}", out, out, np.zeros(len(out), np.bool_))

    return make_arrays(key, forms, fill)


def _load_two(source: _Source, key: str) -> Arrays:
    """Load a set without a test set; some of its rows are taken for that."""
    forms = _pair(source, "all", "images", "labels")
    count = source.headers["images"].shape[0]
    if count < 2:
        raise DataError("array 'images': 1 image; at least 2 needed, for training and test")
    is_test = np.zeros(count, np.bool_)
    is_test[RawBits(Stream.NPZ, seed=0).permutation(count)[: max(1, count // 5)]] = True
    counts = {"train": int((~is_test).sum()), "test": int(is_test.sum())}
    halves: dict[str, Form] = {}
    for kind in _TWO:
        shape, dtype = forms[f"all_{kind}"]
        halves |= {f"{part}_{kind}": ((n, *shape[1:]), dtype) for part, n in counts.items()}

    def fill(made: Arrays) -> None:
        for kind in _TWO:
            _convert(source, kind, made[f"train_{kind}"], made[f"test_{kind}"], is_test)

    return make_arrays(key, halves, fill)


def _pair(source: _Source, part: str, images_name: str, labels_name: str) -> dict[str, Form]:
    """Check the headers of two arrays that belong together; return what they will become."""
    images, labels = source.headers[images_name], source.headers[labels_name]
    for name, header in ((images_name, images), (labels_name, labels)):
        if header.shape == () or header.elements == 0:
            raise DataError(f"array {name!r}: shape {header.shape}; it is empty")
    if images.shape[0] != labels.shape[0]:
        raise DataError(
            f"array {labels_name!r}: {labels.shape[0]} labels for the {images.shape[0]} images "
            f"of {images_name!r}"
        )
    with within(f"array {images_name!r}"):
        images_form = _images_form(images, source.shape)
    with within(f"array {labels_name!r}"):
        return {f"{part}_images": images_form, f"{part}_labels": _labels_form(labels)}


def _images_form(header: Header, shape: tuple[int, ...] | None) -> Form:
    count, *own = header.shape
    if header.dtype != np.uint8 and header.dtype.kind != "f":
        raise DataError(f"{header.dtype} images; allowed: uint8, or floats")
    if shape is not None:
        if math.prod(own) != math.prod(shape):
            raise DataError(
                f"shape {header.shape}, so each has {math.prod(own)} values; {list(shape)}, as "
                f"the dataset's name says, is {math.prod(shape)}"
            )
        return (count, *shape), np.float32
    if len(own) not in (2, 3, 4):
        raise DataError(
            f"shape {header.shape}; allowed: [n, h, w], [n, h, w, c] or [n, d, h, w, c]. "
            "Try, of signals: npz:FILE:LENGTHxCHANNELS"
        )
    return (count, *own, 1) if len(own) == 2 else (count, *own), np.float32


def _labels_form(header: Header) -> Form:
    count = header.shape[0]
    if len(header.shape) > 2:
        raise DataError(f"shape {header.shape}; allowed: [n] or [n, k]")
    if header.dtype.kind == "f":
        return (count, header.elements // count), np.float32
    if header.elements != count:
        raise DataError(
            f"shape {header.shape}; class labels are [n] (or save one-hot rows "
            "as labels.argmax(axis=1))"
        )
    return (count,), np.int32


def _convert(
    source: _Source, name: str, train: NDArray[Any], test: NDArray[Any], is_test: NDArray[np.bool_]
) -> None:
    """Read an array, bring it to its final type, and put each row into one of the two sets."""
    header = source.headers[name]
    rows = max(1, _BLOCK * header.shape[0] // header.elements)
    convert = _images if name in _IMAGES else _labels
    start, tests = 0, 0
    with within(f"array {name!r}"):
        for block in read_rows(source.archive, source.members[name], header, rows):
            done = convert(block).reshape(len(block), *train.shape[1:])
            chosen = is_test[start : start + len(done)]
            for out, part, at in (
                (train, done[~chosen], start - tests),
                (test, done[chosen], tests),
            ):
                out[at : at + len(part)] = part
            start, tests = start + len(done), tests + int(chosen.sum())


def _classes(train: NDArray[Any], test: NDArray[Any]) -> int | None:
    if train.dtype != np.int32:
        return None
    classes = int(max(train.max(), test.max())) + 1
    if classes < 2:
        raise DataError("every label is 0; at least two classes needed")
    return classes


def _images(array: NDArray[Any]) -> Images:
    return unit_interval(array) if array.dtype == np.uint8 else _finite(array)


def _labels(array: NDArray[Any]) -> Labels:
    if array.dtype.kind == "f":
        return _finite(array)
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= MAX_CLASSES:
        raise DataError(f"labels from {low} to {high}; allowed: 0 to {MAX_CLASSES - 1}")
    return array.astype(np.int32)


def _finite(array: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large for float32 is reported below
        single = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(single).all():
        raise DataError("NaN, infinite, or too large for float32")
    return single
