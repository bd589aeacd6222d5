"""Derived figures: from the raw blocks of one cell and seed to a row of the summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]
STEADY_WINDOW = 3  # blocks looked at together
STEADY_MARGIN = 1.10  # as slow as this beside the later half is still warming up
MIN_BLOCKS = 4


def steady_start(step_seconds: Seconds) -> int | None:
    """Return the first block from which the time per step is as it stays; None if it never is.

    Steady means: the median of three blocks is within 10 % of the median of the later half.
    Warm-up that lasts longer than half of the blocks counts as no steady state.
    """
    count = len(step_seconds)
    if count < MIN_BLOCKS:
        return None
    later = np.median(step_seconds[count // 2 :])
    for start in range(count // 2 + 1):
        if np.median(step_seconds[start : start + STEADY_WINDOW]) <= STEADY_MARGIN * later:
            return start
    return None


def median_interval(values: Seconds, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of the median from order statistics (Conover 1999, section 3.2).

    With too few values for the confidence, that is their whole range.
    """
    from scipy.special import bdtr  # scipy.stats takes seconds to import

    ordered = np.sort(values)
    count = len(ordered)
    smaller = bdtr(np.arange(count), count, 0.5)  # P(at most so many values below the median)
    below = int(np.searchsorted(smaller, (1 - confidence) / 2)) - 1
    return float(ordered[max(below, 0)]), float(ordered[min(count - 1 - below, count - 1)])


def training_figures(blocks: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], str]:
    """Return the training columns from blocks of phase `train`, and a note where one is due.

    Each block has `seconds`, `steps` and `images`. Blocks of another number of images per step
    (a last, partial batch) count in `train_seconds` only.
    """
    full = max((b["images"] / b["steps"] for b in blocks), default=0)
    whole = [b for b in blocks if b["images"] / b["steps"] == full]
    if not whole:
        return {}, ""
    seconds = np.array([b["seconds"] for b in whole], np.float64)
    steps = np.array([b["steps"] for b in whole], np.float64)
    images = np.array([b["images"] for b in whole], np.float64)
    per_step = seconds / steps
    start = steady_start(per_step)
    note = ""
    if start is None:
        few = len(whole) < MIN_BLOCKS
        note = f"blocks: only {len(whole)}, all counted" if few else "no steady state: later half"
        start = 0 if few else len(whole) // 2
    rates = images[start:] / seconds[start:]
    low, high = median_interval(rates)
    p50, p95, p99 = np.percentile(per_step[start:] * 1000, [50, 95, 99])
    return {
        "train_seconds": float(sum(b["seconds"] for b in blocks)),
        "train_images_per_second": float(np.median(rates)),
        "train_images_per_second_low": low,
        "train_images_per_second_high": high,
        "step_ms_p50": float(p50),
        "step_ms_p95": float(p95),
        "step_ms_p99": float(p99),
        "steady_from_block": start,
        "steady_blocks": len(rates),
        **gpu_figures(whole[start:]),
    }, note


def gpu_figures(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return energy, power and clock over steady blocks; nothing where no GPU told.

    Sums of all, as the counter of energy moves some times a second only.
    """
    told = [b for b in blocks if b.get("joules") is not None]
    clocks = [b["gpu_mhz"] for b in blocks if b.get("gpu_mhz") is not None]
    found: dict[str, Any] = {"gpu_mhz": float(np.median(clocks))} if clocks else {}
    if told:
        joules, seconds, images = (sum(b[k] for b in told) for k in ("joules", "seconds", "images"))
        found |= {"joules_per_image": joules / images, "gpu_watts": joules / seconds}
    return found


def paired_ratio(
    left: Sequence[Mapping[str, Any]], right: Sequence[Mapping[str, Any]]
) -> float | None:
    """Return the median of `left`'s seconds over `right`'s, block by block of the same round.

    Both trained the same steps within the same second or two, so a disturbance of the machine
    hits both, and the ratio is steadier than that of their medians. None where no round has both.
    """
    theirs = {(block["seed"], block["round"]): block["seconds"] for block in right}
    ratios = [
        block["seconds"] / theirs[key]
        for block in left
        if (key := (block["seed"], block["round"])) in theirs
    ]
    return float(np.median(ratios)) if ratios else None


def prediction_figures(single: Seconds, batched: Seconds, batch_size: int) -> dict[str, Any]:
    """Return latency at batch 1 and throughput at the batch size, from seconds per call."""
    p50, p99 = np.percentile(single * 1000, [50, 99])
    return {
        "predict_images_per_second": float(batch_size / np.median(batched)),
        "predict_ms_p50": float(p50),
        "predict_ms_p99": float(p99),
    }
