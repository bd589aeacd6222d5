"""What loggers get of a run: each training's settings, epochs and figures, read from disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.run.folder import SUMMARY_COLUMNS
from harness.show.gather import read_run
from harness.show.table import Row, label_of
from harness.spec import Spec

# Columns of the summary that say what was done; the other numbers in it say what came of it.
SETTINGS = (
    "run_id backend variant framework_version model model_hash dataset dataset_hash device "
    "device_name precision environment threads seed epochs batch_size parameters flops_per_image "
    "order_hash init_hash machine_key commit target_accuracy streamed"
).split()
NO_FIGURES = frozenset({*SETTINGS, "schema_version", "worker", "dirty"})
SCORES = ("loss", "accuracy", "rmse", "mae")
EVALUATIONS = ("validation", "test")
Value = str | int | float | bool


@dataclass(frozen=True)
class Epoch:
    """What was measured in an epoch, by name; `time` is its end, in seconds since 1970 (UTC)."""

    number: int
    time: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class Training:
    """One backend on one device from one seed.

    `settings` are what was done, `epochs` how it went, `figures` what came of it, by the names of
    the summary's columns. `began` and `ended` are seconds since 1970 (UTC).
    """

    name: str
    status: str
    settings: Mapping[str, Value]
    epochs: Sequence[Epoch]
    figures: Mapping[str, float]
    began: float
    ended: float


@dataclass(frozen=True)
class Logged:
    """One run: its id, what it is of, and its trainings."""

    run_id: str
    title: str
    trainings: Sequence[Training]


def read_logged(folder: Path) -> Logged:
    """Return the run in a results folder.

    Raises:
        UsageError: there is none.

    """
    run = read_run(folder)
    samples: dict[tuple[Any, ...], list[Row]] = {}
    for sample in run.samples:
        samples.setdefault(_key(sample), []).append(sample)
    tried = [row for row in run.rows if row["status"] not in ("skipped", "planned")]
    trainings = [_training(row, samples.get(_key(row), []), run.spec) for row in tried]
    first = run.rows[0]
    return Logged(run.run_id, f"{first['model']} on {first['dataset']}", trainings)


def _key(row: Row) -> tuple[Any, ...]:
    return row["backend"], row["variant"], row["device"], row["seed"]


def _training(row: Row, samples: Sequence[Row], spec: Spec | None) -> Training:
    settings = {name: row[name] for name in SETTINGS if row.get(name) is not None}
    if spec is not None:
        settings |= dict(_flat("training", spec.model_dump(mode="json")["training"]))
    figures = {
        name: float(row[name])
        for name in SUMMARY_COLUMNS
        if name not in NO_FIGURES and isinstance(row.get(name), int | float)
    }
    epochs = list(_epochs(samples))
    began = _seconds(row["started_at"]) if row["started_at"] else 0.0
    ended = max((_end(sample) for sample in samples), default=began)
    name = f"{label_of(row)}-{row['device']}-seed{row['seed']}"
    return Training(name, str(row["status"]), settings, epochs, figures, began, max(began, ended))


def _flat(path: str, value: Any) -> Iterator[tuple[str, Value]]:
    """Yield the fields of nested tables by dotted names; what has no value is left out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{path}.{key}", inner)
    elif isinstance(value, list):
        yield path, ", ".join(map(str, value))
    elif value is not None:
        yield path, value


def _epochs(samples: Sequence[Row]) -> Iterator[Epoch]:
    """Yield each epoch with its mean loss and speed, and its evaluations."""
    phases = ("train", *EVALUATIONS)
    of_epochs: dict[int, list[Row]] = {}
    for sample in samples:
        if sample["phase"] in phases and sample["epoch"] is not None:
            of_epochs.setdefault(sample["epoch"], []).append(sample)
    for number, own in sorted(of_epochs.items()):
        values = _of_training([one for one in own if one["phase"] == "train"])
        for one in own:
            if one["phase"] in EVALUATIONS:
                scores = {f"{one['phase']}/{name}": one[name] for name in SCORES}
                values |= {name: score for name, score in scores.items() if score is not None}
        yield Epoch(number, max(map(_end, own)), values)


def _of_training(blocks: Sequence[Row]) -> dict[str, float]:
    images = sum(block["images"] for block in blocks)
    seconds = sum(block["seconds"] for block in blocks)
    losses = [block["loss"] * block["images"] for block in blocks if block["loss"] is not None]
    values: dict[str, float] = {}
    if blocks and len(losses) == len(blocks):
        values["train/loss"] = sum(losses) / images
    if seconds > 0:
        values["train/images_per_second"] = images / seconds
    return values


def _end(sample: Row) -> float:
    return _seconds(sample["started_at"]) + (sample["seconds"] or 0.0)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
