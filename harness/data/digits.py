"""The handwritten digits that come with scikit-learn, as small MNIST-like images."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

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
    table = _bundled()
    small = table[:, :-1].reshape(-1, 8, 8, 1) / 16
    images = bilinear(small, 28, 28).astype(np.float32)
    labels = table[:, -1].astype(np.int32)
    test = _every_fifth_of_each_class(labels)
    return build("digits", (images[~test], labels[~test]), (images[test], labels[test]), classes=10)


def _bundled() -> NDArray[np.float64]:
    """Return a row for each digit, `[1797, 65]`: 64 grey values, then the label.

    The file is read where scikit-learn keeps it, as its import takes seconds; where it lies
    elsewhere in some version, scikit-learn is asked.
    """
    package = find_spec("sklearn")
    for folder in (package and package.submodule_search_locations) or ():
        path = Path(folder, "datasets", "data", "digits.csv.gz")
        if path.exists():
            return np.loadtxt(path, np.float64, delimiter=",")
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    digits = load_digits()
    return np.column_stack([digits.data, digits.target]).astype(np.float64)


def _every_fifth_of_each_class(labels: NDArray[np.int32]) -> NDArray[np.bool_]:
    draws = RawBits(Stream.DIGITS, seed=0).words(len(labels))
    by_class = np.lexsort((draws, labels))
    chosen = np.zeros(len(labels), np.bool_)
    chosen[by_class[::5]] = True
    return chosen
