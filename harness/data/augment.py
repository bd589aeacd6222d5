"""Training images changed at random, by the harness: every backend sees the same pixels."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Images
from harness.data.order import Indices
from harness.data.streams import RawBits, Stream

_WORDS = 8  # drawn for each image, used or not: what one change draws moves no other
_CHUNK = 2**18  # values gathered at a time, few enough for the cache; the result is the same


class Augmentation(Protocol):
    """What is done to an image, in this order: crop, flip, cut out."""

    @property
    def crop_padding(self) -> int:
        """Pixels of zeros put around the image, before it is cropped back to its size."""

    @property
    def flip(self) -> bool:
        """Whether one image in two is mirrored, left to right."""

    @property
    def cutout(self) -> int:
        """Side of a square that is set to zero; 0 for none."""


def augment(
    images: Images,
    rows: Indices,
    augment: Augmentation,
    seed: int,
    epoch: int,
    first_position: int = 0,
) -> Images:
    """Return the images of `rows`, float32 `[len(rows), h, w, c]`, each changed at random.

    What happens to an image depends on `(seed, epoch, position in the epoch)` alone, where
    `rows[0]` is at `first_position`: an epoch may be made in one piece or in many. Zero-pad and
    crop as He et al. (2016), section 4.2; the square of `cutout` has its centre anywhere in
    the image, and ends at its borders (DeVries and Taylor 2017).
    """
    bits = RawBits(Stream.AUGMENT, seed, epoch)
    bits.skip(first_position * _WORDS)
    draws = bits.words(len(rows) * _WORDS).reshape(-1, _WORDS)
    changed = np.empty((len(rows), *images.shape[1:]), np.float32)
    step = max(1, _CHUNK // max(1, changed[:1].size))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        changed[part] = _change(images[rows[part]], augment, draws[part])
    return changed


def _change(images: Images, augment: Augmentation, draws: NDArray[np.uint64]) -> Images:
    count, height, width, channels = images.shape
    padding = augment.crop_padding
    # For each image, the source row of each of its rows, and likewise its columns.
    ys = _below(draws[:, :1], 2 * padding + 1) - padding + np.arange(height)
    xs = _below(draws[:, 1:2], 2 * padding + 1) - padding + np.arange(width)
    if augment.flip:
        xs = np.where(_below(draws[:, 2:3], 2) == 1, xs[:, ::-1], xs)
    rows_kept, columns_kept = (ys >= 0) & (ys < height), (xs >= 0) & (xs < width)
    kept = rows_kept[:, :, np.newaxis] & columns_kept[:, np.newaxis]
    if augment.cutout:
        hole_rows = _hole(_below(draws[:, 3:4], height), augment.cutout, height)
        hole_columns = _hole(_below(draws[:, 4:5], width), augment.cutout, width)
        kept &= ~(hole_rows[:, :, np.newaxis] & hole_columns[:, np.newaxis])
    # One number for each pixel, and a black one behind the last: several times faster than
    # an index for each axis, and a mask.
    pixels = np.zeros((count * height * width + 1, channels), np.float32)
    pixels[:-1] = images.reshape(-1, channels)
    lines = np.arange(count)[:, np.newaxis] * height + ys
    places = lines[:, :, np.newaxis] * width + xs[:, np.newaxis]
    places[~kept] = len(pixels) - 1
    found: Images = np.take(pixels, places, axis=0)
    return found


def _hole(centre: Indices, side: int, size: int) -> NDArray[np.bool_]:
    """Return which of `size` lines lie in a square of `side` around each `centre` `[n, 1]`."""
    offset = np.arange(size) - (centre - side // 2)
    return (offset >= 0) & (offset < side)


def _below(words: NDArray[np.uint64], limit: int) -> Indices:
    """Map 64-bit words to `0 .. limit - 1`, evenly to within 2**-32."""
    top = words >> np.uint64(32)
    return ((top * np.uint64(limit)) >> np.uint64(32)).astype(np.int64)
