"""Where a dataset's arrays lie: in memory, or, if they are too large, in files mapped into it."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from harness.data.dataset import check_bytes
from harness.errors import DataError

Arrays = dict[str, NDArray[Any]]
Form = tuple[tuple[int, ...], DTypeLike]  # shape and type of an array

MEMORY_LIMIT: int | None = None  # bytes that a dataset may have in memory; None: see below
_VERSION = 1  # of the files; a change of what loaders make of the same source needs another
_SPARE = 64 * 2**20  # bytes left free on the disk


def memory_limit() -> int:
    """Return how many bytes of arrays are held in memory: half of what is available now."""
    import psutil

    return MEMORY_LIMIT if MEMORY_LIMIT is not None else psutil.virtual_memory().available // 2


def cache_folder() -> Path:
    """Return the folder of this program in the user's cache."""
    import pooch  # type: ignore[import-untyped]

    return Path(pooch.os_cache("cnn-harness"))


def key_of(*parts: object) -> str:
    """Return a name for what was made of `parts`: numbers, strings, and lists of them."""
    text = json.dumps([_VERSION, *parts])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def state_of(path: Path) -> tuple[int, int, int]:
    """Return what tells that the content of a file has changed: its size, and times of change.

    The second of these is the system's own: `cp -p`, `rsync -t` and `tar` set the first, to that
    of the file they copy, and a picture may well be as long as the one that it replaces.
    """
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def file_state(path: Path) -> tuple[str, int, int, int]:
    """Return the full path of a file, and `state_of` it."""
    return str(path.resolve()), *state_of(path)


def make_arrays(
    key: str,
    forms: Mapping[str, Form],
    fill: Callable[[Arrays], None],
    *,
    keep: bool = False,
) -> Arrays:
    """Allocate arrays of these `forms`, have `fill` write them, and return them.

    What is larger than `memory_limit()`, or is to be kept for the next time, is made in the
    user's cache, as `arrays/KEY/NAME.npy`, and returned mapped into memory, read-only; where it
    lies there already, `fill` is not called. Files that were not finished are never seen.
    Raises `DataError` if it is too much for the disk, too, and whatever `fill` raises.
    """
    size = sum(_bytes(form) for form in forms.values())
    check_bytes(size)
    if not keep and size <= memory_limit():
        arrays = {name: np.empty(shape, dtype) for name, (shape, dtype) in forms.items()}
        fill(arrays)
        return arrays
    folder = cache_folder() / "arrays" / key
    found = _open(folder, forms)
    if found is None:
        shutil.rmtree(folder, ignore_errors=True)
        _write(folder, forms, fill, size)
        found = _open(folder, forms)
    if found is None:
        raise DataError(f"{folder}: changed while it was written. Try: again")
    return found


def _bytes(form: Form) -> int:
    shape, dtype = form
    count = np.dtype(dtype).itemsize
    for extent in shape:
        count *= extent
    return count


def _open(folder: Path, forms: Mapping[str, Form]) -> Arrays | None:
    """Map the files of `folder`; None if one is missing, damaged, or of another form."""
    arrays: Arrays = {}
    for name, (shape, dtype) in forms.items():
        try:
            array = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        if (array.shape, array.dtype) != (tuple(shape), np.dtype(dtype)):
            return None
        arrays[name] = array
    return arrays


def _write(
    folder: Path, forms: Mapping[str, Form], fill: Callable[[Arrays], None], size: int
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if size + _SPARE > free:
        raise DataError(
            f"{size:,} bytes as float32: more than half of the memory available, and "
            f"{folder.parent} has {free:,} free. Try: fewer or smaller images, or set "
            "XDG_CACHE_HOME to a folder on a larger disk"
        )
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".part-") as temporary:
        part = Path(temporary) / "arrays"
        part.mkdir()
        mapped = {
            name: np.lib.format.open_memmap(part / f"{name}.npy", "w+", np.dtype(dtype), shape)
            for name, (shape, dtype) in forms.items()
        }
        fill(dict(mapped))
        for array in mapped.values():
            array.flush()
        with suppress(OSError):  # another process was first, with the same
            part.rename(folder)
