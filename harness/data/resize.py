"""Linear interpolation, element by element, so that its bits do not depend on a BLAS."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def bilinear(images: Doubles, height: int, width: int) -> Doubles:
    """Resize float64 `[n, h, w, c]` to `[n, height, width, c]`, as `linear`."""
    return linear(images, (height, width))


def linear(images: Doubles, sizes: Sequence[int]) -> Doubles:
    """Resize float64 `[n, ..., c]` to `[n, *sizes, c]`, one axis after the other.

    Pixels are areas with half-pixel centres: the centre of target pixel i lies at
    `(i + 1/2) * size / target - 1/2` in the source, clamped to its first and last pixel
    ("align_corners = False" elsewhere); without antialiasing.
    """
    for axis, size in enumerate(sizes, 1):
        images = _along(images, axis, size)
    return images


def _along(images: Doubles, axis: int, target: int) -> Doubles:
    size = images.shape[axis]
    position = np.clip((np.arange(target) + 0.5) * size / target - 0.5, 0, size - 1)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    shape = [1] * images.ndim
    shape[axis] = target
    weight = (position - low).reshape(shape)
    below, above = np.take(images, low, axis), np.take(images, high, axis)
    between: Doubles = below * (1 - weight) + above * weight
    return between
