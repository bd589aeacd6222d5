"""What a large run costs the harness itself: python -m benchmarks.load --cells 2000

Fake workers answer at once (see `benchmarks.fakes`), so that what is measured is the harness: how
long it takes to the first measured block, in a new run and in one that goes on after half of
its cells, and its resident memory at twenty points of the run. Prints a table, and exits with 1 if
a limit below is exceeded.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import psutil

from benchmarks.fakes import backend, fake_workers
from benchmarks.markdown import table
from harness.data import load
from harness.errors import Interrupted
from harness.run.folder import ResultsFolder, read_rows
from harness.run.listener import Listener, Progress
from harness.run.plan import MOST_SEEDS, Plan, make_plan
from harness.run.run import run
from harness.spec import parse_spec

MODEL = """
name = "tiny"
input = [6, 6, 1]
layers = [{ type = "flatten" }, { type = "dense", units = 3, activation = "softmax" }]
[training]
epochs = 1
batch_size = 8
"""
DATASET = "synthetic:6x6x1:3:84"
POINTS = 20
MOST_SECONDS = 2.0  # to the first measured block
MOST_GROWTH = 0.02  # of resident memory, from the first quarter of the points to the last


class Watcher(Listener):
    """Notes the time to the first block, and memory as seeds end; stops the run at one of them."""

    def __init__(self, every: int, stop: int | None = None) -> None:
        self.every, self.stop = every, stop
        self.begun = perf_counter()
        self.first = 0.0
        self.seeds = 0
        self.memory: list[int] = []

    def trained(self, progress: Progress) -> None:
        """Note the first block."""
        self.first = self.first or perf_counter() - self.begun

    def seed_begins(self, seed: int, steps: int) -> None:
        """Note the memory, now and then."""
        if self.seeds == self.stop:
            raise KeyboardInterrupt
        if self.seeds % self.every == 0:
            self.memory.append(psutil.Process().memory_info().rss)
        self.seeds += 1


def plan_of(cells: int) -> Plan:
    """Return a plan of so many cells, in as many seeds as there may be."""
    seeds = min(cells // 2, MOST_SEEDS)
    backends = [backend(f"fake{number}") for number in range(cells // seeds)]
    known = [*backends, backend("numpy")]
    options = {"seeds": seeds, "device": "cpu", "threads": 1, "block_steps": 4}
    return make_plan(parse_spec(MODEL, "tiny"), DATASET, backends, known, **options)


def go(plan: Plan, out: Path, watcher: Watcher, resume: bool = False) -> None:
    """Carry out a plan, or go on with it; the folder is opened within what is timed."""
    watcher.begun = perf_counter()
    folder = ResultsFolder(out, resume=resume)
    run(plan, load(plan.dataset), folder, watcher)


def growth(memory: list[int]) -> float:
    """Return how much more memory is held in the last quarter of the points than in the first.

    The first point is left out: what is imported late comes after it.
    """
    part = max(len(memory) // 4, 1)
    first, last = memory[1 : 1 + part], memory[-part:]
    return sum(last) / len(last) / (sum(first) / len(first)) - 1


def main() -> None:
    """Run a plan, run it again to its half, and go on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=2000)
    cells = parser.parse_args().cells
    plan = plan_of(cells)
    seeds = len(plan.seeds)
    every = max(seeds // POINTS, 1)
    with tempfile.TemporaryDirectory(prefix="load-") as folder, fake_workers():
        whole = Watcher(every)
        begun = perf_counter()
        go(plan, Path(folder) / "whole", whole)
        seconds = perf_counter() - begun
        try:
            go(plan, Path(folder) / "half", Watcher(every, stop=seeds // 2))
        except Interrupted:
            resumed = Watcher(every)
            go(plan, Path(folder) / "half", resumed, resume=True)
        rows = read_rows(Path(folder) / "half" / "summary.csv")
    assert [row["status"] for row in rows] == ["ok"] * len(rows), "not every cell ended well"
    grown = growth(whole.memory)
    figures = [
        ("to the first block, new", f"{whole.first:.2f} s", whole.first <= MOST_SECONDS),
        ("to the first block, gone on", f"{resumed.first:.2f} s", resumed.first <= MOST_SECONDS),
        ("memory, first quarter to last", f"{100 * grown:+.1f} %", grown <= MOST_GROWTH),
    ]
    lines = [(what, found, "yes" if is_well else "no") for what, found, is_well in figures]
    print(table(["what", "found", "within limits"], lines))
    print(f"\n{len(rows)} cells, {seconds:.1f} s in all, {1000 * seconds / len(rows):.1f} ms each")
    print("memory, MB:", *(f"{size / 1e6:.0f}" for size in whole.memory))
    if any(line[2] == "no" for line in lines):
        sys.exit(1)


if __name__ == "__main__":
    main()
