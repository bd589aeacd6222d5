"""The watch kept in every worker on what sessions return: a study fails if it changes later."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contract import Gradients
from harness.run.watched import WatchedSession


class Leaky:
    """A session that returns its live arrays, as a framework on the CPU is apt to."""

    def __init__(self):
        self.live = np.zeros(3)

    def state(self):
        return {"conv1.kernel": self.live}

    def predict(self, images):
        return self.live

    def gradients(self, images, targets):
        return Gradients(0.0, np.ones(2), {"conv1.kernel": self.live}, np.ones(2))

    def train(self, order, rates):
        self.live += 1
        return np.zeros(1)

    def reset(self, parameters):
        self.live[:] = 5


@pytest.mark.parametrize(
    "returned", [("state",), ("predict", None), ("gradients", None, None)], ids=lambda r: r[0]
)
@pytest.mark.parametrize("changing", [("train", None, None), ("reset", None)], ids=lambda c: c[0])
def test_a_value_that_changes_after_it_was_returned_is_noticed(returned, changing):
    session = WatchedSession(Leaky())
    getattr(session, returned[0])(*returned[1:])
    with pytest.raises(AssertionError, match=rf"{changing[0]}\(\) changed what {returned[0]}\(\)"):
        getattr(session, changing[0])(*changing[1:])


def test_values_that_stay_are_passed_on():
    session = WatchedSession(Leaky())
    session.train(None, None)
    assert np.array_equal(session.state()["conv1.kernel"], np.ones(3))
    assert np.array_equal(session.predict(None), np.ones(3))
