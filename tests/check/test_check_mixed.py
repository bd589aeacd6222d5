"""The ladder in bfloat16: what is mixed as the contract says climbs it, and what is not falls."""

from __future__ import annotations

import numpy as np
import pytest
from check_climb import PYTHONPATH, climb

from harness.check.mixed import TOO_FINE, share_off_steps, share_too_fine, with_shares
from harness.check.places import Place
from harness.check.questions import RUNGS

# Fault: rung, topic, where, part of the cause.
FAULTS = {
    "exact": ("forward", f"{TOO_FINE}, evaluation", "conv1", "finer type"),
    "half": ("forward", f"{TOO_FINE}, evaluation", "conv1", "finer type"),
    "narrow": ("structure", "parameter", "conv1.kernel", "kept or computed in bfloat16"),
    "narrowed": ("update", f"{TOO_FINE}, after step 1", "conv1.kernel", "computed in bfloat16"),
    "moments": ("update", f"{TOO_FINE}, batch statistics", "bn1.mean", "computed in bfloat16"),
    "logits": ("gradients", "training", "loss, from the backend's own logits", ""),
    "no-relu": ("forward", "evaluation", "conv1", "without its activation"),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PYTHONPATH)
        folder = tmp_path_factory.mktemp("check") / "out"
        return climb(folder, "plain", *FAULTS, precision="bfloat16")


def of(report, variant):
    (found,) = [b for b in report["backends"] if b["variant"] == variant]
    return found


def test_the_reference_climbs_to_the_top_without_a_difference(report):
    assert report["precision"] == "bfloat16"
    assert of(report, "plain")["verdict"] == "verified"
    assert [rung["rung"] for rung in of(report, "plain")["rungs"]] == list(RUNGS)
    assert {rung["difference"] for rung in of(report, "plain")["rungs"]} == {0.0}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_mixed_as_the_contract_says_stops_where_it_shows(report, fault):
    rung, topic, where, cause = FAULTS[fault]
    stopped = next(r for r in of(report, fault)["rungs"] if r["status"] != "ok")
    assert (stopped["rung"], stopped["topic"], stopped["where"]) == (rung, topic, where)
    assert stopped["status"] == "differs"
    assert cause in stopped["cause"]


def test_the_share_of_values_with_more_bits_than_a_bfloat16_has():
    one_more = 1 + 2.0**-8  # the eighth bit after the point
    assert share_too_fine(np.array([0.0, 1.0, -1.5, 1 + 2.0**-7])) == 0.0
    assert share_too_fine(np.array([one_more, 1.0, -one_more, 1 / 3])) == 0.75
    assert share_too_fine(np.zeros(0)) == 0.0


def test_what_came_from_a_bfloat16_is_told_by_where_it_lies_although_bits_were_lost():
    batch = np.array([1 + 2.0**-7, -3.5, 100.0])
    running = (0.9 * 0.123 + 0.1 * batch).astype(np.float32).astype(np.float64)
    assert share_off_steps((running - 0.9 * 0.123) / 0.1) == 0.0
    assert share_off_steps(batch * 1.003) == 1.0


def test_the_share_of_each_array_comes_right_after_it():
    answer = {Place("evaluation", "conv1"): np.array([1.0, 1 / 3])}
    assert [(place.topic, place.path) for place in with_shares(answer)] == [
        ("evaluation", "conv1"),
        (f"{TOO_FINE}, evaluation", "conv1"),
    ]
