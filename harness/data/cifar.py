"""CIFAR-10 and CIFAR-100: found in a folder or the cache, else downloaded."""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.bounded import read_exactly
from harness.data.dataset import Dataset, build_from, unit_interval
from harness.data.download import download
from harness.data.faults import within
from harness.data.places import cache_of, check_md5, damaged, folders
from harness.data.store import Arrays, Form, file_state, key_of, make_arrays
from harness.errors import DataError

SIDE, CHANNELS = 32, 3
_PIXELS = CHANNELS * SIDE * SIDE
_SLACK = 2**20  # bytes of an archive beyond its images
_MAX_MEMBERS = 100
_DAMAGE = (tarfile.TarError, zlib.error, EOFError, OSError)


@dataclass(frozen=True)
class Cifar:
    """A dataset in the binary version, as its page describes it.

    A record is `label_bytes` labels, the last of which is the class, and 3072 bytes: a red, a
    green and a blue plane of 32 rows. `records` is how many each file holds.
    """

    name: str
    description: str
    archive: str
    md5: str
    folder: str
    train_files: tuple[str, ...]
    test_file: str
    records: dict[str, int]
    classes: int
    label_bytes: int
    mirrors: tuple[str, ...] = ("https://www.cs.toronto.edu/~kriz/",)

    def size(self, file: str) -> int:
        """Return the bytes that a file must have."""
        return self.records[file] * (self.label_bytes + _PIXELS)

    @property
    def train(self) -> int:
        """Number of training images."""
        return sum(self.records[file] for file in self.train_files)

    @property
    def test(self) -> int:
        """Number of test images."""
        return self.records[self.test_file]


_BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR = {
    "cifar10": Cifar(
        "cifar10",
        "small colour pictures of 10 kinds of things (Krizhevsky)",
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-batches-bin",
        _BATCHES,
        "test_batch.bin",
        dict.fromkeys((*_BATCHES, "test_batch.bin"), 10_000),
        classes=10,
        label_bytes=1,
    ),
    "cifar100": Cifar(
        "cifar100",
        "small colour pictures of 100 kinds of things (Krizhevsky)",
        "cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
        "cifar-100-binary",
        ("train.bin",),
        "test.bin",
        {"train.bin": 50_000, "test.bin": 10_000},
        classes=100,
        label_bytes=2,
    ),
}


def load_cifar(source: Cifar) -> Dataset:
    """Return `source` as images `[n, 32, 32, 3]` in [0, 1] and labels; the fine ones of cifar100.

    The archive, or the .bin files in it, are looked for in `$HARNESS_DATA/NAME`, `$HARNESS_DATA`,
    then the user's cache; else the archive is downloaded. It is never unpacked to disk. Raises
    `DataError` for a file that is damaged, and if no mirror delivers.
    """
    path = locate(source) or _fetch(source)
    paths = [path] if path.is_file() else [path / file for file in source.records]
    forms: dict[str, Form] = {}
    for part, count in (("train", source.train), ("test", source.test)):
        forms[f"{part}_images"] = ((count, SIDE, SIDE, CHANNELS), np.float32)
        forms[f"{part}_labels"] = ((count,), np.int32)

    def fill(made: Arrays) -> None:
        for file, content in _contents(source, path):
            with within(file):
                _decode(source, file, content, made)

    try:
        if path.is_file():
            check_md5(path, source.md5)
        key = key_of(source.name, [file_state(file) for file in paths])
        arrays = make_arrays(key, forms, fill)
    except DataError as fault:
        raise damaged(source.name, path, fault) from fault
    return build_from(source.name, arrays, source.classes)


def locate(source: Cifar) -> Path | None:
    """Return the archive, or the folder that has all the .bin files; None if neither is here."""
    for folder in folders(source.name, ()):
        if (folder / source.archive).is_file():
            return folder / source.archive
        for place in (folder / source.folder, folder):
            if all((place / file).is_file() for file in source.records):
                return place
    return None


def _contents(source: Cifar, path: Path) -> Iterator[tuple[str, bytearray]]:
    """Yield each file's name and bytes, of the size that it must have."""
    if path.is_file():
        try:
            yield from _members(source, path)
        except _DAMAGE as fault:
            raise DataError(f"damaged archive: {fault}") from fault
        return
    for file in source.records:
        found = (path / file).stat().st_size
        if found != source.size(file):
            raise DataError(f"{file}: expected {source.size(file)} bytes, found {found}")
        with (path / file).open("rb") as stream:
            yield file, read_exactly(stream, source.size(file), file)


def _members(source: Cifar, path: Path) -> Iterator[tuple[str, bytearray]]:
    """Read the members that are wanted, by their full names: no path of the archive is used."""
    missing = {f"{source.folder}/{file}": file for file in source.records}
    with tarfile.open(path, "r:gz") as archive:
        for count, member in enumerate(archive):
            if count == _MAX_MEMBERS or member.size > max(map(source.size, source.records)):
                raise DataError(f"member {member.name[:80]!r}: there is no such in the archive")
            file = missing.get(member.name.removeprefix("./"))
            if file is None:
                continue
            if not member.isreg() or member.size != source.size(file):
                raise DataError(f"{file}: expected {source.size(file)} bytes, found {member.size}")
            stream = archive.extractfile(member)
            assert stream is not None  # as it is a regular file
            del missing[f"{source.folder}/{file}"]
            yield file, read_exactly(stream, member.size, file)
    if missing:
        raise DataError(f"without {', '.join(missing)}")


def _decode(source: Cifar, file: str, content: bytearray, made: Arrays) -> None:
    """Put the records of a file where they belong."""
    part, at = "test", 0
    if file != source.test_file:
        earlier = source.train_files[: source.train_files.index(file)]
        part, at = "train", sum(source.records[name] for name in earlier)
    records = np.frombuffer(content, np.uint8).reshape(source.records[file], -1)
    labels: NDArray[np.uint8] = records[:, source.label_bytes - 1]
    if labels.max() >= source.classes:
        raise DataError(f"label {labels.max()}; allowed: 0 to {source.classes - 1}")
    planes = records[:, source.label_bytes :].reshape(-1, CHANNELS, SIDE, SIDE)
    rows = slice(at, at + len(records))
    made[f"{part}_images"][rows] = unit_interval(planes.transpose(0, 2, 3, 1))
    made[f"{part}_labels"][rows] = labels


def _fetch(source: Cifar) -> Path:
    """Download the archive into the cache; return its path."""
    target = cache_of(source.name) / source.archive
    limit = sum(map(source.size, source.records)) + _SLACK
    urls = [mirror + source.archive for mirror in source.mirrors]
    try:
        download(urls, target, limit, lambda path: check_md5(path, source.md5))
    except DataError as fault:
        own = os.environ.get("HARNESS_DATA") or "not set"
        raise DataError(
            f"{source.name}: {source.archive} could not be downloaded\n{fault}\n"
            f"nor is it in $HARNESS_DATA ({own}) or in {target.parent}. "
            f"Put {source.archive} into a folder and set HARNESS_DATA to it, "
            "or try: --dataset synthetic:32x32x3:10:2048"
        ) from fault
    return target
