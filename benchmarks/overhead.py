"""What the harness itself costs: python -m benchmarks.overhead

Three tables, some minutes: how long it takes to start; the wall time of a run beside its phases;
a worker's speed beside that of the same generated source in a loop of its own.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, time
from typing import Any

import numpy as np
import psutil

from benchmarks.bare import block_arguments, lay_out
from benchmarks.markdown import heading, table
from benchmarks.ratios import over_pairs
from harness import registry
from harness.contract import Setting
from harness.machine import available_cpus
from harness.run.environment import worker_environment
from harness.run.process import WorkerProcess
from harness.spec import Spec, initial_parameters, load_spec

TIMEOUT = 600.0
WARM_UP = 2  # blocks
COLUMNS = (
    "backend pair block worker_seconds bare_seconds asked_seconds parent_cpu_seconds "
    "waiting_cpu_seconds"
).split()
PHASES = {  # as a run tells them, and what samples of them are called
    "import": (),
    "build": (),
    "first step": ("compile",),
    "reference": (),
    "check": (),
    "self-test": (),
    "warm-up": ("warmup",),
    "train": ("train", "validation", "test"),
    "predict": ("predict",),
}


def main() -> None:
    """Read the options, and print table after table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overhead", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--backend", default="torch,tensorflow")
    parser.add_argument("--model", default="mnist-1conv", help="for images of 28 x 28 pixels")
    parser.add_argument("--pairs", type=int, default=6, help="of fresh processes")
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="in a block")
    parser.add_argument("--out", type=Path, default=Path("results/overhead"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    known = {info.label: info for info in registry.describe()}
    unknown = set(options.backend.split(",")) - known.keys()
    if unknown:
        parser.error(f"no backend {', '.join(unknown)}; there are: {', '.join(known)}")
    print(f"{heading()}\n\n{start_table()}\n", flush=True)
    print(f"{run_table()}\n", flush=True)
    print(worker_table(options, known))


def worker_table(options: argparse.Namespace, known: dict[str, registry.BackendInfo]) -> str:
    """Set the worker's speed beside the bare loop's, pair by pair, and say what asking costs."""
    spec, lines, raw = load_spec(options.model), [], []
    for label in options.backend.split(","):
        blocks = []
        for pair in range(options.pairs):
            found = measure_pair(known[label], spec, options, pair)
            blocks += [(label, pair, number, *block) for number, block in enumerate(found)]
        raw += blocks
        lines.append([label, *_line(np.array([row[1:] for row in blocks]), options, spec)])
    with (options.out / "blocks.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(raw)
    head = (
        "backend",
        "worker, images/s",
        "bare loop, images/s",
        "worker over bare",
        "between blocks",
        "parent's CPU",
        "waiting worker's CPU",
    )
    return table(head, lines)


def _line(blocks: np.ndarray, options: argparse.Namespace, spec: Spec) -> list[str]:
    """Return the figures of one backend; columns of `blocks` are those of the raw table."""
    pairs, _, worker, bare, asked, cpu, waiting = blocks.T
    images = options.steps * spec.training.batch_size
    logs = np.log(bare / worker)
    ratio = over_pairs([np.median(logs[pairs == pair]) for pair in np.unique(pairs)])
    return [
        f"{images / np.median(worker):,.0f}",
        f"{images / np.median(bare):,.0f}",
        f"{ratio[0]:.3f} ({ratio[1]:.3f} to {ratio[2]:.3f})",
        f"{1000 * np.median(asked - worker):.2f} ms",
        f"{100 * cpu.sum() / asked.sum():.2f} %",
        f"{100 * waiting.sum() / bare.sum():.2f} %",
    ]


def measure_pair(
    info: registry.BackendInfo, spec: Spec, options: argparse.Namespace, pair: int
) -> list[tuple[float, float, float, float, float]]:
    """Start a worker and a bare loop, and let them train blocks in turns, in a drawn order.

    Returns:
        For each block, seconds: by the worker's clock, by the bare loop's, from asking the worker
        to its answer, of that of this process's CPU, and of the waiting worker's CPU while the bare
        loop computes.

    """
    random, threads = np.random.default_rng([pair, 11]), available_cpus()
    count = options.steps * spec.training.batch_size
    environment = worker_environment("tuned", threads, info.tuned)
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name)
        lay_out(spec, options.steps, folder)
        worker = WorkerProcess(info.label, folder / "worker.log", environment, threads)
        bare = start_bare(info, folder, environment, threads, options.steps)
        try:
            open_worker(worker, info, spec, folder, threads)
            order = np.arange(count).reshape(options.steps, -1)
            rates = np.full(options.steps, spec.training.optimizer.learning_rate)
            found = []
            for number in range(-WARM_UP, options.blocks):
                block: dict[str, Any] = {}
                for side in random.permutation(["worker", "bare"]):
                    if side == "bare":
                        cpu = cpu_seconds(worker)
                        block["bare"] = ask_bare(bare)
                        block["waiting"] = cpu_seconds(worker) - cpu
                    else:
                        started, cpu = perf_counter(), process_time()
                        answer, _ = worker.ask(
                            "train", {"order": order, "rates": rates}, timeout=TIMEOUT
                        )
                        block["cpu"] = process_time() - cpu
                        block["asked"] = perf_counter() - started
                        block["worker"] = answer["seconds"]
                if number >= 0:
                    names = ("worker", "bare", "asked", "cpu", "waiting")
                    found.append(tuple(block[name] for name in names))
            return found
        finally:
            worker.kill()
            bare.kill()
            bare.wait()


def cpu_seconds(worker: WorkerProcess) -> float:
    """Return what all threads of a worker have used of the CPU; it moves by hundredths."""
    used = psutil.Process(worker.process.pid).cpu_times()
    return used.user + used.system


def open_worker(
    worker: WorkerProcess, info: registry.BackendInfo, spec: Spec, folder: Path, threads: int
) -> None:
    """Bring a worker as far as a run does before it trains."""
    setting = asdict(Setting("cpu", "float32", threads))
    fields = {"target": info.target, "variant": info.variant}
    worker.ask("prepare", timeout=TIMEOUT, setting=setting, **fields)
    source = str(folder / "worker_source.py")
    worker.ask(
        "open", timeout=TIMEOUT, spec=spec.model_dump_json(), source=source, data=str(folder)
    )
    worker.ask("reset", initial_parameters(spec, 0), timeout=TIMEOUT, seed=0)


def start_bare(
    info: registry.BackendInfo, folder: Path, environment: dict[str, str], threads: int, steps: int
) -> subprocess.Popen[str]:
    """Start the bare loop, and wait until it is ready."""
    bare = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bare", *block_arguments(info, folder, threads, steps)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(folder / "bare.log").open("w"),
        text=True,
        env=environment,
    )
    _answer(bare, "ready", folder)
    return bare


def ask_bare(bare: subprocess.Popen[str]) -> float:
    """Have it train a block; return its seconds."""
    assert bare.stdin
    bare.stdin.write("\n")
    bare.stdin.flush()
    return float(_answer(bare))


def _answer(bare: subprocess.Popen[str], awaited: str = "", folder: Path | None = None) -> str:
    """Return the next line, or the next that is `awaited`: frameworks print, too."""
    assert bare.stdout
    for line in bare.stdout:
        if not awaited or line.strip() == awaited:
            return line
    said = (folder / "bare.log").read_text()[-2000:] if folder else ""
    raise SystemExit(f"the bare loop ended\n{said}")


def run_table() -> str:
    """Set the wall time of the run that a new user starts beside its phases, as they are told.

    What was measured in a phase is that of `samples.csv`: of training, the blocks and evaluations.
    """
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        out = Path(name) / "out"
        told, wall = _told([*"run --backend all --no-limit --out".split(), str(out)])
        with (out / "samples.csv").open(newline="") as file:
            samples = list(csv.DictReader(file))
    began = told[0][0]
    last = max(datetime.fromisoformat(sample["started_at"]).timestamp() for sample in samples)
    seconds = phase_seconds(told, last)
    start, end = last - began - sum(seconds.values()), began + wall - last
    lines = [("start, data and plan", start, 0.0)]
    for phase, kinds in PHASES.items():
        measured = sum(float(s["seconds"]) for s in samples if s["phase"] in kinds)
        lines.append((phase, seconds[phase], measured))
    lines += [("after the last prediction: tables, report", end, 0.0), ("wall", wall, 0.0)]
    return table(
        ("`run --backend all`", "seconds", "measured in it", "share of the wall time"),
        [
            (name, f"{took:.2f}", f"{measured:.2f}" if measured else "", f"{took / wall:.1%}")
            for name, took, measured in lines
        ],
    )


def phase_seconds(told: Iterable[tuple[float, str]], last: float) -> dict[str, float]:
    """Return how long each phase took: until another was told of, or until `last`.

    `told` are lines with the time of each; those that begin no phase belong to the one before.
    """
    times = [(moment, phase) for moment, phase in told if phase in PHASES]
    seconds = dict.fromkeys(PHASES, 0.0)
    for (begun, phase), (after, _) in pairwise([*times, (last, "")]):
        seconds[phase] += after - begun
    return seconds


def _told(arguments: Sequence[str]) -> tuple[list[tuple[float, str]], float]:
    """Run the harness; return what it told of its phases, each with its time, and wall seconds.

    The first is when it was started. In seconds of the epoch, as those of `samples.csv`.
    """
    told, lines = [(time(), "")], []
    with subprocess.Popen(
        [sys.executable, "-m", "harness", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        for line in process.stderr:
            told.append((time(), line.partition(" ")[2].strip()))
            lines.append(line)
    wall = time() - told[0][0]
    if process.returncode:
        raise SystemExit(f"the run ended with {process.returncode}\n{''.join(lines[-20:])}")
    return told, wall


def start_table(times: int = 7) -> str:
    """Return the median seconds of starting Python, of importing the harness, and of --help."""
    commands = {
        "`python -c pass`": ["-c", "pass"],
        "`python -c 'import harness'`": ["-c", "import harness"],
        "`python -m harness --help`": ["-m", "harness", "--help"],
        "`python -m harness backends`": ["-m", "harness", "backends"],
    }
    lines = []
    for name, arguments in commands.items():
        command = [sys.executable, *arguments]
        lines.append((name, f"{median(seconds_of(command) for _ in range(times)):.2f}"))
    return table(("start", "seconds"), lines)


def seconds_of(command: list[str]) -> float:
    """Run a command, which is to succeed, and return its wall time."""
    started = perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    seconds = perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr[-2000:]}")
    return seconds


if __name__ == "__main__":
    main()
