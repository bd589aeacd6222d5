"""Adjusted p-values, spent error rates, power: against publications, scipy and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.verdict import rates
from harness.verdict.paired import rank_tail, signed_rank_p
from harness.verdict.rates import (
    SIMULATED,
    clopper_pearson,
    holm,
    last_look,
    looks,
    pairs_needed,
    power,
    smallest_effect,
    spent,
)


def test_holm_s_own_example_and_the_order_of_the_questions():
    # Holm (1979) rejects one after the other at alpha / m, alpha / (m - 1), …
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_the_family_s_rate_where_single_tests_do_not():
    p_values = np.random.default_rng(2).uniform(size=(4000, 5))
    assert (p_values.min(1) <= 0.05).mean() > 0.2
    wrong = np.mean([min(holm(list(row))) <= 0.05 for row in p_values])
    assert wrong == pytest.approx(1 - 0.99**5, abs=0.016)


@pytest.mark.parametrize(("hits", "trials"), [(0, 120), (1, 120), (7, 30), (30, 30)])
def test_clopper_pearson_is_scipy_s(hits, trials):
    expected = stats.binomtest(hits, trials).proportion_ci(0.95, method="exact")
    assert clopper_pearson(hits, trials) == pytest.approx((expected.low, expected.high))
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_spending_is_that_of_lan_and_demets():
    # Lan and DeMets (1983), alpha = .025 one-sided, five equal looks, O'Brien-Fleming type:
    # computed with 2 - 2 Phi(2.2414 / sqrt(t)).
    for share in (0.2, 0.4, 0.6, 0.8):
        expected = 2 * stats.norm.sf(stats.norm.isf(0.0125) / math.sqrt(share))
        assert spent(share, 0.025, "obrien-fleming") == pytest.approx(expected)
    assert spent(0.5, 0.05, "pocock") == pytest.approx(0.05 * math.log(1 + (math.e - 1) / 2))
    for family in ("pocock", "obrien-fleming"):
        assert (spent(0, 0.05, family), spent(1, 0.05, family)) == (0, 0.05)


@pytest.mark.parametrize("questions", [1, 3])
@pytest.mark.parametrize("most", [5, 8, 20, 28, 60])
def test_the_levels_of_all_looks_sum_up_to_alpha_at_most(most, questions):
    for family in ("pocock", "obrien-fleming"):
        found = looks(most, 0.01, questions, family)
        assert found[-1].pairs == most
        assert sum(look.level for look in found) <= 0.01 + 1e-12
        assert all(look.level <= spent(look.pairs / most, 0.01, family) + 1e-12 for look in found)


def test_a_clear_case_can_end_at_the_first_of_28_pairs_looks():
    assert looks(28, 0.01)[0].pairs == 8
    assert looks(28, 0.01)[0].level == 2**-8


def test_a_sequence_cut_short_uses_what_is_left():
    earlier = looks(28, 0.01)[:1]
    last = last_look(10, earlier, 0.01)
    assert 0.0045 < last.level <= 0.01 - earlier[0].level


def test_looking_again_and_again_alarms_no_more_often_than_alpha():
    generator, declared, wrong, naive = np.random.default_rng(11), looks(28, 0.05), 0, 0
    for _ in range(3000):
        values = generator.standard_t(2, 28)
        p_values = [signed_rank_p(values[: look.pairs]) for look in declared]
        wrong += any(p <= look.level for p, look in zip(p_values, declared, strict=True))
        naive += min(p_values) <= 0.05
    assert wrong / 3000 <= 0.05
    assert naive / 3000 > 0.08, "without the levels it would"


def test_power_is_that_of_the_test_and_near_noether_s_formula_for_many_pairs():
    generator = np.random.default_rng(23)
    seen = [signed_rank_p(generator.normal(1.0, 1, 12)) <= 0.01 for _ in range(3000)]
    assert power(12, 1.0, 1.0, 0.01) == pytest.approx(np.mean(seen), abs=0.04)
    # Noether (1987): n = (z(alpha) + z(beta))^2 / (3 (p - 1/2)^2), p = P(X + Y > 0).
    effect = 0.3
    z = stats.norm.isf(0.01) + stats.norm.isf(0.1)
    noether = z**2 / (3 * (stats.norm.cdf(math.sqrt(2) * effect) - 0.5) ** 2)
    assert pairs_needed(effect, 1.0, 0.01) == pytest.approx(noether, rel=0.1)


@pytest.mark.parametrize("pairs", [SIMULATED, 60, 150])
@pytest.mark.parametrize("level", [0.01, 0.05])
def test_the_power_of_many_pairs_is_that_of_a_simulation(pairs, level):
    tail = rank_tail(pairs)
    critical = int(np.searchsorted(-tail, -level))
    for effect in (0.1, 0.3, 0.5, 0.8):
        simulated = rates._power(pairs, effect, critical)
        assert rates._power_of_many(pairs, effect, level) == pytest.approx(simulated, abs=0.04)
    assert rates._power_of_many(pairs, 0.0, level) == pytest.approx(level, abs=0.003)
    assert rates._power_of_many(pairs, 9.0, level) == 1


def test_where_simulation_ends_nothing_jumps():
    found = [power(pairs, 0.4, 1.0, 0.01) for pairs in range(SIMULATED - 4, SIMULATED + 6)]
    assert np.abs(np.diff(found)).max() < 0.06


def test_smallest_effect_and_pairs_needed_are_each_other_s_inverse():
    effect = smallest_effect(16, 0.02, 0.01)
    assert power(16, effect, 0.02, 0.01) == pytest.approx(0.9, abs=0.01)
    assert abs(pairs_needed(effect * 1.001, 0.02, 0.01) - 16) <= 1


def test_what_cannot_be_seen_is_said():
    assert smallest_effect(6, 0.02, 0.01) is None
    assert power(6, 1.0, 0.02, 0.01) == 0
    assert pairs_needed(1e-6, 1.0, 0.01) is None
    assert pairs_needed(0.05, 0.0, 0.01) == 7, "without scatter, as many as the level takes"
    assert smallest_effect(8, 0.0, 0.01) == 0
