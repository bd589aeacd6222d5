"""Adds to an error what the place that raised it cannot know: which file, which array."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import DataError


@contextmanager
def within(what: str) -> Iterator[None]:
    """Put `what: ` before the message of a `DataError` raised inside."""
    try:
        yield
    except DataError as fault:
        raise DataError(f"{what}: {fault}") from fault
