"""A training set that no framework holds whole: windows of it, each read ahead of its training.

A session keeps the training set where it trains, which a set larger than memory does not allow.
Wrapped as here, it is given a window at a time: the rows that the next steps want, gathered from
the file by a thread while the steps before are trained. Every window has the same shape, so that
nothing is compiled twice, and the values are those of the file, so that the results are the same.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from harness.contract import Array, Floats, Integers, Session

WINDOW_BYTES = 16 * 2**20  # of images: small beside memory, long beside handing it over
ROOM = 2  # times its size, for a file to stay in memory beside what else will want some


@dataclass
class Window:
    """Room for the rows of some steps, and for what they are to give."""

    images: Array
    targets: Array


class StreamedSession:
    """A session that trains on a set of which it is given a window at a time.

    Only `load`, `train` and `close` differ from those of the session within.
    """

    def __init__(self, session: Session, window_bytes: int) -> None:
        self.session, self.window_bytes = session, window_bytes
        self.reader = ThreadPoolExecutor(1, "reader")
        self.windows: tuple[Window, ...] = ()
        self.latest = 0  # the one of the two that was filled last

    def __getattr__(self, name: str) -> Any:
        """Return what the session within has of that name."""
        return getattr(self.session, name)

    def load(self, images: Floats, targets: Array) -> None:
        """Keep the set where it lies; see `Session.load`."""
        self.images, self.targets = images, targets
        self.ahead = Ahead(images)

    def train(
        self,
        order: Integers,
        learning_rates: Floats,
        masks: Sequence[Mapping[str, Floats]] | None = None,
    ) -> Floats:
        """Train window by window; see `Session.train`."""
        batch = order.shape[1]
        self._make_room(batch)
        steps = len(self.windows[0].images) // batch
        parts = [slice(first, first + steps) for first in range(0, len(order), steps)]
        losses = []
        pending = self._begin(order[parts[0]])
        for number, part in enumerate(parts):
            window = pending.result()
            self.session.load(window.images, window.targets)
            if part is not parts[-1]:  # while this one is trained
                pending = self._begin(order[parts[number + 1]])
            rows = np.arange(order[part].size, dtype=np.int64).reshape(-1, batch)
            given = None if masks is None else masks[part]
            losses.append(self.session.train(rows, learning_rates[part], given))
        return np.concatenate(losses)

    def close(self) -> None:
        """Let go of the set, and close the session within."""
        self.reader.shutdown()
        self.windows = ()
        self.session.close()

    def _make_room(self, batch: int) -> None:
        """Make two windows for whole batches, if there are none yet that can hold one."""
        if self.windows and len(self.windows[0].images) >= batch:
            return
        row_bytes = max(1, self.images[:1].nbytes)
        rows = max(1, self.window_bytes // row_bytes // batch) * batch
        self.windows = tuple(
            Window(*(np.zeros((rows, *a.shape[1:]), a.dtype) for a in (self.images, self.targets)))
            for _ in range(2)
        )

    def _begin(self, order: Integers) -> Future[Window]:
        """Have the window that the session does not hold filled with these rows."""
        self.latest = 1 - self.latest
        return self.reader.submit(self._fill, self.windows[self.latest], order)

    def _fill(self, window: Window, order: Integers) -> Window:
        rows = order.ravel()
        self.ahead.read(rows)
        for array, room in ((self.images, window.images), (self.targets, window.targets)):
            # With `raise`, NumPy would take them into memory of its own first.
            np.take(array, rows, axis=0, out=room[: len(rows)], mode="clip")
        return window


class Ahead:
    """Has the system read the rows of a mapped file together, not one after the other.

    Where the whole file fits into memory, the system keeps what it has once read, and there is
    nothing to gain.
    """

    def __init__(self, images: Array) -> None:
        import psutil

        mapping = cast("mmap.mmap | None", getattr(images, "_mmap", None))
        fits = ROOM * images.nbytes < psutil.virtual_memory().available
        self.mapping = None if fits or not hasattr(mapping, "madvise") else mapping
        if self.mapping is None:
            return
        self.row_bytes = images[:1].nbytes
        self.begin = len(self.mapping) - images.nbytes  # of the rows: what is before is the header
        with suppress(OSError):  # around a row lies nothing that is wanted next
            self.mapping.madvise(mmap.MADV_RANDOM)

    def read(self, rows: Integers) -> None:
        """Ask for these rows, without waiting for them."""
        if self.mapping is None:
            return
        for row in np.sort(rows, axis=None).tolist():
            begin = self.begin + row * self.row_bytes
            first = begin - begin % mmap.PAGESIZE
            with suppress(OSError):
                self.mapping.madvise(mmap.MADV_WILLNEED, first, begin + self.row_bytes - first)
