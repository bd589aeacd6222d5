"""Does `train` return only when its device is done? Seen from outside, without trusting it.

A framework may put work on a queue and return. Whoever asks for a result then waits, and by that is
found out: right after `train`, the losses and weights are asked for. From a backend that
waited they come as fast as right after `reset`, when nothing has been computed; from one that did
not, they come when its work is done. What is longer than after the reset is work left over.

A loaded machine must not make an honest backend look early. So the block is long beside the
clock and a time slice, the medians of several tries count, and what is left over must be
a large share of the block. Load that stretches the fetch stretches the block as well. What escapes
is a rest of less than that share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contract import Session

TRIES, SLOW_TRIES = 5, 3
SLOW_SECONDS = 1.0  # a step; in blocks so long, a time slice is nothing
BLOCK_SECONDS = 0.05  # that a block is to take, whether in `train` or after it
MOST_STEPS = 4096
LEAST_SECONDS = 0.01  # left over; less is a scheduler's time slice or two
LEAST_SHARE = 0.25  # left over, of the whole block


@dataclass(frozen=True)
class Pending:
    """Seconds, each the median of several tries.

    `train` is what the call of a block of `steps` takes, `fetch` what it takes afterwards to have
    losses and weights as NumPy arrays, `idle` the same where nothing was computed.
    """

    steps: int
    train: float
    fetch: float
    idle: float

    @property
    def left(self) -> float:
        """Seconds of work that were left when `train` returned."""
        return max(self.fetch - self.idle, 0.0)

    @property
    def share(self) -> float:
        """That as a share of the whole work."""
        return self.left / max(self.train + self.left, 1e-9)

    @property
    def is_early(self) -> bool:
        """Whether `train` returned before its device was done."""
        return self.left > LEAST_SECONDS and self.share > LEAST_SHARE

    def __str__(self) -> str:
        """Say what was measured, and what to do about it."""
        milliseconds = [f"{1000 * value:.3g} ms" for value in (self.train, self.fetch, self.idle)]
        return (
            "train returns before its device is done: a block of {} steps took {}, and its losses "
            "and weights came {} later ({} where nothing was to be computed). Let train wait for "
            "the last update, as by torch.cuda.synchronize() or jax.block_until_ready(weights)"
        ).format(self.steps, *milliseconds)


def measure_pending(
    session: Session,
    parameters: Mapping[str, NDArray[Any]],
    batch: NDArray[np.int64],
    rate: float,
    clock: Callable[[], float],
) -> Pending:
    """Train blocks of steps on the rows `batch` `[n]`, and time what comes after; then reset."""

    def attempt(steps: int) -> Pending:
        session.reset(parameters, 0)
        started = clock()
        _fetch(session)
        idle = clock() - started
        order, rates = np.tile(batch, (steps, 1)), np.full(steps, rate)
        started = clock()
        losses = session.train(order, rates)
        returned = clock()
        np.asarray(losses)
        _fetch(session)
        return Pending(steps, returned - started, clock() - returned, idle)

    attempt(1)  # meets everything for the first time
    once = attempt(1)
    work = once.train + once.left
    steps = max(1, min(round(BLOCK_SECONDS / max(work, 1e-6)), MOST_STEPS))
    tries = [once] if steps == 1 else []
    if not tries:
        attempt(steps)
    count = SLOW_TRIES if work > SLOW_SECONDS else TRIES
    tries += [attempt(steps) for _ in range(count - len(tries))]
    session.reset(parameters, 0)
    middle = {
        name: median(getattr(one, name) for one in tries) for name in ("train", "fetch", "idle")
    }
    return Pending(steps, **middle)


def _fetch(session: Session) -> None:
    for value in session.state().values():
        np.asarray(value)
