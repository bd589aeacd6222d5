"""Prediction from weights in a file: each backend computes the same test split.

The same worker processes as in a run, without training: whatever framework trained the weights,
every other can use them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data import Dataset
from harness.output import write_whole
from harness.run.arrays import run_arrays, write_arrays
from harness.run.bench import Bench, open_bench
from harness.run.cell import Cell, open_cell
from harness.run.folder import ResultsFolder
from harness.run.listener import Listener
from harness.run.plan import Plan, check_images
from harness.run.preparation import start_cells
from harness.spec import infer

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one backend on one device made of the test images.

    `logits` is `[n, outputs]`; of a backend that failed it is None, as are the figures.
    """

    label: str
    device: str
    framework_version: str
    status: str
    error: str
    loss: float | None = None
    accuracy: float | None = None
    logits: Array | None = None


@dataclass(frozen=True)
class Comparison:
    """One backend's logits beside the first's.

    `difference` is the largest, absolute; `relative` is that over the first's largest logit.
    `differing` counts the images whose predicted class is another; None where there are no
    classes.
    """

    difference: float
    relative: float
    differing: int | None


def predict(
    plan: Plan, weights: Mapping[str, Array], dataset: Dataset, listener: Listener
) -> list[Prediction]:
    """Have every backend of `plan` predict the test split from `weights`.

    A backend that fails does not end the others; its error names its log, which is kept.

    Raises:
        UsageError: model and dataset do not fit, or a GPU was asked for and there is none.
        Interrupted: by Ctrl-C.

    """
    outputs = infer(plan.spec).output_shape[0]
    check_images(plan.spec, outputs, dataset)
    kept = Path(tempfile.mkdtemp(prefix="harness-predict-"))
    folder, cells = ResultsFolder(kept), list[Cell]()
    shared = (plan, dataset, folder, listener)
    try:
        with closing(folder), open_bench(*shared, interrupted="interrupted") as bench:
            cells = bench.cells
            return _predict_all(bench, weights, run_arrays(plan.spec, outputs, dataset))
    finally:
        if not any(cell.dead for cell in cells):
            shutil.rmtree(kept, ignore_errors=True)


def _predict_all(
    bench: Bench, weights: Mapping[str, Array], arrays: Mapping[str, Array]
) -> list[Prediction]:
    # Nothing is trained, so one image is enough to load.
    train = {name: arrays[name][:1] for name in ("train_images", "train_targets")}
    write_arrays(bench.scratch, {**arrays, **train})
    start_cells(bench)
    bench.each("build", lambda cell: open_cell(cell, bench.folder, bench.scratch))
    found: dict[str, Prediction] = {}
    bench.each("predict", lambda cell: found.update({cell.label: _predict(cell, weights)}))
    return [found.get(cell.label) or _prediction(cell) for cell in bench.cells]


def _predict(cell: Cell, weights: Mapping[str, Array]) -> Prediction:
    cell.ask("reset", weights, seed=0)
    size = cell.plan.spec.training.batch_size
    fields, arrays = cell.ask("evaluate", split="test", batch_size=size, logits=True)
    figures = {"loss": fields["loss"], "accuracy": fields["accuracy"]}
    return _prediction(cell, logits=arrays["logits"], **figures)


def _prediction(cell: Cell, **found: Any) -> Prediction:
    version = str(cell.facts.get("framework_version", ""))
    return Prediction(cell.info.label, cell.device, version, *cell.outcome, **found)


def compare_logits(found: Array, first: Array, has_classes: bool) -> Comparison:
    """Set logits `[n, outputs]` beside those of the first backend."""
    difference = float(np.abs(found.astype(np.float64) - first).max(initial=0.0))
    largest = float(np.abs(first).max(initial=0.0))
    return Comparison(
        difference,
        difference / largest if largest > 0 else difference,
        int((_choices(found) != _choices(first)).sum()) if has_classes else None,
    )


def _choices(logits: Array) -> Array:
    """Return the predicted class of each image; a single output chooses between two."""
    return logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(1)


def describe_predictions(found: Sequence[Prediction], dataset: Dataset) -> list[dict[str, Any]]:
    """Return one object for each backend, as JSON wants it: figures, and the first beside it."""
    first = next((item.logits for item in found if item.logits is not None), None)
    objects = []
    for item in found:
        row: dict[str, Any] = {
            "backend": item.label,
            "device": item.device,
            "framework_version": item.framework_version,
            "status": item.status,
            "error": item.error,
            "images": None,
            "accuracy": item.accuracy,
            "loss": _number(item.loss),
            "logits_difference": None,
            "logits_relative_difference": None,
            "predictions_that_differ": None,
        }
        if item.logits is not None and first is not None:
            beside = compare_logits(item.logits, first, dataset.classes is not None)
            row["images"] = len(item.logits)
            row["logits_difference"] = _number(beside.difference)
            row["logits_relative_difference"] = _number(beside.relative)
            row["predictions_that_differ"] = beside.differing
        objects.append(row)
    return objects


def _number(value: float | None) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if value is not None and np.isfinite(value) else None


def write_logits(path: Path, found: Sequence[Prediction], targets: Array) -> None:
    """Write the logits of each backend, called `torch` or `torch on gpu`, and the `targets`.

    Raises:
        UsageError: the file cannot be written there.

    """
    several = len({item.device for item in found}) > 1
    arrays = {
        f"{item.label} on {item.device}" if several else item.label: item.logits
        for item in found
        if item.logits is not None
    }

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, targets=targets, **arrays)  # type: ignore[arg-type]  # names are data

    write_whole(path, write)
