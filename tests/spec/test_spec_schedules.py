from __future__ import annotations

import math

import pytest
from spec_examples import parse


def rates(schedule: str, epochs: int = 10, steps: int = 4):
    """Return the rates of all steps, as shares of the optimizer's."""
    training = f"[training]\nepochs = {epochs}\n[training.schedule]\n{schedule}\n"
    spec = parse(training=training + "[training.optimizer]\ntype = 'adam'\nlearning_rate = 0.5\n")
    found = spec.training.learning_rates(steps)
    assert found.shape == (epochs * steps,)
    return (found / 0.5).tolist()


def test_without_a_schedule_the_rate_is_constant():
    assert rates("type = 'constant'") == [1.0] * 40


def test_warm_up_grows_in_equal_parts_to_the_whole_rate():
    found = rates("type = 'constant'\nwarmup_epochs = 2.0")
    assert found[:8] == pytest.approx([(step + 1) / 8 for step in range(8)])
    assert set(found[8:]) == {1.0}


def test_a_warm_up_longer_than_the_training_ends_with_it():
    assert rates("type = 'cosine'\nwarmup_epochs = 99.0")[-1] == 1.0


def test_steps_multiply_the_rate_at_the_beginning_of_their_epochs():
    found = rates("type = 'step'\nepochs = [5.0, 7.5]\ngamma = 0.1")
    assert found == pytest.approx([1.0] * 20 + [0.1] * 10 + [0.01] * 10)


def test_the_cosine_goes_from_the_rate_to_its_final_share():
    found = rates("type = 'cosine'\nfinal = 0.1")
    assert found[0] == 1.0
    assert found[20] == pytest.approx(0.55)
    assert found[-1] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 39 / 40)) / 2)
    assert found == sorted(found, reverse=True)


def test_the_cosine_begins_after_the_warm_up():
    found = rates("type = 'cosine'\nwarmup_epochs = 5.0")
    assert found[19] == found[20] == 1.0
    assert found[30] == pytest.approx(0.5)


def test_one_cycle_goes_up_to_its_peak_and_down_to_nearly_nothing():
    found = rates("type = 'one_cycle'\npeak = 0.25\nstart = 20.0\nfinal = 100.0")
    assert found[0] == pytest.approx(1 / 20)
    assert found[10] == pytest.approx(1.0)
    assert found[5] == pytest.approx((1 + 1 / 20) / 2)
    assert found[-1] < 0.01
    assert found.index(max(found)) == 10


def test_rates_belong_to_the_blocks_that_are_trained():
    import numpy as np

    from harness.run.blocks import training_blocks

    training = "[training]\nepochs = 3\nbatch_size = 4\n[training.schedule]\ntype = 'cosine'\n"
    spec = parse(training=training)
    epochs = list(training_blocks(np.arange(22), spec.training, seed=0, block_steps=2))
    found = np.concatenate([block.rates for blocks in epochs for block in blocks])
    assert found.tolist() == spec.training.learning_rates(5).tolist()
