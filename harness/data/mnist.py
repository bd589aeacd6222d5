"""MNIST and Fashion-MNIST: found in a folder or the cache, else downloaded."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Dataset, build_from, fingerprint, unit_interval
from harness.data.download import download
from harness.data.idx import read_idx
from harness.data.places import cache_of, check_md5, damaged, folders
from harness.data.published import SOURCES, Part, Source
from harness.data.store import Arrays, Form, key_of, make_arrays
from harness.errors import DataError

CLASSES = 10


def load_mnist(source: Source) -> Dataset:
    """Return `source` as images `[n, 28, 28, 1]` in [0, 1] and labels 0 .. 9.

    Looked for in `$HARNESS_DATA/NAME`, `$HARNESS_DATA`, then the user's cache; what is not
    there is downloaded into the cache. Raises `DataError` for a file that is damaged or of
    another dataset, and if no mirror delivers.
    """
    found = {part: locate(source, part) for part in source.parts}
    # First what is here: a damaged file should be reported before minutes of download.
    arrays = {part: _open(source, part, path) for part, path in found.items() if path}
    for part in source.parts:
        if part not in arrays:
            arrays[part] = _open(source, part, _fetch(source, part))
    train_images, train_labels, test_images, test_labels = source.parts
    forms: dict[str, Form] = {
        "train_images": ((*train_images.shape, 1), np.float32),
        "train_labels": (train_labels.shape, np.int32),
        "test_images": ((*test_images.shape, 1), np.float32),
        "test_labels": (test_labels.shape, np.int32),
    }

    def fill(made: Arrays) -> None:
        for name, part in zip(forms, source.parts, strict=True):
            is_images = name.endswith("images")
            array = arrays[part]
            made[name][...] = unit_interval(array)[..., np.newaxis] if is_images else array

    key = key_of(source.name, fingerprint(arrays[part] for part in source.parts))
    return build_from(source.name, make_arrays(key, forms, fill), CLASSES)


def locate(source: Source, part: Part) -> Path | None:
    """Return where `part` is now, compressed or not, or None."""
    dotted = part.stem.replace("-idx", ".idx")
    for folder in folders(source.name, SOURCES):
        for name in (part.stem, f"{part.stem}.gz", dotted, f"{dotted}.gz"):
            if (folder / name).is_file():
                return folder / name
    return None


def _open(source: Source, part: Part, path: Path) -> NDArray[np.uint8]:
    """Read and check one file; name it in the error."""
    try:
        return _read(source, part, path)
    except DataError as fault:
        raise damaged(source.name, path, fault) from fault


def _read(source: Source, part: Part, path: Path) -> NDArray[np.uint8]:
    with path.open("rb") as file:
        array, found = read_idx(file, part.shape)
    _check_owner(source, found)
    if part.content not in (None, found):
        raise DataError(
            f"not the published file: SHA-256 of the uncompressed bytes: expected "
            f"{part.content}, found {found}"
        )
    if array.ndim == 1 and array.max() >= CLASSES:
        raise DataError(f"label {array.max()}; allowed: 0 to {CLASSES - 1}")
    return array


def _check_owner(source: Source, found: str) -> None:
    """Refuse another dataset's file of the same name: it would pass by its structure."""
    for other in SOURCES.values():
        if other.name != source.name and found in [part.content for part in other.parts]:
            raise DataError(
                f"this is a file of {other.name!r}, not of {source.name!r}. Put each dataset "
                "into a folder of its name within $HARNESS_DATA"
            )


def _fetch(source: Source, part: Part) -> Path:
    """Download `part` into the cache; return its path."""

    def verify(path: Path) -> None:
        if part.archive is not None:
            check_md5(path, part.archive)
        _read(source, part, path)

    target = cache_of(source.name) / f"{part.stem}.gz"
    urls = [mirror + target.name for mirror in source.mirrors]
    # The files are compressed; 64 KiB more is for those that hardly can be.
    limit = math.prod(part.shape) + 2**16
    try:
        download(urls, target, limit, verify)
    except DataError as fault:
        own = os.environ.get("HARNESS_DATA") or "not set"
        raise DataError(
            f"{source.name}: {target.name} could not be downloaded\n{fault}\n"
            f"nor is it in $HARNESS_DATA ({own}) or in {target.parent}. "
            f"Put the four files of {source.name} into a folder and set HARNESS_DATA to it, "
            "or try: --dataset digits"
        ) from fault
    return target
