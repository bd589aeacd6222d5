"""Where the files of a published dataset are looked for."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

from harness.data.store import cache_folder
from harness.errors import DataError


def cache_of(name: str) -> Path:
    """Return the folder of the dataset `name` in the user's cache, which downloads go to."""
    return cache_folder() / name


def folders(name: str, siblings: Collection[str]) -> list[Path]:
    """Return `$HARNESS_DATA/NAME`, `$HARNESS_DATA`, and the user's cache, in this order.

    `siblings` are datasets whose files have the same names: where `$HARNESS_DATA` is the folder
    of one of them, its files are not taken for those of `name`.
    """
    value = os.environ.get("HARNESS_DATA")
    if not value:
        return [cache_of(name)]
    own = Path(value).expanduser()
    if own.name in siblings and own.name != name:
        return [own / name, cache_of(name)]
    return [own / name, own, cache_of(name)]


def damaged(name: str, path: Path, fault: DataError) -> DataError:
    """Return the error that a fault in `path` makes: which file, and what to do about it."""
    remedy = "Delete it to have it downloaded again"
    if cache_of(name) not in path.parents:
        remedy = f"Replace it, or unset HARNESS_DATA to have {name} downloaded"
    return DataError(f"{path}: {fault}. {remedy}")


def check_md5(path: Path, expected: str) -> None:
    """Compare the file with the published MD5, which is no protection, but what there is.

    Raises `DataError`.
    """
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != expected:
        raise DataError(f"not the published file: MD5 expected {expected}, found {found}")
