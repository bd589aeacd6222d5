"""Runs of faulty backends, and what must hold of what they leave behind."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import psutil

from harness.data import load
from harness.registry import BackendInfo
from harness.run.folder import ResultsFolder, read_rows
from harness.run.listener import Listener, Progress
from harness.run.plan import make_plan
from harness.run.run import run
from harness.spec import parse_spec

HERE = Path(__file__).parent
MODEL = """
name = "small"
input = [6, 6, 1]
layers = [
  { type = "conv2d", filters = 2, kernel = 3, activation = "relu" },
  { type = "flatten" },
  { type = "dense", units = 3, activation = "softmax" },
]
[training]
epochs = 2
batch_size = 8
"""
DATASET = "synthetic:6x6x1:3:84"
TARGETS = {
    "left": "fault_backends:Left",
    "right": "fault_backends:Right",
    "numpy": "backends.numpy_backend:NumpyBackend",
}
# What two runs of the same may differ in: clock readings, what follows from them, and how often it
# was tried.
TIMINGS = frozenset(
    "run_id started_at import_seconds build_seconds compile_seconds warmup_seconds train_seconds "
    "eval_seconds train_images_per_second train_images_per_second_low "
    "train_images_per_second_high step_ms_p50 step_ms_p95 step_ms_p99 steady_from_block "
    "steady_blocks predict_images_per_second predict_ms_p50 predict_ms_p99 peak_host_bytes "
    "peak_device_bytes worker note seconds checked".split()
)


def paths() -> str:
    return os.pathsep.join([str(HERE), str(HERE.parents[1])])


def info(name: str) -> BackendInfo:
    target = TARGETS.get(name, f"fault_backends:{name}")
    return BackendInfo(name, "", target, name != "numpy", (), {}, "pip install it")


def plan_of(*names: str, model: str = MODEL, dataset: str = DATASET, **options):
    known = [info(name) for name in (*names, "numpy")]
    options = {"seeds": 2, "device": "cpu", "threads": 1, "block_steps": 4, **options}
    return make_plan(parse_spec(model, "small"), dataset, known[:-1], known, **options)


class Counting(Listener):
    """Notes every block that is reported, which must be on disk by then."""

    def __init__(self) -> None:
        self.measured: list[tuple] = []

    def trained(self, progress: Progress) -> None:
        self.measured.append((progress.label, progress.seed, progress.epoch, progress.loss))


def go(out: Path, *names: str, resume: bool = False, listener=None, **options) -> list[dict]:
    """Run `left` and `right`, or the named ones, or go on with that."""
    plan = plan_of(*(names or ("left", "right")), **options)
    folder = ResultsFolder(out, resume=resume)
    return run(plan, load(plan.dataset), folder, listener or Listener())


def statuses(out: Path, backend: str) -> list[str]:
    return [r["status"] for r in read_rows(out / "summary.csv") if r["backend"] == backend]


def row(out: Path, backend: str, seed: int) -> dict:
    rows = read_rows(out / "summary.csv")
    (found,) = [r for r in rows if (r["backend"], r["seed"]) == (backend, seed)]
    return found


def tables(out: Path) -> dict[str, list]:
    """What is left of both tables when what takes time is left out."""
    rows = read_rows(out / "summary.csv")
    samples = read_rows(out / "samples.csv")
    measured = [s for s in samples if s["phase"] in ("train", "validation", "test")]
    assert measured
    return {
        "summary": [_timeless(row) for row in rows],
        "samples": sorted((_timeless(sample) for sample in measured), key=json.dumps),
    }


def _timeless(row: dict) -> dict:
    return {name: value for name, value in row.items() if name not in TIMINGS}


def stored_blocks(
    out: Path, backend: str, seed: int, phases: Sequence[str] = ("train", "warmup")
) -> int:
    """How many blocks of training, warm-up included, lie in the folder, with superseded ones.

    One that lies in both tables, because moving it was cut short, is one.
    """
    found = set()
    for path in (out / "samples.csv", out / "superseded" / "samples.csv"):
        if path.exists():
            found |= {
                json.dumps(s)
                for s in read_rows(path)
                if (s["backend"], s["seed"]) == (backend, seed) and s["phase"] in phases
            }
    return len(found)


def begun_blocks(log: Path) -> dict[tuple[str, int], list[int]]:
    """How many blocks each worker has begun, by backend and seed, from what workers noted.

    A reset begins a seed or a part of the preparation. What was trained after a worker's first
    reset, or where the state is read, belongs to the first step and the self-test, and is left out;
    so may be the warm-up, on the first seed, which the self-test comes before.
    """
    found: dict[tuple[str, int], list[int]] = {}
    for path in log.iterdir():
        words = [line.split() for line in path.read_text().splitlines()]
        if not words or words[0][0] != "backend":
            continue
        parts: list[list[str]] = []
        seeds: list[int] = []
        for what, value in words[1:]:
            if what == "reset":
                parts.append([])
                seeds.append(int(value))
            elif parts:
                parts[-1].append(what)
        for part, seed in list(zip(parts, seeds, strict=True))[1:]:
            if "state" not in part:
                found.setdefault((words[0][1], seed), []).append(part.count("train"))
    return found


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
