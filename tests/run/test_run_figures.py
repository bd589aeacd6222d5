from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.run.figures import (
    median_interval,
    paired_ratio,
    prediction_figures,
    steady_start,
    training_figures,
)
from harness.run.folder import SUMMARY_COLUMNS


def coverage(count: int, low: int, high: int) -> Fraction:
    """How often the median lies between the values of these ranks (from 0), counted out."""
    return Fraction(sum(comb(count, below) for below in range(low + 1, high + 1)), 2**count)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_the_interval_of_the_median_is_the_narrowest_that_covers_it_often_enough(confidence):
    for count in range(1, 101):
        low, high = (int(value) for value in median_interval(np.arange(count) * 1.0, confidence))
        assert low + high == count - 1
        if coverage(count, 0, count - 1) < confidence:
            assert (low, high) == (0, count - 1)
        else:
            assert coverage(count, low, high) >= confidence
            assert high - low < 2 or coverage(count, low + 1, high - 1) < confidence


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=50))
def test_the_interval_holds_the_median_and_does_not_depend_on_the_order(values):
    low, high = median_interval(np.array(values))
    assert low <= np.median(values) <= high
    assert {low, high} <= set(values)
    assert median_interval(np.array(values[::-1])) == (low, high)


def test_blocks_that_are_alike_are_steady_from_the_first():
    assert steady_start(np.full(20, 0.4)) == 0
    assert steady_start(np.array([0.4, 0.41, 0.39, 0.4])) == 0


def test_fewer_than_four_blocks_say_nothing():
    assert steady_start(np.full(3, 0.4)) is None
    assert steady_start(np.array([])) is None


@pytest.mark.parametrize("slow", range(1, 10))
def test_slow_blocks_at_the_beginning_are_warm_up(slow):
    seconds = np.where(np.arange(20) < slow, 1.2, 1.0)
    start = steady_start(seconds)
    assert start == slow - 1  # from there on two of three are fast


def test_one_outlier_is_no_warm_up():
    seconds = np.ones(20)
    seconds[[0, 7, 15]] = 5.0
    assert steady_start(seconds) == 0


def test_up_to_ten_per_cent_is_steady_and_more_is_not():
    for factor, start in ((1.09, 0), (1.11, 4)):
        assert steady_start(np.where(np.arange(20) < 5, factor, 1.0)) == start


def test_warm_up_beyond_half_of_the_blocks_is_no_steady_state():
    assert steady_start(np.where(np.arange(20) < 14, 2.0, 1.0)) is None
    assert steady_start(0.8 ** np.arange(20)) is None


def test_growing_slower_is_no_warm_up():
    assert steady_start(1.05 ** np.arange(20)) == 0


@given(st.lists(st.floats(0.01, 100), max_size=40), st.floats(0.1, 10))
def test_the_start_is_in_the_earlier_half_and_does_not_depend_on_the_unit(values, unit):
    start = steady_start(np.array(values))
    assert start is None or 0 <= start <= len(values) // 2
    if len({round(value, 6) for value in values}) == len(values):
        scaled = steady_start(np.array(values) * 2.0 ** round(unit))
        assert scaled == start


def block(seconds: float, steps: int = 4, batch: int = 32) -> dict:
    return {"seconds": seconds, "steps": steps, "images": steps * batch}


def test_without_blocks_there_are_no_figures():
    assert training_figures([]) == ({}, "")


def test_figures_are_those_of_the_steady_blocks():
    warm, steady = [4.0, 3.0], [0.8, 0.9, 1.0, 1.1, 1.2, 0.8, 0.9, 1.0, 1.1, 1.2]
    figures, note = training_figures([block(seconds) for seconds in warm + steady])
    counted = np.array([3.0, *steady])  # the first window with a steady median begins here
    assert note == ""
    assert figures["steady_from_block"] == 1
    assert figures["steady_blocks"] == 11
    assert figures["train_seconds"] == pytest.approx(17.0)
    assert figures["train_images_per_second"] == pytest.approx(128 / np.median(counted))
    assert figures["step_ms_p50"] == pytest.approx(np.median(counted) / 4 * 1000)
    for name, percent in (("step_ms_p95", 95), ("step_ms_p99", 99)):
        assert figures[name] == pytest.approx(np.percentile(counted / 4 * 1000, percent))
    low, high = median_interval(128 / counted)
    assert figures["train_images_per_second_low"] == low
    assert figures["train_images_per_second_high"] == high
    assert low < figures["train_images_per_second"] < high


