"""The handwritten digits that come with scikit-learn, as small MNIST-like images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Dataset, build
from harness.data.resize import bilinear
from harness.data.streams import RawBits, Stream

TRAIN, TEST = 1437, 360


def load_digits() -> Dataset:
    """Return 1797 digits in 10 classes, `[n, 28, 28, 1]` in [0, 1]; no download.

    The 8x8 values 0 .. 16 are divided by 16, then enlarged (see `resize.bilinear`). A fifth
    of each class, to within one image, is for testing: always the same.
    Source: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits, UCI.
    """
    from sklearn.datasets import load_digits as bundled  # type: ignore[import-untyped]

    digits = bundled()
    small = np.asarray(digits.images, np.float64)[..., np.newaxis] / 16
    images = bilinear(small, 28, 28).astype(np.float32)
    labels = np.asarray(digits.target).astype(np.int32)
    test = _every_fifth_of_each_class(labels)
    return build("digits", (images[~test], labels[~test]), (images[test], labels[test]), classes=10)


def _every_fifth_of_each_class(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    draws = RawBits(Stream.DIGITS, seed=0).words(len(labels))
    by_class = np.lexsort((draws, labels))
    chosen = np.zeros(len(labels), np.bool_)
    chosen[by_class[::5]] = True
    return chosen
