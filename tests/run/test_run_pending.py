"""A backend that returns before its device is done is found out, by a clock that is not real."""

from __future__ import annotations

import numpy as np
import pytest
from fake_backends import FakeClock, Queued

from harness.run.pending import (
    BLOCK_SECONDS,
    LEAST_SHARE,
    MOST_STEPS,
    SLOW_TRIES,
    TRIES,
    Pending,
    measure_pending,
)

PARAMETERS = {"dense1.bias": np.zeros(3)}
BATCH = np.arange(4)
ALL = set(range(20))


def measure(session: Queued) -> Pending:
    return measure_pending(session, PARAMETERS, BATCH, 0.1, session.clock)


@pytest.mark.parametrize("step", [1e-5, 0.003, 0.4, 7.0])
def test_a_device_that_is_not_waited_for_is_found_out(step):
    found = measure(Queued(FakeClock(), step, waited=0.0))
    assert found.is_early
    assert found.train == 0
    assert found.left == pytest.approx(step * found.steps)
    assert found.share == pytest.approx(1)


@pytest.mark.parametrize("step", [1e-5, 0.003, 0.4, 7.0])
@pytest.mark.parametrize("fetch", [1e-4, 0.3])
def test_a_device_that_is_waited_for_is_not_however_long_a_fetch_takes(step, fetch):
    found = measure(Queued(FakeClock(), step, waited=1.0, fetch=fetch))
    assert not found.is_early
    assert found.train == pytest.approx(step * found.steps)
    assert found.idle == pytest.approx(fetch)
    assert found.left == pytest.approx(0)


@pytest.mark.parametrize(("waited", "early"), [(0.5, True), (0.7, True), (0.8, False)])
def test_to_wait_for_a_part_of_the_steps_is_early_unless_the_rest_is_small(waited, early):
    found = measure(Queued(FakeClock(), 0.003, waited))
    assert found.share == pytest.approx(1 - waited)
    assert found.is_early == early
    assert early == (1 - waited > LEAST_SHARE)


@pytest.mark.parametrize("waited", [0.0, 1.0])
@pytest.mark.parametrize(("step", "steps"), [(1e-9, MOST_STEPS), (0.003, 17), (0.4, 1)])
def test_a_block_is_as_long_whether_it_is_waited_for_or_not(waited, step, steps):
    found = measure(Queued(FakeClock(), step, waited))
    assert found.steps == steps
    if 1 < steps < MOST_STEPS:
        assert found.steps * step == pytest.approx(BLOCK_SECONDS, rel=0.1)


class Disturbed(Queued):
    """Someone takes the processor from an honest backend, by number of training."""

    def __init__(self, trainings: set[int], fetches: set[int]) -> None:
        super().__init__(FakeClock(), 0.01, waited=1.0)
        self.trainings, self.fetches = trainings, fetches
        self.trained, self.is_fetch = 0, False

    def train(self, order, rates, masks=None):
        self.trained, self.is_fetch = self.trained + 1, True
        self.clock.pass_(0.5 if self.trained in self.trainings else 0)
        return super().train(order, rates, masks)

    def state(self):
        self.clock.pass_(0.1 if self.is_fetch and self.trained in self.fetches else 0)
        self.is_fetch = False
        return super().state()


@pytest.mark.parametrize("disturbed", [{4}, {5, 8}, {4, 7}, {1, 2, 3}])
def test_delays_of_some_fetches_raise_no_alarm(disturbed):
    assert not measure(Disturbed(set(), disturbed)).is_early


def test_delays_of_most_fetches_would():
    assert measure(Disturbed(set(), {4, 5, 6})).is_early


def test_a_machine_that_is_loaded_all_the_time_raises_no_alarm():
    assert not measure(Disturbed(ALL, ALL)).is_early


def test_what_is_left_is_large_beside_a_time_slice():
    assert not Pending(1, train=0.0, fetch=0.009, idle=0.001).is_early
    assert Pending(1, train=0.0, fetch=0.012, idle=0.001).is_early


@pytest.mark.parametrize(("step", "times"), [(0.01, 3 + TRIES), (0.4, 1 + TRIES), (3.0, 4)])
def test_slow_steps_are_tried_less_often(step, times):
    session = Disturbed(set(), set())
    session.step = step
    measure(session)
    assert session.trained == times
    assert SLOW_TRIES == 3


def test_the_message_gives_the_figures_and_says_what_to_do():
    text = str(Pending(12, train=0.0002, fetch=0.0617, idle=0.001))
    assert "a block of 12 steps took 0.2 ms, and its losses and weights came 61.7 ms later" in text
    assert "torch.cuda.synchronize() or jax.block_until_ready(weights)" in text


def test_afterwards_the_session_has_its_first_weights_again():
    session = Queued(FakeClock(), 0.01, waited=0.0)
    measure(session)
    assert session.asked is None
    assert session.parameters.keys() == PARAMETERS.keys()
