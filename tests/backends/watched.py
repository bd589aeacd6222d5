"""A backend like any other, around the one under test: what a session returned must not change.

Results travel to the tests as bytes, which nothing can change any more. So the session is watched
where it lives, in the worker: the last value of every method is kept along with a copy, and
compared after each later call.
"""

from __future__ import annotations

import os
from copy import deepcopy
from dataclasses import is_dataclass
from functools import partial

import numpy as np

from harness.registry import load_backend

RETURNING = ("train", "predict", "activations", "gradients", "state", "optimizer_state")


class WatchedBackend:
    """Opens `WatchedSession`s of the backend that the variable WATCHED names."""

    def __init__(self):
        self.backend = load_backend(os.environ["WATCHED"])

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def open(self, *arguments):
        return WatchedSession(self.backend.open(*arguments))


class WatchedSession:
    """Passes all calls on; fails when one of them changes what an earlier one returned."""

    def __init__(self, session):
        self.session = session
        self.returned = {}

    def __getattr__(self, name):
        return partial(self._call, name, getattr(self.session, name))

    def _call(self, name, method, *arguments):
        result = method(*arguments)
        for earlier, (value, copy) in self.returned.items():
            if not _equal(value, copy):
                raise AssertionError(f"{name}() changed what {earlier}() had returned")
        if name in RETURNING:
            value = vars(result) if is_dataclass(result) else result
            self.returned[name] = value, deepcopy(value)
        return result


def _equal(left, right):
    if isinstance(left, dict):
        return all(_equal(left[key], right[key]) for key in right)
    return np.array_equal(left, right, equal_nan=True)
