"""Dropout as the frameworks draw it: where no masks are given, no two agree on it."""

from __future__ import annotations

import numpy as np
import pytest
from studies import RATES, STEPS, Case, cases, installed, material, network

RATE = 0.25
CASES = cases(["drawn"])


def change(study, which):
    """Return what training added to the weights, `[inputs]`."""
    state = study["drawn"][f"{which} state.dense1.kernel"]
    return (state - material("drawn").parameters["dense1.kernel"])[:, 0]


def multipliers(study):
    """Return what dropout multiplied each input by in the first step, from what became of it.

    By SGD a weight changes by `-rate * 2 * error * input * multiplier`; the loss is `error ** 2`.
    """
    rate = RATES[0] * network("drawn").training.optimizer.learning_rate
    error = np.sqrt(study["drawn"]["losses"][0])
    return np.abs(change(study, "first")) / (rate * 2 * error * material("drawn").images[0].ravel())


def check_share_and_scale(study):
    found = multipliers(study)
    kept = found > 0.1
    assert np.allclose(found[kept], 1 / (1 - RATE), rtol=1e-6)
    assert np.allclose(found[~kept], 0, atol=1e-6)
    assert np.mean(~kept) == pytest.approx(RATE, abs=0.05)  # five standard deviations


def check_that_steps_differ(study):
    never = np.mean(np.abs(change(study, "last")) < 1e-9)
    assert never == pytest.approx(RATE**STEPS, abs=0.01)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_share_that_is_dropped_is_the_rate_and_the_rest_is_scaled(case, study):
    check_share_and_scale(study)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_step_draws_anew(case, study):
    check_that_steps_differ(study)


# With masks given, these train as they should: only what they draw gives them away.
MUTANTS = {
    "another rate": (
        "torch",
        ("nn.Dropout(0.25)", "nn.Dropout(0.5)"),
        check_share_and_scale,
    ),
    "training in evaluation mode": (
        "torch",
        ("model.train()", "model.eval()"),
        check_share_and_scale,
    ),
    "the same key for every step": (
        "flax",
        ("key, dropout_key = jax.random.split(state.key)", "key = dropout_key = state.key"),
        check_that_steps_differ,
    ),
}


@pytest.mark.parametrize(
    ("case", "check"),
    [
        pytest.param(Case(label, "drawn", edits=(edit,)), check, id=what, marks=installed(label))
        for what, (label, edit, check) in MUTANTS.items()
    ],
)
def test_wrong_dropout_is_noticed(case, check, study):
    with pytest.raises(AssertionError):
        check(study)


@pytest.mark.parametrize("case", cases(["drawn", "dropouts"]), ids=str)
def test_the_same_seed_gives_identical_losses_and_weights_and_another_seed_others(case, study):
    drawn, again, otherwise = (study[f"drawn{rest}"] for rest in ("", " again", " otherwise"))
    assert np.isfinite(drawn["losses"]).all()
    for key, value in drawn.items():
        assert np.array_equal(value, again[key]), key
    assert np.all(drawn["losses"] != otherwise["losses"])
