"""One seed: interleaved rounds of training, an evaluation after each epoch, then prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data import OrderHash
from harness.errors import WorkerError
from harness.run.arrays import EPOCH_IMAGES, write_epoch
from harness.run.bench import Bench
from harness.run.blocks import Block, training_blocks, turns
from harness.run.cell import Cell, Fields, figure
from harness.run.folder import now
from harness.run.listener import Progress
from harness.run.weights import keep_weights

PREDICT_ROUNDS = 4
SCORES = ("loss", "accuracy", "rmse", "mae")


@dataclass(frozen=True)
class Calls:
    """How often a prediction is timed in each round, by the seconds that one takes."""

    warm_up: int
    least: int
    most: int
    budget: float  # seconds for the calls of one round

    def within_budget(self, seconds: float) -> int:
        """Return the number of calls; the same in all rounds, so that slow ones count alike."""
        return max(self.least, min(self.most, round(self.budget / max(seconds, 1e-9))))


# A single image needs many, for its 99th percentile; a batch has met its shape in evaluation.
CALLS = {"single": Calls(5, 5, 25, budget=0.25), "batched": Calls(1, 2, 3, budget=0.5)}


def train_seed(bench: Bench, seed: int, order_hash: OrderHash, first_round: int = 0) -> None:
    """Train, test and time every running cell on `seed`; `order_hash` takes in every batch.

    Rounds of training are numbered from `first_round`.
    """
    spec = bench.plan.spec
    parameters = bench.initial(seed)
    bench.each("train", lambda cell: cell.ask("reset", parameters, seed=seed))
    rows, validation = bench.split(seed)
    epochs = list(training_blocks(rows, spec.training, seed, bench.block_steps))
    steps = sum(len(block.order) for blocks in epochs for block in blocks)
    bench.listener.seed_begins(seed, steps * sum(cell.running for cell in bench.cells))
    round_number = first_round
    for epoch, blocks in enumerate(epochs):
        if not any(cell.training for cell in bench.cells):
            break
        _augment(bench, blocks, seed, epoch)
        for block in blocks:
            order_hash.update(block.order)
            _round(bench, block, seed, round_number)
            round_number += 1
        bench.each("", lambda cell, epoch=epoch: _after_epoch(bench, cell, seed, epoch, validation))  # type: ignore[misc]
        later = sum(len(block.order) for blocks in epochs[epoch + 1 :] for block in blocks)
        _end_trainings(bench, seed, order_hash.hexdigest(), later)
    _predict(bench, seed)
    bench.each("", _measure_memory)
    if bench.plan.save_weights:
        bench.each("save weights", lambda cell: _save_weights(bench, cell, seed))


def _augment(bench: Bench, blocks: Sequence[Block], seed: int, epoch: int) -> None:
    """Give every cell the images of this epoch, where they change; that is not timed."""
    augmentation = bench.plan.spec.training.augment
    if augmentation is not None:
        order = np.concatenate([block.order.ravel() for block in blocks])
        write_epoch(bench.scratch, bench.dataset.train_images, order, augmentation, seed, epoch)
        bench.each("", lambda cell: cell.training and cell.ask("load", images=EPOCH_IMAGES))


def _round(bench: Bench, block: Block, seed: int, round_number: int) -> None:
    """Let every cell train the same block, in an order drawn for this round."""
    for position, turn in enumerate(turns(len(bench.cells), seed, round_number)):
        cell = bench.cells[turn]
        if cell.training:
            bench.attempt(
                cell,
                lambda cell, position=position: _turn(  # type: ignore[misc]
                    bench, cell, block, seed, round_number, position
                ),
            )


def _turn(
    bench: Bench, cell: Cell, block: Block, seed: int, round_number: int, position: int
) -> None:
    started_at = now()
    seconds, losses = cell.train_steps(block.order, block.rates)
    loss = float(losses.mean())
    if seconds == 0:
        raise WorkerError(f"{cell.label}: its clock stood still for a whole block")
    sample = bench.sample(
        cell,
        "train",
        seed=seed,
        round=round_number,
        position=position,
        epoch=block.epoch + 1,
        block=len(cell.blocks),
        steps=len(block.order),
        images=block.images,
        seconds=seconds,
        loss=loss,
        started_at=started_at,
        **cell.gauges,
    )
    cell.blocks.append(sample)
    if not np.isfinite(losses).all():
        index = int(np.argmin(np.isfinite(losses)))
        step = sum(done["steps"] for done in cell.blocks[:-1]) + index + 1
        where = f"in step {step}, epoch {block.epoch + 1}"
        cell.outcome = ("nan", f"the loss became {losses[index]} {where}")
        bench.listener.failed(cell.label, *cell.outcome)
    rate = block.images / seconds
    bench.listener.trained(
        Progress(cell.label, seed, block.epoch + 1, loss, rate, len(block.order))
    )


def _after_epoch(
    bench: Bench, cell: Cell, seed: int, epoch: int, validation: NDArray[np.int64]
) -> None:
    """Evaluate: on the validation images where there are any, else, and at the end, on the test."""
    if cell.reached:
        return
    is_last = epoch == bench.plan.spec.training.epochs - 1
    if len(validation):
        found = _evaluate(bench, cell, seed, epoch, "train", validation)
        _compare_to_target(cell, epoch, found["accuracy"])
    if is_last or cell.reached or not len(validation):
        found = _evaluate(bench, cell, seed, epoch, "test", None)
        if not len(validation):
            _compare_to_target(cell, epoch, found["accuracy"])
        cell.results |= {f"test_{name}": found[name] for name in SCORES}
        cell.results["eval_seconds"] = found["seconds"]
    of_epoch = [block for block in cell.blocks if block["epoch"] == epoch + 1]
    weights = [block["images"] for block in of_epoch]
    if of_epoch:
        losses = [block["loss"] for block in of_epoch]
        cell.results["train_loss"] = float(np.average(losses, weights=weights))


def _compare_to_target(cell: Cell, epoch: int, accuracy: float | None) -> None:
    """Note whether the cell has reached the run's accuracy, and after how much training."""
    target = cell.plan.target_accuracy
    if target is not None and accuracy is not None and accuracy >= target:
        cell.reached = True
        cell.results["seconds_to_target"] = sum(block["seconds"] for block in cell.blocks)
        cell.results["epochs_to_target"] = epoch + 1


