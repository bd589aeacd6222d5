"""Rounds of drawn specs, and the smallest spec that shows what one of them showed.

Drawing and judging are apart, so that backends need not wait for each other at every spec. A round
can be drawn once more from its seed: that is how Hypothesis comes to shrink what failed in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky

from harness.fuzz.drawn import spec_fields
from harness.fuzz.layers import Fields

ROUND = 30  # specs
MOST_SHRINK_SECONDS = 120.0
MOST_SHRINK_CALLS = 400


def draw_round(number: int, count: int) -> list[Fields]:
    """Draw `count` specs, by the number of the round, no two alike."""
    found: dict[str, Fields] = {}
    _replay(number, count, lambda fields: found.setdefault(key(fields), fields), Phase.generate)
    return list(found.values())


def shrink(
    number: int, count: int, failing: Fields, fails: Callable[[Fields], bool]
) -> tuple[Fields, int]:
    """Return the smallest spec found that fails as `failing` does, and how many were tried.

    `failing` is one of the round; `fails` is asked about others than those of the round.
    """
    known = {key(fields): False for fields in draw_round(number, count)} | {key(failing): True}
    smallest, tried, deadline = failing, 0, monotonic() + MOST_SHRINK_SECONDS

    def test(fields: Fields) -> None:
        nonlocal smallest, tried
        name = key(fields)
        if name not in known:
            if tried >= MOST_SHRINK_CALLS or monotonic() > deadline:
                return
            tried += 1
            known[name] = fails(fields)
        if known[name]:
            smallest = fields
            raise AssertionError

    with suppress(AssertionError, Flaky):
        _replay(number, count, test, Phase.generate, Phase.shrink)
    return smallest, tried


def _replay(number: int, count: int, use: Callable[[Fields], Any], *phases: Phase) -> None:
    """Have Hypothesis draw specs, the same for a number and count while `use` finds no fault."""

    @seed(number)
    @settings(
        max_examples=count,
        phases=phases,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(spec_fields())
    def draw(fields: Fields) -> None:
        use(fields)

    draw()


def key(fields: Fields) -> str:
    """Return a spec's fields as text."""
    return json.dumps(fields, sort_keys=True)
