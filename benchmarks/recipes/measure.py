"""One pair of fresh processes, adapter and recipe, that train the same rows in turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness import data
from harness.contract import Setting
from harness.machine import available_cpus
from harness.registry import BackendInfo
from harness.run.arrays import write_arrays
from harness.run.environment import Environment, worker_environment
from harness.run.process import WorkerProcess
from harness.spec import Spec, initial_parameters

RECIPES = {
    "torch": "torch",
    "flax": "flax",
    "keras": "keras",
    "tensorflow": "tensorflow",
    "tensorflow@session": "session",
}
TARGET = "benchmarks.recipes.backend:Recipe"
TIMEOUT = 900.0
WARM_UP = 2  # blocks
FIRST_STEPS = 2  # of the blocks by which the number of steps is chosen
FEWEST_STEPS = {"keras": 4}  # of a block: an epoch of `fit` has a beginning and an end
MADE_UP = 4096  # images, where the model's are not those of MNIST


@dataclass
class Side:
    """One of a pair: its worker, whether that has the recipe, and the seconds of its blocks."""

    worker: WorkerProcess
    is_recipe: bool
    seconds: list[float] = field(default_factory=list)

    def train(self, order: np.ndarray, rates: np.ndarray) -> float:
        """Train a block; return its seconds, by the recipe's own clock where it has one."""
        arrays = {"order": order, "rates": rates}
        answer, results = self.worker.ask("train", arrays, timeout=TIMEOUT)
        own = float(results["losses"].sum()) if self.is_recipe else 0.0
        return own or float(answer["seconds"])


@dataclass(frozen=True)
class Rows:
    """Which rows are trained at which rate: the set over and over, in its order."""

    images: int
    spec: Spec

    def block(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Return row numbers `[steps, batch]`, and a rate for each step."""
        training = self.spec.training
        rows = np.arange(steps * training.batch_size) % self.images
        order = rows.reshape(steps, training.batch_size)
        return order, np.full(steps, training.optimizer.learning_rate)


def lay_out(chosen: Spec, folder: Path) -> Rows:
    """Write the images that are trained: those of MNIST, or made-up ones for other sizes."""
    if chosen.input == (28, 28, 1):
        dataset = data.load("mnist")
    else:
        dataset = data.load(f"synthetic:{'x'.join(map(str, chosen.input))}:10:{MADE_UP}")
    arrays = {"train_images": dataset.train_images, "train_targets": dataset.train_labels}
    write_arrays(folder, arrays)
    return Rows(len(dataset.train_images), chosen)


def measure(
    info: BackendInfo,
    environment: Environment,
    rows: Rows,
    folder: Path,
    blocks: int,
    block_seconds: float,
    seed: int,
) -> tuple[int, list[float], list[float]]:
    """Train blocks in an order drawn anew for each; the data lie in `folder`.

    Returns:
        The steps of a block, chosen so that the adapter's takes about `block_seconds`, but at most
        the set once; and the seconds of the adapter's blocks, and of the recipe's.

    """
    random = np.random.default_rng([seed, 7])
    with _sides(info, environment, rows.spec, folder) as sides:
        for _ in range(WARM_UP):  # compiles
            first, _ = (side.train(*rows.block(FIRST_STEPS)) for side in sides)
        by_time = round(block_seconds * FIRST_STEPS / max(first, 1e-6))
        once = rows.images // rows.spec.training.batch_size
        steps = max(FEWEST_STEPS.get(info.label, 1), min(by_time, once))
        for number in range(-1, blocks):  # of that length, one more to warm up
            for place in random.permutation(2):
                seconds = sides[place].train(*rows.block(steps))
                if number >= 0:
                    sides[place].seconds.append(seconds)
        return steps, sides[0].seconds, sides[1].seconds


@contextmanager
def _sides(
    info: BackendInfo, environment: Environment, chosen: Spec, folder: Path
) -> Iterator[list[Side]]:
    """Start adapter and recipe, and have them import and build at the same time."""
    threads = available_cpus()
    setting = asdict(Setting("cpu", "float32", threads))
    wanted: list[tuple[str, str, str, Environment]] = [
        ("adapter", info.target, info.variant, environment),
        ("recipe", TARGET, RECIPES[info.label], "stock"),
    ]
    sides: list[Side] = []
    try:
        for name, _, _, one in wanted:
            variables = worker_environment(one, threads, info.tuned)
            log = folder / f"{name}.log"
            worker = WorkerProcess(f"{info.label} {name}", log, variables, threads)
            sides.append(Side(worker, name == "recipe"))

        def both(command: str, arrays: dict[str, Any], given: list[dict[str, Any]]) -> None:
            for side, fields in zip(sides, given, strict=True):
                side.worker.send(command, arrays, timeout=TIMEOUT, **fields)
            for side in sides:
                side.worker.receive(TIMEOUT)

        both(
            "prepare",
            {},
            [{"target": t, "variant": v, "setting": setting} for _, t, v, _ in wanted],
        )
        shared = {"spec": chosen.model_dump_json(), "data": str(folder)}
        both("open", {}, [{**shared, "source": str(folder / f"{name}.py")} for name, *_ in wanted])
        both("reset", dict(initial_parameters(chosen, 0)), [{"seed": 0}] * 2)
        yield sides
    finally:
        for side in sides:
            side.worker.kill()