def _end_trainings(bench: Bench, seed: int, order_hash: str, later: int) -> None:
    """Note of cells that have just reached the accuracy what they trained on; the others go on."""
    for cell in bench.cells:
        if cell.reached and not cell.rests and "order_hash" not in cell.results:
            cell.results["order_hash"] = order_hash
            epochs, seconds = (cell.results[f"{unit}_to_target"] for unit in ("epochs", "seconds"))
            bench.listener.reached(cell.label, seed, epochs, seconds, later)


def _evaluate(
    bench: Bench,
    cell: Cell,
    seed: int,
    epoch: int,
    split: str,
    rows: NDArray[np.int64] | None,
) -> Fields:
    started_at = now()
    arrays = {} if rows is None else {"rows": rows}
    size = bench.plan.spec.training.batch_size
    fields, _ = cell.ask("evaluate", arrays, split=split, batch_size=size)
    found = {name: figure(fields, name) for name in (*SCORES, "images")}
    found["seconds"] = cell.timed(float(fields["seconds"]), "an evaluation")
    phase = "test" if rows is None else "validation"
    bench.sample(
        cell,
        phase,
        seed=seed,
        epoch=epoch + 1,
        started_at=started_at,
        **found,
    )
    loss, accuracy = float(fields["loss"]), found["accuracy"]
    bench.listener.evaluated(cell.label, seed, epoch + 1, phase, loss, accuracy)
    return found


def _predict(bench: Bench, seed: int) -> None:
    """Time single predictions and whole batches, in turns as in training.

    Round -1 is warm-up, and not counted: it tells how long a call takes.
    """
    sizes = {"single": 1, "batched": bench.plan.spec.training.batch_size}
    chosen: dict[tuple[str, str], int] = {}

    def predict(cell: Cell, kind: str, round_number: int) -> None:
        started_at, size = now(), sizes[kind]
        calls = chosen.get((cell.label, kind), CALLS[kind].warm_up)
        seconds = cell.predict(size, calls)
        bench.folder.add_samples(
            {
                **cell.keys,
                "seed": seed,
                "round": round_number,
                "phase": "predict",
                "block": call,
                "images": size,
                "seconds": float(value),
                "started_at": started_at,
            }
            for call, value in enumerate(seconds)
        )
        if round_number < 0:
            chosen[cell.label, kind] = CALLS[kind].within_budget(float(seconds.min()))
        else:
            cell.predictions.setdefault(kind, []).extend(seconds.tolist())

    for round_number in range(-1, PREDICT_ROUNDS):
        for kind in sizes:
            bench.each(
                "predict" if round_number < 0 and kind == "single" else "",
                lambda cell, kind=kind, number=round_number: predict(cell, kind, number),  # type: ignore[misc]
            )


def _measure_memory(cell: Cell) -> None:
    fields, _ = cell.ask("memory")
    cell.results["peak_host_bytes"] = figure(fields, "host")
    cell.results["peak_device_bytes"] = figure(fields, "device")
    cell.results["gpu_process_bytes"] = figure(fields, "process")


def _save_weights(bench: Bench, cell: Cell, seed: int) -> None:
    _, arrays = cell.ask("state")
    label = cell.info.label
    facts = {
        "backend": label,
        "device": cell.device,
        "seed": str(seed),
        "precision": bench.plan.precision,
        "dataset": bench.dataset.name,
        "framework_version": str(cell.facts["framework_version"]),
    }
    path = bench.folder.weights() / f"{label}-{cell.device}-{seed}.safetensors"
    keep_weights(path, bench.plan.spec, arrays, facts)
