"""Results read back for pages and plots: runs, and in them cases, whose backends are compared.

Whatever is missing is None, or an empty list: old files, runs that were cut off, and folders of
which only the summary was kept, are shown as far as they go.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.run.checked import network_hash
from harness.run.folder import SAMPLE_COLUMNS, SUMMARY_COLUMNS, is_own, read_rows
from harness.show.table import Line, Row, label_of, lines_of
from harness.spec import Spec, library, load_spec, parse_spec_json

SETTING = (
    "model",
    "dataset",
    "batch_size",
    "precision",
    "environment",
    "threads",
    "epochs",
    "streamed",
)
PLACE = ("dataset_hash", "machine_key")
# What a page asks of machine.json, and what that is; anything else there is as if it were not.
MACHINE: dict[str, type] = {
    **dict.fromkeys(("command", "cpu", "cpu_generation", "system", "python", "harness"), str),
    **dict.fromkeys(("cpus_available", "memory_bytes"), int),
    **dict.fromkeys(("gpus", "peaks"), list),
}
PLAIN = {"precision": "float32", "environment": "tuned"}  # not worth saying


@dataclass
class Run:
    """One results folder: rows, samples, and what else lies in it."""

    folder: Path
    rows: list[Row]
    samples: list[Row] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    spec: Spec | None = None
    sources: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def run_id(self) -> str:
        """The id in its rows."""
        return str(self.rows[0]["run_id"])

    @cached_property
    def cases(self) -> list[Case]:
        """Its rows by what was asked of all backends alike."""
        found: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.rows:
            if row["status"] != "skipped":  # of such a row nothing is known
                found.setdefault(tuple(row[name] for name in SETTING), []).append(row)
        several = len(found) > 1  # samples do not say to which of them they belong
        return [Case(self, own, [] if several else self.samples) for own in found.values()]


@dataclass
class Case:
    """Rows of one run that are alike in all of SETTING: its backends are set beside each other."""

    run: Run
    rows: list[Row]
    samples: list[Row]

    @cached_property
    def lines(self) -> list[Line]:
        """One for each backend and device, the fastest comparable one first."""
        return lines_of(self.rows, self.samples)

    @cached_property
    def evaluations(self) -> dict[str, list[Row]]:
        """Evaluations after each epoch by line: on validation images if there are, else on test."""
        found: dict[str, list[Row]] = {line.label: [] for line in self.lines}
        phases = {row["phase"] for row in self.samples}
        phase = "validation" if "validation" in phases else "test"
        for row in self.samples:
            label = f"{label_of(row)} on {row['device']}"
            if row["phase"] == phase and label in found:
                found[label].append(row)
        return found

    @cached_property
    def spec(self) -> Spec | None:
        """What was trained: the run's own, or the library's if its hash is that of the rows."""
        own = self.run.spec
        wanted = self.first("model_hash")
        if own is not None and own.hash == wanted:
            return own
        if self.first("model") not in library():
            return None
        known = load_spec(str(self.first("model")))
        ran = {name: self.first(name) for name in ("epochs", "batch_size")}
        training = known.training.model_copy(update=ran)
        known = known.model_copy(update={"training": training})
        return known if known.hash == wanted else None

    @property
    def key(self) -> tuple[Any, ...]:
        """What must be alike for two runs to be of the same thing.

        Names are not enough: a file may have been changed from one run to the next.
        """
        return tuple(self.first(name) for name in (*SETTING, "model_hash", *PLACE))

    @property
    def key_of_any_batch(self) -> tuple[Any, ...]:
        """What must be alike for two runs to differ in the batch size alone, if at all."""
        network = network_hash(self.spec) if self.spec is not None else ""
        setting = (name for name in SETTING if name != "batch_size")
        return (network, *(self.first(name) for name in (*setting, *PLACE)))

    @property
    def title(self) -> str:
        """Model and dataset, and what is not as usual."""
        words = [f"{self.first('model')} on {self.first('dataset')}"]
        for name, usual in PLAIN.items():
            if self.first(name) not in (usual, None):
                words.append(str(self.first(name)))
        if self.first("streamed"):
            words.append("training set streamed")
        return ", ".join(words)

    @property
    def started_at(self) -> str:
        """When the first seed's training began, UTC."""
        return str(self.first("started_at") or "")

    def first(self, column: str) -> Any:
        """Return the first row's value."""
        return self.rows[0][column]

    def holds(self, column: str) -> bool:
        """Return whether any row has a value there."""
        return any(row.get(column) is not None for row in self.rows)


