"""Made-up images of any size that a network can learn: a pattern per class, plus noise."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import MAX_CLASSES, Dataset, Images, build, check_size
from harness.data.faults import within
from harness.data.resize import linear
from harness.data.store import Arrays, key_of, make_arrays
from harness.data.streams import RawBits, Stream
from harness.errors import DataError

FORM = "synthetic:HxWxC:classes:n"
_PATTERN = re.compile(r"(\d{1,12}(?:x\d{1,12}){1,3}):(\d{1,12}):(\d{1,12})", re.ASCII)
_SIDES = {2: ("length",), 3: ("height", "width"), 4: ("depth", "height", "width")}  # by sizes
_LIMITS = {
    "length": (1, 65536),
    "depth": (1, 4096),
    "height": (1, 4096),
    "width": (1, 4096),
    "channels": (1, 1024),
    "classes": (2, MAX_CLASSES),
    "n": (1, 100_000_000),
}
_GRID = 4  # a pattern's own resolution: coarse, so that it survives pooling
_BLOCK = 2**20  # pixels drawn at a time; the values do not depend on it


@dataclass(frozen=True)
class _Request:
    image: tuple[int, ...]
    classes: int
    n: int

    @property
    def test(self) -> int:
        return max(self.n // 5, self.classes)


def load_synthetic(name: str) -> Dataset:
    """Make the dataset that `name` describes, e.g. `synthetic:32x32x3:10:2048`.

    `n` training and `max(n // 5, classes)` test images in [0, 1), classes in equal numbers.
    An image is `0.4 * pattern of its class + 0.6 * uniform noise per pixel`; a pattern is a
    4x4 grid of uniform values, enlarged. With two sizes, length and channels, they are signals,
    with four volumes: `synthetic:8000x1:10:2048`. The same name gives the same bits everywhere.
    Raises `DataError` if a number is missing or out of range.
    """
    request = _parse(name)
    patterns = _patterns(request)
    train = _labels(request.n, request.classes, Stream.TRAIN_LABELS)
    test = _labels(request.test, request.classes, Stream.TEST_LABELS)
    forms = {
        "train": ((request.n, *request.image), np.float32),
        "test": ((request.test, *request.image), np.float32),
    }

    def fill(images: Arrays) -> None:
        _draw(images["train"], patterns, train, Stream.TRAIN_NOISE)
        _draw(images["test"], patterns, test, Stream.TEST_NOISE)

    made = make_arrays(key_of(name), forms, fill)
    return build(name, (made["train"], train), (made["test"], test), request.classes)


def _parse(name: str) -> _Request:
    match = _PATTERN.fullmatch(name.removeprefix("synthetic:"))
    if match is None:
        raise DataError(
            f"dataset {name!r} is not of the form {FORM}. Try: synthetic:32x32x3:10:2048, or, of "
            "signals, synthetic:8000x1:10:2048"
        )
    image, classes, n = match[1].split("x"), int(match[2]), int(match[3])
    request = _Request(tuple(map(int, image)), classes, n)
    fields = (*_SIDES[len(image)], "channels", "classes", "n")
    for field, value in zip(fields, (*request.image, classes, n), strict=True):
        low, high = _LIMITS[field]
        if not low <= value <= high:
            raise DataError(f"dataset {name!r}: {field} is {value}; allowed: {low} to {high}")
    if request.n < request.classes:
        raise DataError(
            f"dataset {name!r}: n is {request.n}; allowed: at least the number of classes, "
            f"{request.classes}"
        )
    pixels = math.prod(request.image)
    with within(f"dataset {name!r}"):
        check_size((request.n + request.test + request.classes) * pixels)
    return request


def _patterns(request: _Request) -> Images:
    patterns = np.empty((request.classes, *request.image), np.float32)
    bits = RawBits(Stream.PROTOTYPES, seed=0)
    for pattern in patterns:
        *sides, channels = request.image
        grid = bits.uniform((1, *(_GRID for _ in sides), channels)).astype(np.float64)
        pattern[...] = linear(grid, sides)[0]
    return patterns


def _labels(count: int, classes: int, stream: Stream) -> NDArray[np.int32]:
    return (RawBits(stream, seed=0).permutation(count) % classes).astype(np.int32)


def _draw(images: Images, patterns: Images, labels: NDArray[np.int32], stream: Stream) -> None:
    bits = RawBits(stream, seed=0)
    rows = max(1, _BLOCK // patterns[0].size)
    for start in range(0, len(labels), rows):
        block = images[start : start + rows]
        np.multiply(bits.uniform(block.shape), np.float32(0.6), out=block)
        block += np.float32(0.4) * patterns[labels[start : start + rows]]
