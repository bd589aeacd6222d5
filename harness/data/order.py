"""Which images are trained on, and in which order: the same rows for every backend."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from harness.data.streams import RawBits, Stream
from harness.errors import DataError

Indices = NDArray[np.int64]


def split(n: int, validation_split: float, seed: int) -> tuple[Indices, Indices]:
    """Set a random part of `n` training images aside.

    Returns the int64 indices `(train, validation)`, each ascending, together every index
    once; `round(n * validation_split)` are for validation, none if the fraction is 0.
    Raises `DataError` if the fraction is not in [0, 1), or leaves one of the two empty.
    """
    if not 0 <= validation_split < 1:
        raise DataError(f"validation_split {validation_split}; allowed: 0 <= fraction < 1")
    count = round(n * validation_split)
    if count >= n or (count == 0 and validation_split > 0):
        part = "training" if count >= n else "validation"
        raise DataError(
            f"validation_split {validation_split} of {n} images leaves none for {part}. "
            "Try: another fraction, or 0 for no validation"
        )
    order = RawBits(Stream.SPLIT, seed).permutation(n)
    return np.sort(order[count:]), np.sort(order[:count])


def epoch_batches(
    indices: Indices, batch_size: int, seed: int, epoch: int, last_batch: str
) -> list[Indices]:
    """Draw the order of one epoch and cut it into batches.

    Returns one int64 array `[steps, batch_size]` of full batches, and, if `last_batch` is
    "keep" and some images are left over, a second one `[1, remainder]`. With fewer images
    than a batch, "keep" returns only the latter. Each (seed, epoch) has a permutation of its
    own, the same whatever the batch size. No index occurs twice.
    Raises `DataError` if there is no step to make, or an argument is out of range.
    """
    _check_epoch(len(indices), batch_size, epoch, last_batch)
    order = np.asarray(indices, np.int64)[
        RawBits(Stream.EPOCH, seed, epoch).permutation(len(indices))
    ]
    steps, remainder = divmod(len(indices), batch_size)
    batches = []
    if steps:
        batches.append(order[: steps * batch_size].reshape(steps, batch_size))
    if remainder and last_batch == "keep":
        batches.append(order[-remainder:].reshape(1, remainder))
    return batches


def _check_epoch(count: int, batch_size: int, epoch: int, last_batch: str) -> None:
    if batch_size < 1:
        raise DataError(f"batch_size {batch_size}; allowed: 1 or more. Try: --batch-size 128")
    if epoch < 0:
        raise DataError(f"epoch {epoch}; allowed: 0 or more")
    if last_batch not in ("drop", "keep"):
        raise DataError(f"last_batch {last_batch!r}; allowed: 'drop', 'keep'")
    if count == 0:
        raise DataError("there are 0 training images; an epoch needs at least 1")
    if count < batch_size and last_batch == "drop":
        raise DataError(
            f"batch_size {batch_size} is more than the {count} training images, and last_batch "
            f"is 'drop': an epoch would have no step. Try: --batch-size {count}, or a larger "
            'dataset, or last_batch = "keep" in the model\'s file'
        )


class OrderHash:
    """A running SHA-256 over the batches handed out, in order.

    It depends on each batch's size and indices, not on how many batches are added at a time.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def update(self, batches: Indices) -> None:
        """Add int64 rows `[steps, batch]`, as they are given to a backend."""
        steps, batch = batches.shape
        sizes = np.full((steps, 1), batch, np.int64)
        self._digest.update(np.hstack([sizes, batches]).astype("<i8").tobytes())

    def hexdigest(self) -> str:
        """Return the first 16 hex digits over all batches so far."""
        return self._digest.hexdigest()[:16]
