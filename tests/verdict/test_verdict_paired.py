"""Paired tests and estimates, against scipy, published examples and their own error rates."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from harness.verdict.paired import (
    attainable,
    bootstrap_interval,
    hodges_lehmann,
    hodges_lehmann_bounds,
    least_pairs,
    pair_deviation,
    permutation_p,
    rank_tail,
    signed_rank_p,
)

# Hamilton depression scale before and after treatment, nine patients: Hollander and Wolfe (1999),
# example 3.1. Published: W = 40, p = .020, estimate .46, 96 % interval from .01 to .786.
BEFORE = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
AFTER = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])


def test_hollander_and_wolfe_s_example():
    differences = BEFORE - AFTER
    assert signed_rank_p(differences) == pytest.approx(0.0195, abs=5e-5)
    assert hodges_lehmann(differences) == pytest.approx(0.46)
    low, high = hodges_lehmann_bounds(differences, 0.0196)
    assert (low, high) == pytest.approx((0.010, 0.786), abs=1e-9)


@pytest.mark.parametrize("count", [1, 5, 8, 20, 40])
def test_without_ties_it_is_scipy_s_exact_test(count):
    values = np.random.default_rng(count).normal(0.3, 1, count)
    for shift in (0.0, 0.5):
        expected = stats.wilcoxon(values - shift, alternative="greater", method="exact").pvalue
        assert signed_rank_p(values, shift) == pytest.approx(expected, rel=1e-12)


def test_with_ties_it_is_the_share_of_all_signs_that_reach_as_far():
    values = np.array([0.1, 0.1, 0.1, -0.1, 0.2, 0.2, -0.3, 0.4])
    ranks = stats.rankdata(np.abs(values))
    reached = ranks[values > 0].sum()
    signs = itertools.product([0, 1], repeat=len(values))
    share = np.mean([np.dot(sign, ranks) >= reached - 1e-9 for sign in signs])
    assert signed_rank_p(values) == pytest.approx(share)


def test_equal_values_are_as_strong_as_their_number_and_zeros_say_nothing():
    assert signed_rank_p([0.1] * 8) == pytest.approx(2**-8)
    assert signed_rank_p([0.0] * 8) == 1.0
    assert signed_rank_p([0.1] * 8 + [0.0] * 5) == pytest.approx(2**-8)
    assert signed_rank_p([-0.1] * 8) == 1.0
    assert signed_rank_p([0.1 + k * 1e-16 for k in range(8)]) == pytest.approx(2**-8)


def test_a_bound_is_where_the_test_begins_to_reject():
    values = np.random.default_rng(3).standard_t(2, 15)
    low, high = hodges_lehmann_bounds(values, 0.01)
    assert signed_rank_p(values, low - 1e-9) <= 0.01 < signed_rank_p(values, low + 1e-9)
    assert signed_rank_p(-values, -high - 1e-9) <= 0.01 < signed_rank_p(-values, -high + 1e-9)


def test_too_few_pairs_have_no_bound():
    assert hodges_lehmann_bounds([0.1] * 6, 0.01) == (-np.inf, np.inf)
    assert hodges_lehmann_bounds([0.1] * 7, 0.01) == (0.1, 0.1)
    assert attainable(6, 0.01) == 0
    assert attainable(7, 0.01) == 2**-7
    for level, count in ((0.01, 7), (0.01 / 3, 9), (0.5, 1), (2**-5, 5)):
        assert least_pairs(level) == count
        assert attainable(count, level) > 0
        assert count == 1 or attainable(count - 1, level) == 0


@pytest.mark.parametrize("count", [8, 20, 53, 60, 130])
@pytest.mark.parametrize("level", [0.01, 0.005])
def test_a_p_value_of_just_the_level_is_not_above_it(count, level):
    wanted = int((rank_tail(count) > level).sum())  # the least sum of ranks that is enough
    signs, left = np.full(count, -1.0), wanted
    for rank in range(count, 0, -1):
        if rank <= left:
            signs[rank - 1], left = 1.0, left - rank
    values = signs * np.arange(1, count + 1)
    assert signed_rank_p(values) == attainable(count, level)


@pytest.mark.parametrize("draw", ["normal", "heavy", "outliers"])
def test_false_alarms_and_bounds_keep_their_rate_whatever_the_distribution(draw):
    generator, wrong, missed = np.random.default_rng(7), 0, 0
    for _ in range(4000):
        values = {
            "normal": lambda: generator.normal(size=10),
            "heavy": lambda: generator.standard_t(1, 10),
            "outliers": lambda: generator.normal(size=10) * generator.choice([1, 20], 10),
        }[draw]()
        wrong += signed_rank_p(values) <= 0.05
        missed += hodges_lehmann_bounds(values, 0.05)[1] < 0
    # Exactly 43 / 1024 = .042 each; five standard deviations of 4,000 draws are .016.
    assert abs(wrong / 4000 - 0.042) < 0.016
    assert abs(missed / 4000 - 0.042) < 0.016


def test_deviation_of_pairs_is_that_of_a_normal_sample_and_deaf_to_an_outlier():
    values = np.random.default_rng(1).normal(0.5, 0.02, 4000)[:1500]
    assert pair_deviation(values) == pytest.approx(0.02, rel=0.05)
    assert pair_deviation([*values[:20], 5.0]) < 0.03
    assert pair_deviation([0.1]) == 0


def test_sign_flipping_is_exact_for_few_pairs():
    values = [0.3, 0.1, 0.4, -0.1, 0.5, 0.9, -0.2, 0.6]
    sums = [np.dot(sign, values) for sign in itertools.product([1, -1], repeat=8)]
    assert permutation_p(values) == pytest.approx(np.mean(np.array(sums) >= sum(values) - 1e-9))
    many = np.random.default_rng(0).normal(0.4, 1, 30)
    expected = stats.ttest_1samp(many, 0, alternative="greater").pvalue
    assert permutation_p(many) == pytest.approx(expected, abs=0.01)
    assert permutation_p(many) == permutation_p(many), "the same seed"


def test_the_bootstrap_holds_the_truth_about_as_often_as_it_says():
    values = np.random.default_rng(5).normal(0.1, 1, 40)
    low, high = bootstrap_interval(values)
    t = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(t, abs=0.1)
    assert bootstrap_interval([0.2, 0.2, 0.2]) == (0.2, 0.2)


def test_the_bootstrap_has_bounds_where_no_single_pair_matters():
    values = [0.1] * 9 + [0.5]
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(0.1)
    assert 0.1 <= high < 0.5
