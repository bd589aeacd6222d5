"""The verdict on given pairs, which of several decides, and what would settle an open one."""

from __future__ import annotations

import math

import pytest

from harness.verdict.judge import Judgement, Limits, exit_code, judge, planned
from harness.verdict.rates import pairs_needed, smallest_effect

LIMITS = Limits()


def verdict(values, limits=LIMITS):
    return judge({"train": values}, {"train": limits})["train"].verdict


@pytest.mark.parametrize("count", range(7))
@pytest.mark.parametrize("ratio", [0.0, 0.5, -0.5])
def test_fewer_than_seven_pairs_prove_nothing_however_alike_they_are(count, ratio):
    assert verdict([ratio] * count) == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(0.0, "OK"), (0.02, "OK"), (0.03, "REGRESSED"), (-0.03, "IMPROVED"), (0.5, "REGRESSED")],
)
def test_seven_equal_pairs_are_enough(ratio, expected):
    assert verdict([ratio] * 7) == expected


def test_nothing_but_zeros_and_one_pair_far_out_is_ok():
    assert verdict([0.0] * 19 + [3.0]) == "OK"


def test_beyond_the_threshold_but_not_certain_is_ok_only_where_all_is_below_the_tolerance():
    some = [0.03, -0.001, 0.04, 0.028, 0.03, -0.002, 0.035, 0.03, 0.03, 0.029, 0.03, 0.03]
    for limits, expected in ((Limits(0.025, 0.05), "OK"), (Limits(0.025, 0.035), "INCONCLUSIVE")):
        found = judge({"train": some}, {"train": limits}, level=2**-12)["train"]
        assert found.p_slower > found.level
        assert math.log(found.ratio) > math.log1p(limits.threshold)
        assert found.verdict == expected


@pytest.mark.parametrize(
    ("verdicts", "code", "lenient"),
    [
        (["OK", "IMPROVED"], 0, 0),
        (["OK", "INCONCLUSIVE"], 3, 0),
        (["INCONCLUSIVE", "MISSING"], 3, 3),
        (["CHANGED", "OK"], 3, 3),
        (["CHANGED", "REGRESSED", "MISSING"], 1, 1),
        (["REGRESSED", "FAILED", "CHANGED"], 4, 4),
    ],
)
def test_the_worst_verdict_decides_and_only_inconclusive_is_let_pass(verdicts, code, lenient):
    assert exit_code(verdicts) == code
    assert exit_code(verdicts, inconclusive_ok=True) == lenient


def open_one(ratio, deviation=0.03):
    return Judgement("INCONCLUSIVE", 12, ratio, deviation=deviation)


def test_what_settles_it_is_the_sooner_of_both_answers():
    tolerance = math.log1p(LIMITS.tolerance)
    faster = planned(open_one(0.97)).pairs_needed
    assert faster == pairs_needed(tolerance - math.log(0.97), 0.03, 0.01)
    assert faster < pairs_needed(-math.log(0.97), 0.03, 0.01)
    slower = planned(open_one(1.04)).pairs_needed
    assert slower == pairs_needed(math.log(1.04), 0.03, 0.01)
    assert slower < pairs_needed(tolerance - math.log(1.04), 0.03, 0.01)


def test_of_several_questions_each_takes_more():
    alone, beside = planned(open_one(1.04)), planned(open_one(1.04), questions=6)
    assert beside.pairs_needed == pairs_needed(math.log(1.04), 0.03, 0.01 / 6)
    assert beside.pairs_needed > alone.pairs_needed
    expected = math.expm1(smallest_effect(12, 0.03, 0.01 / 6))
    assert beside.smallest_effect == pytest.approx(expected)
    assert beside.smallest_effect > alone.smallest_effect
    same = planned(open_one(1.0)).pairs_needed
    assert planned(open_one(1.0), questions=6).pairs_needed == same, "OK is not adjusted"
