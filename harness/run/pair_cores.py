"""The cores on which the sides of a pair are prepared, and those on which they are measured.

Two sides that are to run on the same one core would wait for each other's imports and compiling.
Each is prepared on as many cores, but its own, so that a framework sees the same number; then both
are moved to where they are measured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

Cores = Sequence[int]


def masks(count: int) -> list[Cores]:
    """Return the cores on which each side is prepared, apart where there are `count` for each.

    The first are those on which both are measured. Empty where cores cannot be chosen.
    """
    if sys.platform != "linux":
        return [[], []]
    known = sorted(os.sched_getaffinity(0))
    own = known[count : 2 * count]
    return [known[:count], own if len(own) == count else known[:count]]


@contextmanager
def on(cores: Cores) -> Iterator[None]:
    """Run on these cores, as does what is started meanwhile: a worker chooses from what it gets."""
    if sys.platform != "linux" or not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