def gather(places: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Return the runs at `places`, oldest first, and why some could not be read.

    A place is a results folder, its `summary.csv`, or a folder with such folders in it, however
    deep. Runs that a check trained are left out of the last.

    Raises:
        UsageError: nothing could be read.

    """
    folders, problems = [], []
    for place in places:
        folders += _folders(place)
    runs = []
    for folder in dict.fromkeys(path.resolve() for path in folders):
        try:
            runs.append(read_run(folder))
        except UsageError as error:
            problems.append(str(error))
    if not runs:
        raise UsageError("\n".join(problems))
    return sorted(
        runs, key=lambda run: (str(run.rows[0]["started_at"] or ""), run.run_id)
    ), problems


def _folders(place: Path) -> list[Path]:
    if place.is_file():
        return [place.parent]
    if (place / "summary.csv").exists():
        return [place]
    found = [p.parent for p in sorted(place.rglob("summary.csv")) if "checks" not in p.parts]
    if not found:
        raise UsageError(
            f"{place} holds no summary.csv, nor does a folder in it. "
            "Try: a folder that python -m harness run wrote"
        )
    return found


def read_run(folder: Path) -> Run:
    """Return what lies in a results folder; a page of a stranger's shows nothing from elsewhere.

    Raises:
        UsageError: there is no summary, or no row in it of what was not skipped, or it is a link
            out of the folder.

    """
    rows = _whole(read_rows(_own(folder, "summary.csv")), SUMMARY_COLUMNS)
    if not rows:
        raise UsageError(f"{folder / 'summary.csv'} holds no rows. Try: another folder")
    if all(row["status"] == "skipped" for row in rows):
        raise UsageError(f"{folder / 'summary.csv'}: all was skipped. Try: another folder")
    run = Run(folder, rows)
    try:
        run.samples = _whole(read_rows(_own(folder, "samples.csv")), SAMPLE_COLUMNS)
    except UsageError as error:
        run.remarks.append(f"No single measurements: {error}")
    machine = _read_json(folder)
    run.machine = {
        name: machine[name] if isinstance(machine.get(name), kind) else None
        for name, kind in MACHINE.items()
    }
    run.spec = _read_spec(folder)
    for path in sorted(folder.glob("models/*.py")):
        if is_own(folder, path):
            run.sources[path.stem] = path.read_text(encoding="utf-8", errors="replace")
    return run


def _own(folder: Path, name: str) -> Path:
    """Return where a file of a results folder lies.

    Raises:
        UsageError: it is a link out of the folder, or no file.

    """
    path = folder / name
    if path.exists() and not is_own(folder, path):
        raise UsageError(f"{path} is no file in its folder. Try: the folder that it links to")
    return path


def _whole(rows: Iterable[Row], columns: Iterable[str]) -> list[Row]:
    """Give every row every column; what is no finite number is None."""
    blank = dict.fromkeys(columns)
    return [
        {
            **blank,
            **{
                name: None if isinstance(value, float) and not math.isfinite(value) else value
                for name, value in row.items()
            },
        }
        for row in rows
    ]


def _read_json(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads(_own(folder, "machine.json").read_text(encoding="utf-8"))
    except (OSError, UsageError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_spec(folder: Path) -> Spec | None:
    try:
        path = _own(folder, "spec.json")
        return parse_spec_json(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UsageError, ValueError):
        return None
