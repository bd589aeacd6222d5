"""What live pairs come to: one estimate of a ratio, with its interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.verdict.paired import hodges_lehmann, hodges_lehmann_bounds

TAIL = 0.025  # of the interval, on each side


def over_pairs(log_ratios: Sequence[float]) -> tuple[float, float, float]:
    """Return the Hodges-Lehmann estimate of the ratio, and the ends of its 95 % interval."""
    logs = np.array(log_ratios)
    estimate, low, high = np.exp([hodges_lehmann(logs), *hodges_lehmann_bounds(logs, TAIL)])
    return float(estimate), float(low), float(high)
