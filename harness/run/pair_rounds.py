"""Rounds of a pair: which blocks, who goes first in each, and what they come to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

import numpy as np

from harness.errors import WorkerError
from harness.run.bench import Bench
from harness.run.blocks import Block, training_blocks
from harness.run.pairs_folder import Pair

PAIR_STREAM = 0xAB


def put(pair: Pair, measure: str, rounds: Sequence[Mapping[str, float]]) -> None:
    """Note a measure: the median over rounds, of the ratio and of each side."""
    ratios = [math.log(r["B"] / r["A"]) for r in rounds if r["A"] > 0 and r["B"] > 0]
    if len(ratios) < len(rounds) or not ratios:
        raise WorkerError(f"{measure}: a clock that stood still for a whole block", "failed")
    pair.log_ratios[measure] = median(ratios)
    pair.seconds[measure] = (median(r["A"] for r in rounds), median(r["B"] for r in rounds))
    pair.rounds[measure] = len(rounds)


def first_is_a(number: int) -> bool:
    """Return whether A starts first: in each two pairs once, drawn which."""
    drawn = np.random.default_rng([PAIR_STREAM, 0, number // 2]).integers(2)
    return bool((int(drawn) + number) % 2 == 0)


def orders(number: int) -> Iterator[str]:
    """Yield who goes first and second in each round: in each two rounds once, drawn which."""
    generator = np.random.default_rng([PAIR_STREAM, 1, number])
    while True:
        both = ["AB", "BA"]
        yield from both if generator.integers(2) else reversed(both)


def whole_blocks(bench: Bench, steps: int) -> list[Block]:
    """Return the first epoch's blocks of one shape, the largest: no other is to be compiled."""
    seed = bench.plan.seeds[0]
    rows, _ = bench.split(seed)
    blocks = next(training_blocks(rows, bench.plan.spec.training, seed, steps))
    return [block for block in blocks if block.order.shape == blocks[0].order.shape]
