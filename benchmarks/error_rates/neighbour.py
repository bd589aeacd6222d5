"""A neighbour that loads one core on and off: `python -m benchmarks.error_rates.neighbour SEED`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from time import monotonic, sleep

SHORTEST, LONGEST = 0.5, 5.0  # seconds, of each stretch of work and of rest


@contextmanager
def neighbour(seed: int) -> Iterator[None]:
    """Have a neighbour beside what the context does; it is not pinned, as real ones are not."""
    command = [sys.executable, "-m", "benchmarks.error_rates.neighbour", str(seed)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Work and rest in turns until the parent has ended."""
    random, parent = Random(int(sys.argv[1])), os.getppid()
    while os.getppid() == parent:
        end = monotonic() + random.uniform(SHORTEST, LONGEST)
        while monotonic() < end:
            sum(range(10_000))
        sleep(random.uniform(SHORTEST, LONGEST))


if __name__ == "__main__":
    main()
