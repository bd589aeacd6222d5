"""Random numbers that are the same on every platform and under every NumPy.

NumPy keeps the bits of `Philox` and `SeedSequence` fixed for good, but not what its
`Generator` makes of them (NEP 19). Orders and images are compared across environments,
hence only raw bits are used here.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError

_DATA = 0xDA7A  # keeps these streams apart from that of the initial weights
_WORDS_PER_COUNT = 4  # Philox4x64: what one step of its counter gives


class Stream(IntEnum):
    """What the numbers are for; a stream's number is part of every result, never reuse one."""

    SPLIT = 1
    EPOCH = 2
    DIGITS = 3
    NPZ = 4
    PROTOTYPES = 5
    TRAIN_LABELS = 6
    TEST_LABELS = 7
    TRAIN_NOISE = 8
    TEST_NOISE = 9
    AUGMENT = 10
    REGRESSION_CELLS = 11
    REGRESSION_TRAIN = 12
    REGRESSION_TEST = 13
    FOLDER = 14


class RawBits:
    """The bits of one stream, in the order in which they are asked for.

    Raises `DataError` for a negative seed.
    """

    def __init__(self, stream: Stream, seed: int, index: int = 0) -> None:
        if seed < 0:
            raise DataError(f"seed {seed}; allowed: 0 or more. Try: --seed 0")
        key = (_DATA, int(stream), index)
        self._bits = np.random.Philox(np.random.SeedSequence(seed, spawn_key=key))

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return the next `count` 64-bit words."""
        return np.asarray(self._bits.random_raw(count), np.uint64)

    def skip(self, count: int) -> None:
        """Leave the next `count` words out: a multiple of 4, before any word is asked for."""
        if count % _WORDS_PER_COUNT:
            raise ValueError(f"{count} words; only multiples of {_WORDS_PER_COUNT} can be skipped")
        self._bits.advance(count // _WORDS_PER_COUNT)

    def permutation(self, count: int) -> NDArray[np.int64]:
        """Return a random order of `0 .. count - 1`: the ranks of as many random words."""
        return np.argsort(self.words(count), kind="stable").astype(np.int64)

    def uniform(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return multiples of 2**-24, uniform in [0, 1): exact in float32, hence portable."""
        top = self.words(int(np.prod(shape, dtype=np.int64))) >> np.uint64(40)
        return (top.astype(np.float32) * np.float32(2**-24)).reshape(shape)
