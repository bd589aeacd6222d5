"""A long run of true backends, watched from outside: python -m benchmarks.soak --hours 2

One `harness run` of as many seeds as there may be goes on for so long and is then ended by SIGTERM.
Every few seconds the harness's own resident memory, open files and child processes are noted in
soak.csv, with the cells that have ended by then. The verdict: whether any of them grew from the
second quarter of the time to the last, and whether any cell failed. Exits with 1 if so.
"""

from __future__ import annotations

import argparse
import csv
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import psutil

from harness.run.folder import read_rows

COLUMNS = ("seconds", "rss_bytes", "files", "processes", "cells_ended")
INTERVAL = 5.0
MOST_GROWTH = 0.02  # of resident memory
PATIENCE = 600.0  # seconds for the end; four workers that are busy may need a minute or two
SPARE = 4_000_000  # bytes; less than that is the allocator's whim
Sample = dict[str, float]


def command(backends: str, model: str, out: Path) -> list[str]:
    """Return the run that is watched."""
    return [
        *(sys.executable, "-m", "harness", "run", "--backend", backends, "--model", model),
        *("--dataset", "digits", "--fit", "--seeds", "1000", "--epochs", "3", "--no-limit"),
        *("--quiet", "--out", str(out)),
    ]


def watch(process: subprocess.Popen[bytes], seconds: float, summary: Path) -> Iterator[Sample]:
    """Yield what the harness holds, until it ends or the time is over."""
    begun, parent = time.monotonic(), psutil.Process(process.pid)
    while process.poll() is None and (passed := time.monotonic() - begun) < seconds:
        ended = 0
        if summary.exists():
            statuses = [row["status"] for row in read_rows(summary)]
            ended = sum(status not in ("planned", "running") for status in statuses)
        try:
            yield {
                "seconds": round(passed, 1),
                "rss_bytes": parent.memory_info().rss,
                "files": parent.num_fds(),
                "processes": len(parent.children(recursive=True)),
                "cells_ended": ended,
            }
        except psutil.NoSuchProcess:
            return
        time.sleep(INTERVAL)


def end(process: subprocess.Popen[bytes]) -> None:
    """End the run in good order; one that does not end is killed, and its workers with it."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def verdict(samples: list[Sample], statuses: set[str]) -> list[str]:
    """Return what is wrong, nothing if all is well; the first quarter is left out as warm-up."""
    if len(samples) < 8:
        return [f"only {len(samples)} samples: nothing can be said"]
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    problems = []
    for name in ("rss_bytes", "files", "processes"):
        before, after = (median(sample[name] for sample in part) for part in (early, late))
        most = before * (1 + MOST_GROWTH) + SPARE if name == "rss_bytes" else before
        if after > most:
            problems.append(f"{name} grew from {before:,.0f} to {after:,.0f}")
    if failed := statuses - {"ok", "planned", "running", "interrupted"}:
        problems.append(f"cells that are {', '.join(sorted(failed))}")
    if late[-1]["cells_ended"] == early[0]["cells_ended"]:
        problems.append("no cell ended meanwhile")
    return problems


def main() -> None:
    """Run, watch, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--backends", default="all")
    parser.add_argument("--model", default="mnist-1conv")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    results = options.out / "run"
    process = subprocess.Popen(command(options.backends, options.model, results))
    samples: list[Sample] = []
    try:
        with (options.out / "soak.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for sample in watch(process, 3600 * options.hours, results / "summary.csv"):
                samples.append(sample)
                writer.writerow(sample)
                file.flush()
        if process.poll() is not None:
            sys.exit(f"the run ended by itself, with {process.returncode}")
    finally:
        end(process)
    statuses = {row["status"] for row in read_rows(results / "summary.csv")}
    problems = verdict(samples, statuses)
    first, last = samples[0], samples[-1]
    print(f"{last['seconds'] / 3600:.2f} h, {last['cells_ended']:.0f} cells ended")
    for name in COLUMNS[1:4]:
        values = [sample[name] for sample in samples]
        ends = f"{first[name]:,.0f} at first, {last[name]:,.0f} at last"
        print(f"{name}: {ends}, {max(values):,.0f} at most")
    print("; ".join(problems) or "nothing grew, and nothing failed")
    if problems:
        sys.exit(1)


if __name__ == "__main__":
    main()
