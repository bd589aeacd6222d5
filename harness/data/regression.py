"""Made-up images with real targets, each a smooth function of what the image shows."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Dataset, Images, build_from, check_size
from harness.data.faults import within
from harness.data.resize import bilinear
from harness.data.store import Arrays, key_of, make_arrays
from harness.data.streams import RawBits, Stream
from harness.errors import DataError

FORM = "synthetic-regression:HxWxC:outputs:n"
_PATTERN = re.compile(r"(\d{1,12})x(\d{1,12})x(\d{1,12}):(\d{1,12}):(\d{1,12})", re.ASCII)
_GRID = 4  # an image's own resolution
_CELLS = 4  # of the grid that a target depends on
_LIMITS = {
    "height": (_GRID, 4096),
    "width": (_GRID, 4096),
    "channels": (1, 1024),
    "outputs": (1, 10_000),
    "n": (2, 100_000_000),
}
_BLOCK = 2**20  # pixels made at a time; the values do not depend on it


@dataclass(frozen=True)
class _Request:
    height: int
    width: int
    channels: int
    outputs: int
    n: int

    @property
    def test(self) -> int:
        return max(self.n // 5, 1)


def load_regression(name: str) -> Dataset:
    """Make the dataset that `name` describes, e.g. `synthetic-regression:16x16x1:2:2048`.

    `n` training and `max(n // 5, 1)` test images in [0, 1): 0.9 times a 4x4 grid of uniform
    values, enlarged, plus 0.1 times uniform noise per pixel. A target is `v (3 - v^2) / 2`,
    where v, from -1 to 1, is half of the sum of two cells of the grid less that of two others,
    the same four for every image. The same name gives the same bits everywhere.
    Raises `DataError` if a number is missing or out of range.
    """
    request = _parse(name)
    chosen = _cells(request)
    image = (request.height, request.width, request.channels)
    counts = {"train": request.n, "test": request.test}
    images = {f"{part}_images": ((n, *image), np.float32) for part, n in counts.items()}
    labels = {f"{part}_labels": ((n, request.outputs), np.float32) for part, n in counts.items()}

    def fill(made: Arrays) -> None:
        for part, stream in (("train", Stream.REGRESSION_TRAIN), ("test", Stream.REGRESSION_TEST)):
            _draw(made[f"{part}_images"], made[f"{part}_labels"], chosen, stream)

    return build_from(name, make_arrays(key_of(name), {**images, **labels}, fill), classes=None)


def _parse(name: str) -> _Request:
    match = _PATTERN.fullmatch(name.removeprefix("synthetic-regression:"))
    if match is None:
        raise DataError(
            f"dataset {name!r} is not of the form {FORM}. Try: synthetic-regression:16x16x1:2:2048"
        )
    request = _Request(*map(int, match.groups()))
    for field, (low, high) in _LIMITS.items():
        value = getattr(request, field)
        if not low <= value <= high:
            raise DataError(f"dataset {name!r}: {field} is {value}; allowed: {low} to {high}")
    each = request.height * request.width * request.channels + request.outputs
    with within(f"dataset {name!r}"):
        check_size((request.n + request.test) * each)
    return request


def _cells(request: _Request) -> NDArray[np.int64]:
    """Return `[outputs, 4]`, the cells of the grid that each target looks at."""
    bits = RawBits(Stream.REGRESSION_CELLS, seed=0)
    count = _GRID * _GRID * request.channels
    return np.stack([bits.permutation(count)[:_CELLS] for _ in range(request.outputs)])


def _draw(
    images: Images, targets: NDArray[np.float32], chosen: NDArray[np.int64], stream: Stream
) -> None:
    count, height, width, channels = images.shape
    grids, noise = RawBits(stream, seed=0, index=0), RawBits(stream, seed=0, index=1)
    rows = max(1, _BLOCK // images[0].size)
    for start in range(0, count, rows):
        block = images[start : start + rows]
        grid = grids.uniform((len(block), _GRID, _GRID, channels)).astype(np.float64)
        block[...] = 0.9 * bilinear(grid, height, width)
        block += np.float32(0.1) * noise.uniform(block.shape)
        a, b, c, d = np.moveaxis(grid.reshape(len(block), -1)[:, chosen], 2, 0)
        v = (a + b - c - d) / 2
        targets[start : start + rows] = v * (3 - v * v) / 2
