"""Adapter and recipe side by side: python -m benchmarks.recipes --model mnist-1conv --pairs 7.

In each pair a fresh process of either is started; they train the same rows in turns, in an order
drawn anew, and the pair's figure is the median of the ratios of neighbouring blocks. What is
printed is the Hodges-Lehmann estimate over pairs, with the interval that so many pairs allow.
The recipe always has the stock environment; the adapter the one that `--environment` names.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import data, registry, spec
from harness.contract import Setting
from harness.machine import available_cpus, describe_machine
from harness.run.arrays import write_arrays
from harness.run.environment import Environment, worker_environment
from harness.run.process import WorkerProcess
from harness.spec import initial_parameters
from harness.verdict.paired import hodges_lehmann, hodges_lehmann_bounds

RECIPES = {
    "torch": "torch",
    "flax": "flax",
    "keras": "keras",
    "tensorflow": "tensorflow",
    "tensorflow@session": "session",
}
TARGET = "benchmarks.recipes.backend:Recipe"
COLUMNS = "backend model environment pair block adapter_seconds recipe_seconds".split()
TIMEOUT = 900.0
TAIL = 0.025  # of the interval, on each side


@dataclass
class Side:
    """One of a pair: its worker, and the seconds of its blocks."""

    name: str
    worker: WorkerProcess
    seconds: list[float]

    def ask(self, command: str, arrays: dict[str, Any] = {}, **fields: Any) -> dict[str, Any]:  # noqa: B006 (never changed)
        """Ask its worker, and wait."""
        return self.worker.ask(command, arrays, timeout=TIMEOUT, **fields)[0]


def main() -> None:
    """Read the options, measure every backend asked for, and print a line for each."""
    options = read_options()
    machine = describe_machine()
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "machine.json").write_text(json.dumps(machine, indent=2) + "\n")
    rows = []
    for label in options.backend.split(","):
        ratios = []
        for pair in range(options.pairs):
            sides = measure(label, options, pair)
            own, recipe = (np.array(side.seconds) for side in sides)
            ratios.append(float(np.median(recipe / own)))
            for block, (mine, theirs) in enumerate(zip(own, recipe, strict=True)):
                rows.append((label, options.model, options.environment, pair, block, mine, theirs))
            print(f"{label} pair {pair + 1}/{options.pairs}: {ratios[-1]:.3f}", flush=True)
        report(label, options, ratios, rows)
        write(options.out / "blocks.csv", rows)


def read_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recipes", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--backend", default="torch,flax,keras,tensorflow")
    parser.add_argument("--model", default="mnist-1conv")
    parser.add_argument("--environment", choices=("tuned", "stock"), default="tuned")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--steps", type=int, default=30, help="in a block")
    parser.add_argument("--out", type=Path, default=Path("results/recipes"))
    options = parser.parse_args()
    unknown = set(options.backend.split(",")) - RECIPES.keys()
    if unknown:
        parser.error(f"no recipe for {', '.join(unknown)}; there are: {', '.join(RECIPES)}")
    return options


def measure(label: str, options: argparse.Namespace, pair: int) -> tuple[Side, Side]:
    """Start both, let them train in turns, end both; return adapter and recipe."""
    random = np.random.default_rng([pair, 7])
    chosen = spec.load_spec(options.model)
    training = chosen.training
    count = options.steps * training.batch_size
    with tempfile.TemporaryDirectory(prefix="recipes-") as folder:
        lay_out(chosen, Path(folder), count)
        sides = list(start(label, options, chosen, Path(folder)))
        order = np.arange(count).reshape(options.steps, training.batch_size)
        arrays = {"order": order, "rates": np.full(options.steps, training.optimizer.learning_rate)}
        for block in range(-2, options.blocks):  # two to warm up
            for side in random.permutation(np.array(sides, object)):
                seconds = side.ask("train", arrays)["seconds"]
                if block >= 0:
                    side.seconds.append(seconds)
        for side in sides:
            side.worker.close()
    return sides[0], sides[1]


def lay_out(chosen: Any, folder: Path, count: int) -> None:
    """Write the images that are trained: of MNIST where it is, noise for other sizes."""
    if chosen.input == (28, 28, 1):
        dataset = data.load("mnist")
    else:
        height, width, channels = chosen.input
        dataset = data.load(f"synthetic:{height}x{width}x{channels}:10:{2 * count}")
    arrays = {"train_images": dataset.train_images, "train_targets": dataset.train_labels}
    write_arrays(folder, {name: values[:count] for name, values in arrays.items()})


def start(label: str, options: Any, chosen: Any, folder: Path) -> Iterator[Side]:
    """Start adapter and recipe, one after the other, and build their models."""
    info = next(b for b in registry.describe() if b.label == label)
    threads = available_cpus()
    sides: list[tuple[str, str, str, Environment]] = [
        (label, info.target, info.variant, options.environment),
        (f"{label} recipe", TARGET, RECIPES[label], "stock"),
    ]
    for name, target, variant, chosen_environment in sides:
        environment = worker_environment(chosen_environment, threads, info.tuned)
        log = options.out / f"{name.replace(' ', '-')}.log"
        worker = WorkerProcess(name, log, environment, threads)
        side = Side(name, worker, [])
        setting = asdict(Setting("cpu", "float32", threads))
        side.ask("prepare", target=target, variant=variant, setting=setting)
        source = folder / f"{name.replace(' ', '_').replace('@', '_')}.py"
        given = {"spec": chosen.model_dump_json(), "source": str(source), "data": str(folder)}
        side.ask("open", **given)
        side.ask("reset", initial_parameters(chosen, 0), seed=0)
        yield side


def report(label: str, options: argparse.Namespace, ratios: list[float], rows: list[Any]) -> None:
    """Print one line: how many times as fast as its recipe."""
    logs = np.log(ratios)
    low, high = hodges_lehmann_bounds(logs, TAIL)
    size = options.steps * spec.load_spec(options.model).training.batch_size
    own = [size / row[5] for row in rows if row[0] == label]
    print(
        f"{label}, {options.model}, {options.environment}: "
        f"{np.exp(hodges_lehmann(logs)):.2f} times its recipe "
        f"({np.exp(low):.2f} to {np.exp(high):.2f}, {len(ratios)} pairs); "
        f"{np.median(own):,.0f} images/s",
        flush=True,
    )


def write(path: Path, rows: list[Any]) -> None:
    """Write the raw blocks."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            "backend model environment pair block adapter_seconds recipe_seconds".split()
        )
        writer.writerows(rows)


if __name__ == "__main__":
    main()
