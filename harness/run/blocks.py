"""Blocks, rounds and turns: how training is cut up to be measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data import epoch_batches
from harness.spec import Training

Rows = NDArray[np.int64]
BLOCK_SECONDS = 0.4  # of the fastest backend: long beside the clock and the caches grown cold
LEAST_BLOCKS = 20  # of one seed: a median and its interval need as many
TURN_STREAM = 0x70B7


@dataclass(frozen=True)
class Block:
    """Some steps of one epoch: row numbers `[steps, batch]`, a learning rate for each step."""

    epoch: int
    order: Rows
    rates: NDArray[np.float64]

    @property
    def images(self) -> int:
        """Images seen in the block."""
        return self.order.size


def steps_per_block(
    step_seconds: float, steps_per_epoch: int, epochs: int, block_seconds: float = BLOCK_SECONDS
) -> int:
    """Return how many steps make a block.

    As many as take the fastest backend `block_seconds`, but few enough for `LEAST_BLOCKS` in the
    whole training; a block never reaches into the next epoch.
    """
    by_time = round(block_seconds / max(step_seconds, 1e-6))
    by_count = steps_per_epoch * epochs // LEAST_BLOCKS
    return max(1, min(by_time, by_count, steps_per_epoch))


def training_blocks(
    rows: Rows, training: Training, seed: int, block_steps: int
) -> Iterator[list[Block]]:
    """Yield for each epoch the blocks in which it is trained, sizes as even as can be."""
    rates, step = np.empty(0), 0
    for epoch in range(training.epochs):
        blocks = []
        batches = epoch_batches(rows, training.batch_size, seed, epoch, training.last_batch)
        if not len(rates):
            rates = training.learning_rates(sum(len(part) for part in batches))
        for part in batches:
            for order in np.array_split(part, -(-len(part) // block_steps)):
                blocks.append(Block(epoch, order, rates[step : step + len(order)]))
                step += len(order)
        yield blocks


def turns(count: int, seed: int, round_number: int) -> list[int]:
    """Return the order in which the backends train in one round, drawn afresh for each."""
    generator = np.random.default_rng([TURN_STREAM, seed, round_number])
    return [int(turn) for turn in generator.permutation(count)]
