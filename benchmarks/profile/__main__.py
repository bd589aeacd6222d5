"""Where a training step's time goes: python -m benchmarks.profile --model mnist-1conv

Each backend trains in a process of its own, with the environment of a run, and its framework's
profiler says how long each kind of operation took: torch.profiler, tf.profiler. Operations that run
beside each other count in full, so that a sum may exceed the step. Flax is not among them: what
jax.profiler adds makes its step up to three times as long, and no share is then its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.bare import block_arguments, lay_out
from benchmarks.markdown import heading, table
from benchmarks.profile.operations import PROFILERS
from harness import registry
from harness.machine import available_cpus
from harness.run.environment import worker_environment
from harness.spec import load_spec

SHOWN = 0.01  # of the step: operations of less are one line


def main() -> None:
    """Read the options, and print a table for each backend."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--backend", default=",".join(PROFILERS), help="by commas")
    parser.add_argument("--model", default="mnist-1conv")
    parser.add_argument("--environment", choices=("tuned", "stock"), default="tuned")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    names = options.backend.split(",")
    if unknown := set(names) - PROFILERS.keys():
        parser.error(f"no backend {', '.join(unknown)}; there are: {', '.join(PROFILERS)}")
    known = {info.label: info for info in registry.describe()}
    print(f"{heading()}\n")
    for name in names:
        print(f"{table_of(name, options.model, profile(known[name], options))}\n", flush=True)


def profile(info: registry.BackendInfo, options: argparse.Namespace) -> dict[str, Any]:
    """Have a fresh process train and trace."""
    spec, threads = load_spec(options.model), available_cpus()
    with tempfile.TemporaryDirectory(prefix="profile-") as name:
        folder = Path(name)
        lay_out(spec, options.steps, folder)
        given = block_arguments(info, folder, threads, options.steps)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.profile.child", *given, info.label],
            capture_output=True,
            text=True,
            check=False,
            env=worker_environment(options.environment, threads, info.tuned),
        )
    if done.returncode:
        sys.exit(f"error: {info.label} ended with {done.returncode}\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table_of(name: str, model: str, found: dict[str, Any]) -> str:
    """Return the operations by their share of the traced step."""
    step = found["traced"]
    lines, small = [], 0.0
    for kind, seconds in found["operations"].items():
        if seconds < SHOWN * step:
            small += seconds
        else:
            lines.append((f"`{kind}`", *_figures(seconds, step)))
    lines.append(("all others", *_figures(small, step)))
    lines.append(("a step, traced", *_figures(step, step)))
    lines.append(("a step, not traced", *_figures(found["seconds"], step)))
    return table((f"{name}, `{model}`", "ms", "share"), lines)


def _figures(seconds: float, step: float) -> tuple[str, str]:
    return f"{1000 * seconds:.2f}", f"{100 * seconds / step:.0f} %"


if __name__ == "__main__":
    main()
