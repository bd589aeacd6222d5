from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from harness.verdict.accuracy import judge_accuracy, judge_each


def test_nearly_the_same_accuracies_are_comparable():
    verdict = judge_accuracy({"a": [0.980, 0.981, 0.979], "b": [0.981, 0.980, 0.980]})
    assert verdict.answer == "comparable"
    assert verdict.low < verdict.difference < verdict.high


def test_a_large_and_steady_difference_is_different():
    verdict = judge_accuracy(
        {"a": [0.98, 0.97, 0.99], "b": [0.95, 0.94, 0.961], "c": [0.98, 0.97, 0.99]}
    )
    assert verdict.answer == "different"
    assert verdict.pair in (("a", "b"), ("b", "c"))


def test_wide_scatter_is_inconclusive_and_says_how_many_seeds_would_settle_it():
    scattered = {"a": [0.97, 0.99, 0.95], "b": [0.98, 0.96, 0.97]}
    verdict = judge_accuracy(scattered)
    assert verdict.answer == "inconclusive"
    assert verdict.seeds_needed is not None
    assert verdict.seeds_needed > 3
    # With as many seeds of the same scatter, a and b alternating around the same mean, it is.
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, verdict.seeds_needed)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    differences = np.subtract(*scattered.values())
    more = differences.mean() + noise * differences.std(ddof=1)
    many = {"a": 0.9 + more, "b": np.full(len(more), 0.9)}
    assert judge_accuracy(many).answer == "comparable"


def test_the_interval_is_that_of_two_one_sided_t_tests():
    differences = np.array([0.004, -0.002, 0.003, 0.001])
    verdict = judge_accuracy({"a": 0.9 + differences, "b": np.full(4, 0.9)}, margin=0.01)
    interval = ttest_1samp(differences, 0).confidence_interval(0.90)
    assert verdict.low == pytest.approx(interval.low)
    assert verdict.high == pytest.approx(interval.high)


def test_the_power_is_how_often_equal_backends_are_found_comparable():
    rng = np.random.default_rng(2)
    said, found = [], 0
    for _ in range(1000):
        verdict = judge_accuracy({"a": 0.9 + rng.normal(0, 0.008, 6), "b": np.full(6, 0.9)})
        said.append(verdict.power)
        found += verdict.answer == "comparable"
    assert np.mean(said) == pytest.approx(found / 1000, abs=0.05)
    assert 0.2 < found / 1000 < 0.9


def test_each_backend_has_the_worst_verdict_of_its_pairs():
    same = [0.98, 0.97, 0.99]
    found = judge_each({"a": same, "b": same, "c": [0.90, 0.891, 0.911]})
    assert {name: v.answer for name, v in found.items()} == dict.fromkeys("abc", "different")
    found = judge_each({"a": [0.98, 0.98], "b": [0.98, 0.981], "c": [0.98, 0.95]})
    assert found["a"].pair == ("a", "c")
    assert found["b"].pair == ("b", "c")


def test_the_error_rate_is_kept_at_the_edge_of_the_margin():
    """A true difference of just the margin may be called comparable in 5 % of cases."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(1000):
        a = 0.9 + 0.01 + rng.normal(0, 0.003, 5)
        wrong += judge_accuracy({"a": a, "b": np.full(5, 0.9)}).answer == "comparable"
    assert 0.02 < wrong / 1000 < 0.08


def test_identical_accuracies_are_comparable_though_they_do_not_scatter():
    assert judge_accuracy({"a": [0.98, 0.97], "b": [0.98, 0.97]}).answer == "comparable"


@pytest.mark.parametrize("images", [2, 20])
def test_differences_by_as_many_images_each_are_no_proof_of_anything(images):
    """Of 360 images, two seeds that differ by two, or by twenty, each: that happens by chance."""
    old = np.array([350, 352])
    verdict = judge_accuracy({"new": (old - images) / 360, "old": old / 360})
    assert verdict.answer == "inconclusive"
    assert verdict.difference == pytest.approx(-images / 360)
    assert (verdict.low, verdict.high, verdict.power) == (-1, 1, 0)
    assert verdict.seeds_needed == 3


def test_coarse_accuracies_keep_the_error_rates_of_both_answers():
    """Of 100 images three more are wrong, just the margin, give or take two; two seeds."""
    rng = np.random.default_rng(4)
    answers = []
    for _ in range(2000):
        right = np.round(95 + rng.normal(0, 2, 2)) / 100
        verdict = judge_accuracy({"new": right, "old": [0.98, 0.98]}, margin=0.03, alpha=0.01)
        answers.append(verdict.answer)
    for wrong in ("comparable", "different"):
        assert answers.count(wrong) / 2000 < 0.02, "1 %, and the scatter of so many draws"


@pytest.mark.parametrize("few", [{}, {"a": [0.9, 0.8]}, {"a": [0.9], "b": [0.8]}])
def test_one_seed_or_one_backend_is_not_judged(few):
    assert judge_accuracy(few).answer == "not judged"
