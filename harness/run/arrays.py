"""The data of a run, in files that every worker maps into its memory."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data import Dataset
from harness.data.augment import augment
from harness.errors import DataError
from harness.run.durable import storing
from harness.spec import Augment, Spec

Array = NDArray[Any]
EPOCH_IMAGES = "epoch_images"
_ROWS = 4096  # augmented at a time; the result does not depend on it


def run_arrays(spec: Spec, outputs: int, dataset: Dataset) -> dict[str, Array]:
    """Return images `[n, h, w, c]` and targets of both splits, as the model's loss wants them.

    On class labels all losses but cross_entropy take one-hot rows `[n, outputs]`, or the label
    itself, `[n, 1]`, where one output tells two classes apart.
    """
    arrays: dict[str, Array] = {}
    for split, images, labels in (
        ("train", dataset.train_images, dataset.train_labels),
        ("test", dataset.test_images, dataset.test_labels),
    ):
        targets: Array = labels
        if spec.training.loss != "cross_entropy" and dataset.classes is not None:
            if outputs == 1:
                targets = labels[:, np.newaxis].astype(np.float32)
            else:
                targets = np.zeros((len(labels), outputs), np.float32)
                targets[np.arange(len(labels)), labels] = 1.0
        arrays[f"{split}_images"], arrays[f"{split}_targets"] = images, targets
    return arrays


def write_arrays(folder: Path, arrays: Mapping[str, Array]) -> None:
    """Put each array at `folder/NAME.npy`; a worker reads them without a copy in between.

    One that is mapped from such a file, whole, is only linked to.

    Raises:
        StorageError: the disk of the temporary files is full.

    """
    for name, array in arrays.items():
        path = folder / f"{name}.npy"
        with storing(path):
            if isinstance(array, np.memmap) and _is_whole_file(array):
                path.symlink_to(Path(str(array.filename)).absolute())
            else:
                np.save(path, array, allow_pickle=False)


def _is_whole_file(array: np.memmap[Any, Any]) -> bool:
    """Return whether it is what `np.load` mapped; a view of that has another base."""
    return isinstance(array.base, mmap) and str(array.filename).endswith(".npy")


def write_epoch(
    folder: Path,
    images: NDArray[np.float32],
    order: NDArray[np.int64],
    augmentation: Augment,
    seed: int,
    epoch: int,
) -> None:
    """Write the training images as they are in one epoch to `folder`, as `EPOCH_IMAGES`.

    `order` has the row numbers of the epoch, first to last. A row keeps its number, and the set
    its size, so that orders mean what they meant and no backend sees a new shape; a row that is
    not in `order` is zero.

    Raises:
        DataError: there is too little room.
        StorageError: the disk is full or broken.

    """
    free = shutil.disk_usage(folder).free
    if images.nbytes > free:
        raise DataError(
            f"augmented images need {images.nbytes:,} bytes in {folder}, where {free:,} are free. "
            "Try: TMPDIR=FOLDER on a larger disk, or a smaller dataset"
        )
    path = folder / f"{EPOCH_IMAGES}.npy"
    new = folder / f"{EPOCH_IMAGES}.new"
    with storing(path):
        changed = np.lib.format.open_memmap(new, "w+", np.dtype(np.float32), images.shape)
        _reserve(new)
        for start in range(0, len(order), _ROWS):
            rows = order[start : start + _ROWS]
            changed[rows] = augment(images, rows, augmentation, seed, epoch, start)
        changed.flush()
        new.replace(path)  # never over the old one, which workers may still have in their memory


def _reserve(path: Path) -> None:
    """Take up all of a file's room: to run out of it while it is mapped would end the process.

    Raises:
        OSError: there is too little.

    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot
                raise
