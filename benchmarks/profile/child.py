"""One backend's steps in a process of their own, traced: python -m benchmarks.profile.child.

    python -m benchmarks.profile.child TARGET VARIANT SPEC.json SOURCE.py DATA THREADS STEPS NAME

The answer is one line of JSON: seconds of a step, as it is and traced, and of its operations.
"""

from __future__ import annotations

import json
import sys
from time import perf_counter

from benchmarks.bare import open_session
from benchmarks.profile.operations import PROFILERS

WARM_UP = 3  # blocks


def main() -> None:
    """Train some blocks, then one more that is traced."""
    *given, name = sys.argv[1:]
    steps, train = int(given[-1]), open_session(*given)

    def seconds() -> float:
        started = perf_counter()
        train()
        return (perf_counter() - started) / steps

    untraced = min(seconds() for _ in range(1 + WARM_UP))
    traced: list[float] = []
    operations = PROFILERS[name](lambda: traced.append(seconds()))
    by_kind = {kind: total / steps for kind, total in operations.most_common()}
    print("\n" + json.dumps({"seconds": untraced, "traced": traced[0], "operations": by_kind}))


if __name__ == "__main__":
    main()
