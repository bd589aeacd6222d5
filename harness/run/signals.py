"""Signals that would end the harness at once end it in order, as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Ended(KeyboardInterrupt):
    """A signal that ends the harness, other than that of Ctrl-C."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"by {signal.Signals(number).name}")


@contextmanager
def in_order() -> Iterator[list[int]]:
    """Raise `Ended` when SIGTERM or SIGHUP comes; the list has the number of the one that came.

    Workers, checkouts and temporary folders then end with their contexts. Signals that are ignored
    stay so, such as SIGHUP by `nohup`; outside the main thread nothing is changed.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def end(number: int, _: object) -> None:
        came.append(number)
        raise Ended(number)

    heard = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heard}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
