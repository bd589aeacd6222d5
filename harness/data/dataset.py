"""What every dataset looks like once it is loaded, and its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError

Images = NDArray[np.float32]
Labels = NDArray[np.int32] | NDArray[np.float32]

MAX_BYTES = 256 * 2**30  # of one dataset as float32; more is a mistyped number
MAX_CLASSES = 100_000


# Arrays have no single truth value, so the generated __eq__ would only raise.
@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images with their labels.

    Images are float32 `[n, height, width, channels]`; signals `[n, length, channels]` and volumes
    `[n, depth, height, width, channels]` go by the same name. Labels are int32 `[n]` in
    `0 .. classes - 1`, or, for regression (`classes` is None), float32 targets `[n, k]`.
    Large ones are memory-mapped, hence read-only (see `store`).
    `hash` is the first 16 hex digits of a SHA-256 over the four arrays.
    """

    name: str
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    classes: int | None
    hash: str

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Height, width and channels of one image; of signals and volumes, as many sizes."""
        return self.train_images.shape[1:]


def build(
    name: str,
    train: tuple[Images, Labels],
    test: tuple[Images, Labels],
    classes: int | None,
) -> Dataset:
    """Make a `Dataset` of `(images, labels)` pairs that were already checked; add its hash."""
    return Dataset(name, *train, *test, classes, fingerprint([*train, *test]))


def build_from(name: str, arrays: Mapping[str, NDArray[Any]], classes: int | None) -> Dataset:
    """Make a `Dataset` of arrays called as its fields, already checked; add its hash."""
    train, test = (
        (arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in ("train", "test")
    )
    return build(name, train, test, classes)


def fingerprint(arrays: Iterable[NDArray[Any]]) -> str:
    """Sixteen hex digits of a SHA-256 over the dtype, shape and little-endian bytes of each."""
    digest = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(f"{little.dtype.str} {little.shape}\n".encode())
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]


def unit_interval(images: NDArray[np.uint8]) -> Images:
    """Bring 0 .. 255 to [0, 1]: `float32(x) / float32(255)`, same shape."""
    return np.divide(images, np.float32(255), dtype=np.float32)


def check_size(elements: int) -> None:
    """Refuse, before anything is allocated, more than `MAX_BYTES` of float32.

    Raises `DataError`.
    """
    check_bytes(elements * 4)


def check_bytes(count: int) -> None:
    """Refuse, before anything is allocated, more than `MAX_BYTES`.

    Raises `DataError`.
    """
    if count > MAX_BYTES:
        raise DataError(
            f"{count:,} bytes as float32; allowed: up to {MAX_BYTES:,} (256 GiB) for "
            "training and test images and labels together. Try: fewer or smaller images"
        )
