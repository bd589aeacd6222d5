"""What it takes to compare large results: python -m benchmarks.large --rows 1000000

Two runs are made up, each with so many samples, and compared by `harness compare` in a process of
its own. Prints a table, and exits with 1 if a limit below is exceeded.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.markdown import table
from harness.run.folder import SAMPLE_COLUMNS, SUMMARY_COLUMNS

BACKENDS = ("torch", "flax", "keras", "tensorflow")
SEEDS = 5
STEPS, BATCH = 10, 128
STEP_SECONDS = 0.01
MOST_SECONDS, MOST_BYTES = 5.0, 1e9
COMMON = {"device": "cpu", "model": "made-up", "dataset": "none", "batch_size": BATCH}
MORE = {"precision": "float32", "environment": "tuned", "status": "ok", "equivalent": True}
BLOCK = {"worker": 1, "position": 0, "phase": "train", "epoch": 1, "steps": STEPS}


def write_run(folder: Path, number: int, rows: int) -> Path:
    """Write a run of all backends and seeds, with so many blocks of training."""
    run_id, speed = f"20260101-{number:06}-abcdef", BATCH / STEP_SECONDS
    folder.mkdir()
    cells = [(backend, seed) for backend in BACKENDS for seed in range(SEEDS)]
    with (folder / "summary.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, SUMMARY_COLUMNS)
        writer.writeheader()
        for backend, seed in cells:
            row = {**COMMON, **MORE, "run_id": run_id, "backend": backend, "seed": seed}
            writer.writerow({**row, "train_images_per_second": speed})
    generator = np.random.default_rng(number)
    seconds = STEPS * STEP_SECONDS * generator.lognormal(0, 0.05, rows)
    with (folder / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, SAMPLE_COLUMNS)
        writer.writeheader()
        for place, taken in enumerate(seconds.tolist()):
            block, cell = divmod(place, len(cells))
            backend, seed = cells[cell]
            row = {**BLOCK, "run_id": run_id, "backend": backend, "device": "cpu", "seed": seed}
            own = {"round": block, "block": block, "images": STEPS * BATCH, "seconds": taken}
            writer.writerow({**row, **own, "loss": 0.1, "started_at": "2026-01-01T00:00:00+00:00"})
    return folder


def measure(old: Path, new: Path) -> tuple[float, float, int]:
    """Compare them; return seconds of the wall and of the CPU, and the most resident bytes."""
    command = [sys.executable, "-m", "harness", "compare", str(old), str(new)]
    started = perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = perf_counter() - started
    if done.returncode != 3:  # of single runs, nothing can be said
        raise SystemExit(f"compare ended with {done.returncode}\n{done.stderr[-2000:]}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def main() -> None:
    """Read the options, make the runs up, and compare them."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.large", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="samples of each run")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="large-") as name:
        old, new = (write_run(Path(name) / side, n, rows) for n, side in enumerate(("old", "new")))
        seconds, cpu, memory = measure(old, new)
    lines: list[tuple[Any, ...]] = [
        ("seconds", f"{seconds:.1f}", "yes" if seconds <= MOST_SECONDS else "no"),
        ("seconds of the CPU", f"{cpu:.1f}", ""),
        ("memory, MB", f"{memory / 1e6:,.0f}", "yes" if memory <= MOST_BYTES else "no"),
    ]
    print(table([f"`compare` of {rows:,} and {rows:,} samples", "found", "within limits"], lines))
    if any(line[2] == "no" for line in lines):
        sys.exit(1)


if __name__ == "__main__":
    main()
