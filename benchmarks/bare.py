"""A generated source in a loop of its own: no worker, no arrays over a pipe, nobody who asks.

    python -m benchmarks.bare TARGET VARIANT SPEC.json SOURCE.py DATA THREADS STEPS

Each line on stdin is one block of steps; the answer is one line with its seconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np

from harness import data
from harness.contract import Setting
from harness.registry import BackendInfo, load_backend
from harness.run.arrays import write_arrays
from harness.spec import Spec, initial_parameters, spec_from_json


def main() -> None:
    """Build the model, then train a block for every line."""
    train = open_session(*sys.argv[1:])
    print("ready", flush=True)
    for _ in sys.stdin:
        started = perf_counter()
        train()
        print(perf_counter() - started, flush=True)


def lay_out(spec: Spec, steps: int, folder: Path) -> None:
    """Write what `open_session` reads: the spec, and made-up images for a block of that length."""
    shape, count = "x".join(map(str, spec.input)), steps * spec.training.batch_size
    made = data.load(f"synthetic:{shape}:10:{count}")
    write_arrays(folder, {"train_images": made.train_images, "train_targets": made.train_labels})
    (folder / "spec.json").write_text(spec.model_dump_json())


def block_arguments(info: BackendInfo, folder: Path, threads: int, steps: int) -> list[str]:
    """Return the arguments of `open_session`, for what `lay_out` wrote into a folder."""
    places = [str(folder / "spec.json"), str(folder / "bare_source.py"), str(folder)]
    return [info.target, info.variant, *places, str(threads), str(steps)]


def open_session(
    target: str, variant: str, spec_file: str, source: str, place: str, threads: str, steps: str
) -> Callable[[], object]:
    """Write and open the source; return what trains a block."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    spec, setting = spec_from_json(Path(spec_file).read_text()), Setting(threads=int(threads))
    backend = load_backend(target)
    backend.prepare(variant, setting)
    Path(source).write_text(backend.source(spec, variant))
    session = backend.open(Path(source), spec, variant, setting)
    images, targets = (np.load(Path(place) / f"train_{name}.npy") for name in ("images", "targets"))
    session.load(images, targets)
    session.reset(initial_parameters(spec, 0), 0)
    size = spec.training.batch_size
    order = np.arange(int(steps) * size).reshape(int(steps), size)
    rates = np.full(int(steps), spec.training.optimizer.learning_rate)
    return lambda: session.train(order, rates)


if __name__ == "__main__":
    main()
