"""Ends the workers of a harness that died without ending them, SIGKILL included.

It runs beside the harness, `python -I -S guardian.py`, asleep until its standard input ends, which
is when the harness does. Until then it is told `+GROUP` and `-GROUP`: process groups that have
begun and have ended. The kernel's own signal at a parent's death reaches a worker, but not the
processes that a worker has started.
"""

import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Read groups until the end, then end those that are left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # whoever ends the harness like this needs it most
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        change = groups.add if line.startswith(b"+") else groups.discard
        change(int(line[1:]))
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
