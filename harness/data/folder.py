"""Datasets of your own, as pictures in a folder for each class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import MAX_CLASSES, Dataset, build_from
from harness.data.faults import within
from harness.data.pictures import Size, faults_named, look, pillow, pixels, split_size
from harness.data.store import Arrays, Form, key_of, make_arrays, state_of
from harness.data.streams import RawBits, Stream
from harness.errors import DataError

FORM = "image-folder:DIR"
_SUFFIXES = frozenset((".png", ".jpg", ".jpeg"))
_TEST = ("test", "val", "validation")  # what is tested on: the first of these that there is
_TRY = "Try: image-folder:DIR, DIR with a folder of PNG or JPEG files for each class"


@dataclass(frozen=True)
class _Files:
    """The pictures of one split and the class of each, in the order of classes and names."""

    paths: list[Path]
    labels: NDArray[np.int32]


def load_folder(name: str) -> Dataset:
    """Load `image-folder:DIR`, or `image-folder:DIR:HxW` to resize all pictures.

    A class is a folder of PNG and JPEG files, in the order of their names; hidden files and
    others are passed over. With `DIR/train` and `DIR/test`, or `DIR/val`, these are the two sets,
    else a fifth of each class is for testing, always the same. Images are `[n, h, w, 1]` if all
    are grey, else `[n, h, w, 3]`, in [0, 1]. They are decoded once, into the user's cache, and
    anew when the name, size or a time of a file has changed. Raises `DataError`, naming the file.
    """
    directory, size = split_size(name.partition(":")[2])
    root = Path(directory).expanduser()
    if not directory or not root.is_dir():
        raise DataError(f"dataset {name!r}: no such folder: {root}. {_TRY}")
    with within(f"dataset {name!r}"):
        classes, train, test = _scan(root)
    files = [*train.paths, *test.paths]
    key = key_of("image-folder", str(root.resolve()), size, _states(files, root), len(test.paths))

    def probe(made: Arrays) -> None:
        made["form"][...] = _form(pillow(name), files, size)

    height, width, channels = map(
        int, make_arrays(f"{key}-form", {"form": ((3,), np.int64)}, probe, keep=True)["form"]
    )
    forms: dict[str, Form] = {}
    for part, found in (("train", train), ("test", test)):
        forms[f"{part}_images"] = ((len(found.paths), height, width, channels), np.float32)
        forms[f"{part}_labels"] = ((len(found.paths),), np.int32)

    def fill(made: Arrays) -> None:
        library = pillow(name)
        for part, found in (("train", train), ("test", test)):
            made[f"{part}_labels"][...] = found.labels
            for row, path in enumerate(found.paths):
                with within(str(path)), faults_named(), _open(library, path) as picture:
                    look(picture)
                    made[f"{part}_images"][row] = pixels(picture, channels, (height, width))

    return build_from(name, make_arrays(key, forms, fill, keep=True), len(classes))


def _open(library: Any, path: Path) -> Any:
    return library.open(path, formats=("PNG", "JPEG"))


def _scan(root: Path) -> tuple[list[str], _Files, _Files]:
    """Return the names of the classes, and the files for training and for testing."""
    train = root / "train"
    test = next((root / name for name in _TEST if (root / name).is_dir()), None)
    if test is None or not train.is_dir():
        classes = _classes(root)
        return classes, *_split(_files(root, classes))
    classes = _classes(train)
    unknown = sorted(set(_folders(test)) - set(classes))
    if unknown:
        raise DataError(f"{test / unknown[0]}: there is no such class in {train}")
    return classes, _files(train, classes), _files(test, classes, may_lack=True)


def _folders(place: Path) -> list[str]:
    return sorted(
        entry.name for entry in place.iterdir() if entry.is_dir() and entry.name[0] != "."
    )


def _classes(place: Path) -> list[str]:
    classes = _folders(place)
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise DataError(
            f"{place}: {len(classes)} folders for classes; allowed: 2 to {MAX_CLASSES}. {_TRY}"
        )
    return classes


def _files(place: Path, classes: list[str], *, may_lack: bool = False) -> _Files:
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        folder = place / name
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        chosen = [
            path
            for path in found
            if path.name[0] != "." and path.suffix.lower() in _SUFFIXES and path.is_file()
        ]
        if not chosen and not may_lack:
            raise DataError(f"{folder}: no PNG or JPEG file in it. {_TRY}")
        paths += chosen
        labels += [label] * len(chosen)
    if not paths:
        raise DataError(f"{place}: no PNG or JPEG file in it. {_TRY}")
    return _Files(paths, np.array(labels, np.int32))


def _split(files: _Files) -> tuple[_Files, _Files]:
    """Take a fifth of each class, at least one picture, for testing."""
    draws = RawBits(Stream.FOLDER, seed=0).words(len(files.paths))
    is_test = np.zeros(len(files.paths), np.bool_)
    for label in range(int(files.labels.max()) + 1):
        rows = np.flatnonzero(files.labels == label)
        if len(rows) < 2:
            raise DataError(
                f"{files.paths[rows[0]].parent}: 1 picture; at least 2 of each class needed, "
                "for training and test"
            )
        is_test[rows[np.argsort(draws[rows], kind="stable")[: max(1, len(rows) // 5)]]] = True
    train, test = (
        _Files([files.paths[row] for row in np.flatnonzero(chosen)], files.labels[chosen])
        for chosen in (~is_test, is_test)
    )
    return train, test


def _states(files: list[Path], root: Path) -> list[tuple[str, int, int, int]]:
    """Return the name of each file within `root`, and what tells that it has changed."""
    return [(str(path.relative_to(root)), *state_of(path)) for path in files]


def _form(library: Any, files: list[Path], size: Size | None) -> tuple[int, int, int]:
    """Return height, width and channels of all pictures, from their headers."""
    first, channels = None, 1
    for path in files:
        with within(str(path)), faults_named(), _open(library, path) as picture:
            height, width, own_channels = look(picture)
        channels = max(channels, own_channels)
        first = first or size or (height, width)
        if size is None and (height, width) != first:
            raise DataError(
                f"{path}: {height}x{width} pixels; {files[0]} has {first[0]}x{first[1]}. "
                f"All must agree, or try: image-folder:DIR:{first[0]}x{first[1]} to resize them"
            )
    assert first is not None  # as there are files
    return *first, channels