def test_blocks_of_other_lengths_are_measured_by_the_step():
    blocks = [block(1.0, steps=4), block(0.75, steps=3)] * 4
    figures, _ = training_figures(blocks)
    assert figures["train_images_per_second"] == pytest.approx(128)
    assert figures["step_ms_p50"] == figures["step_ms_p99"] == pytest.approx(250)


def test_partial_batches_count_in_the_seconds_only():
    whole = [block(1.0)] * 6
    partial = {"seconds": 0.5, "steps": 1, "images": 3}
    figures, note = training_figures([*whole[:3], partial, *whole[3:], partial])
    alone, _ = training_figures(whole)
    assert note == ""
    assert figures["train_seconds"] == pytest.approx(7.0)
    assert {**figures, "train_seconds": 6.0} == pytest.approx(alone)


def test_a_block_of_nothing_but_partial_batches_is_all_there_is():
    figures, _ = training_figures([{"seconds": 0.5, "steps": 1, "images": 3}] * 5)
    assert figures["train_images_per_second"] == pytest.approx(6.0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_blocks_are_all_counted_and_a_note_says_so(count):
    figures, note = training_figures([block(3.0 - i) for i in range(count)])
    assert note == f"blocks: only {count}, all counted"
    assert figures["steady_from_block"] == 0
    assert figures["steady_blocks"] == count


def test_without_a_steady_state_the_later_half_is_counted_and_a_note_says_so():
    figures, note = training_figures([block(0.8**i) for i in range(20)])
    assert note == "no steady state: later half"
    assert figures["steady_from_block"] == 10
    assert figures["steady_blocks"] == 10
    assert figures["train_images_per_second"] == pytest.approx(
        np.median([128 / 0.8**i for i in range(10, 20)])
    )


def test_predictions_are_milliseconds_for_one_image_and_images_a_second_for_a_batch():
    single = np.array([0.001, 0.002, 0.003, 0.004, 0.1])
    batched = np.array([0.5, 0.25, 1.0])
    assert prediction_figures(single, batched, 64) == {
        "predict_images_per_second": 128.0,
        "predict_ms_p50": pytest.approx(3.0),
        "predict_ms_p99": pytest.approx(np.percentile(single, 99) * 1000),
    }


def test_every_figure_is_a_column_of_the_summary_and_a_plain_number():
    figures, _ = training_figures([block(1.0)] * 5)
    figures |= prediction_figures(np.ones(3), np.ones(3), 8)
    assert set(figures) <= set(SUMMARY_COLUMNS)
    assert {type(value) for value in figures.values()} == {int, float}


def rounds(*seconds: float, seed: int = 0) -> list[dict]:
    return [{"seed": seed, "round": i, "seconds": value} for i, value in enumerate(seconds)]


def test_a_ratio_is_the_median_over_the_rounds_that_both_have():
    left, right = rounds(2.0, 6.0, 40.0, 5.0), rounds(1.0, 2.0, 10.0)
    assert paired_ratio(left, right) == 3.0
    assert paired_ratio(right, left) == pytest.approx(1 / 3)


def test_a_disturbance_of_both_leaves_their_ratio_alone():
    slow = np.array([1.0, 1.0, 9.0, 7.0, 8.0])
    assert paired_ratio(rounds(*(slow * 2)), rounds(*slow)) == 2.0


def test_rounds_of_other_seeds_are_other_rounds():
    assert paired_ratio(rounds(1.0), rounds(1.0, seed=1)) is None
    assert paired_ratio([], rounds(1.0)) is None
