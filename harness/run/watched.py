"""A backend like any other, around one under test, that watches what its sessions return.

Results travel to the harness as bytes, which nothing can change any more. So a session is watched
where it lives, in the worker: the last value of every method must be made of NumPy arrays; it is
kept along with a copy, and compared after each later call. The variable WATCHED names the class
under test.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import is_dataclass
from functools import partial
from typing import Any

import numpy as np

from harness.registry import load_backend

RETURNING = (
    "train",
    "predict",
    "activations",
    "gradients",
    "state",
    "optimizer_state",
)


class WatchedBackend:
    """Opens `WatchedSession`s of the backend that the variable WATCHED names."""

    def __init__(self) -> None:
        self.backend = load_backend(os.environ["WATCHED"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def open(self, *arguments: Any) -> WatchedSession:
        """Open a session, and watch it."""
        return WatchedSession(self.backend.open(*arguments))


class KeepingBackend(WatchedBackend):
    """Keeps every session, so that only `close` can free what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions: list[WatchedSession] = []

    def open(self, *arguments: Any) -> WatchedSession:
        """Open a session, watch it and keep it."""
        self.sessions.append(super().open(*arguments))
        return self.sessions[-1]


class WatchedSession:
    """Passes all calls on; fails when one returns something else than arrays, or changes some."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.returned: dict[str, tuple[Any, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.session, name)
        return partial(self._call, name, member) if callable(member) else member

    def _call(self, name: str, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        result = method(*arguments, **named)
        if name == "close":
            gc.collect()  # what is left in cycles is free, too, sooner or later
        for earlier, (value, copy) in self.returned.items():
            if not _equal(value, copy):
                raise AssertionError(f"{name}() changed what {earlier}() had returned")
        if name in RETURNING:
            value = vars(result) if is_dataclass(result) else result
            for leaf in _leaves(value):
                if not isinstance(leaf, np.ndarray | float | np.floating):
                    kind = type(leaf).__name__
                    raise AssertionError(f"{name}() returned a {kind} instead of a NumPy array")
            self.returned[name] = value, deepcopy(value)
        return result


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    else:
        yield value


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return all(_equal(left[key], right[key]) for key in right)
    return np.array_equal(left, right, equal_nan=True)
