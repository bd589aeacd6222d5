"""What is no more than rounding is told from what is a difference, by the reference itself."""

from __future__ import annotations

import numpy as np
import pytest
from fuzz_making import NUMPY, fake

from harness.check.places import Place
from harness.check.tolerances import GROWTH_FACTOR, by_rounding
from harness.errors import WorkerError
from harness.fuzz.fuzz import make_fuzz_plan
from harness.fuzz.judging import Case, of_failure
from harness.fuzz.report import FuzzFolder
from harness.fuzz.team import Team

SOUND = {
    "name": "sound",
    "input": (4, 4, 2),
    "layers": (
        {"type": "conv2d", "filters": 3, "kernel": 2, "activation": "tanh"},
        {"type": "flatten"},
        {"type": "dense", "units": 2},
    ),
    "training": {"loss": "mean_squared_error", "batch_size": 4},
}
# A batch norm takes the factor before it away again, but for its epsilon: the factor's gradient is
# what is left of numbers that are a hundred million times larger.
CANCELLING = {
    **SOUND,
    "name": "cancelling",
    "layers": (
        {"type": "flatten"},
        {"type": "dense", "units": 3},
        {"type": "channel_scale", "name": "factor"},
        {"type": "batch_norm", "decay": 0.9, "epsilon": 1e-8},
        {"type": "dense", "units": 2},
    ),
}


@pytest.fixture
def judge(tmp_path):
    from harness.fuzz.drawn import read_fields

    def judge(variant, fields):
        plan, rounded = make_fuzz_plan([fake(variant)], [fake(variant), *NUMPY], timeout=60.0)
        team = Team(plan, rounded, FuzzFolder(tmp_path / "out"), tmp_path)
        try:
            case = Case(1, fields, read_fields(fields))
            return team.judge([case], lambda *_: None, lambda: False)[1][f"fake@{variant}"]
        finally:
            team.close()

    return judge


def test_of_a_sound_network_rounding_makes_nothing(judge):
    assert judge("rounding", SOUND).status == "agrees"


def test_a_difference_of_a_sound_network_is_one_however_small(judge):
    outcome = judge("tiny", SOUND)
    assert (outcome.status, outcome.rung) == ("differs", "forward")
    assert outcome.judgement.tolerance == 1e-10, "no wider than it was"


def test_a_difference_that_rounding_makes_of_the_reference_is_ill_conditioned(judge):
    outcome = judge("rounding", CANCELLING)
    assert outcome.status == "ill-conditioned"
    assert not outcome.is_fault


def test_what_is_more_than_rounding_makes_of_such_a_network_is_a_difference(judge):
    outcome = judge("scales", CANCELLING)
    assert (outcome.status, outcome.rung) == ("differs", "gradients")
    assert outcome.judgement.place == Place("gradient", "factor.scale")
    assert 1e-10 < outcome.judgement.tolerance < 1e-3


def right_and(*changes):
    places = [Place("step 1", "loss"), Place("step 2", "loss"), Place("after step 2", "a.kernel")]
    right = {place: np.full(3, 2.0) for place in places}
    moved = [{p: right[p] + by for p, by in zip(places, change, strict=True)} for change in changes]
    return places, right, moved


def test_a_bound_is_a_multiple_of_the_worst_that_rounding_did_and_never_below_the_fixed_one():
    places, right, moved = right_and((0.0, 2e-6, 0.0), (0.0, 4e-6, 0.0))
    bounds = by_rounding(right, moved, 1e-10, {})
    assert [bounds(place) for place in places] == pytest.approx(
        [1e-10, GROWTH_FACTOR * 2e-6, 1e-10]
    )


def test_what_rounding_alone_makes_has_no_bound():
    places, right, moved = right_and((0.0, 0.0, 0.3))
    bounds = by_rounding(right, moved, 1e-10, {})
    assert [bounds(place) for place in places] == [1e-10, 1e-10, np.inf]


def test_the_bound_of_a_loss_is_none_smaller_than_those_before():
    places, right, moved = right_and((2e-6, 0.0, 0.0))
    bounds = by_rounding(right, moved, 1e-10, {})
    assert bounds(places[1]) == bounds(places[0]) == pytest.approx(GROWTH_FACTOR * 1e-6)


def test_only_a_refusal_by_name_at_the_opening_is_one():
    said = "torch: NotImplementedError: layers 'conv1': no such stride; here 3. Log: /x/torch.log"
    refused = of_failure(WorkerError(said), opening=True)
    assert (refused.status, refused.kind) == ("refused", "no such stride")
    assert of_failure(WorkerError(said), opening=False).status == "failed"
    other = "torch: NotImplementedError: no such operator. Log: /x/torch.log"
    assert of_failure(WorkerError(other), opening=True).is_fault
    assert of_failure(WorkerError(said, "crashed"), opening=True).status == "crashed"


def test_a_parameter_without_a_gradient_has_no_bound_after_a_step_and_others_have():
    gradients = {Place("gradient", "a.bias"): np.zeros(2), Place("gradient", "b.bias"): np.ones(2)}
    paths = ("a.bias", "a.bias.velocity", "b.bias", "b.bias.velocity")
    right = {Place("after step 1", path): np.ones(2) for path in paths}
    bounds = by_rounding(right, [right], 1e-10, gradients)
    assert [bounds(place) for place in right] == [np.inf, np.inf, 1e-10, 1e-10]
    assert by_rounding(gradients, [gradients], 1e-10, gradients)(next(iter(gradients))) == 1e-10
