"""Runs read back from results folders and CSV files, fast enough for millions of samples."""

from __future__ import annotations

import csv
import gc
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from operator import itemgetter
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.machine import available_cpus
from harness.run.durable import whole_lines
from harness.run.folder import TO_THE_END, open_table, read_rows
from harness.sheets import plain_text

Row = Mapping[str, Any]
NEEDED = (
    "run_id backend variant device model dataset batch_size precision environment seed status"
).split()
NAMES = "run_id backend variant device phase".split()
FIGURES = "seed round block images seconds".split()
PHASES = ("train", "predict")
LARGE = 32 * 2**20  # bytes of samples, from which on a process for each side is worth its start
CHUNK = 20_000  # rows held as text at a time
SEEDS, ROUNDS, BLOCKS = 1 << 24, 1 << 20, 1 << 16  # make one number of seed, round and call


class CellKey(NamedTuple):
    """What must be the same for two results to be of the same thing."""

    backend: str
    variant: str
    device: str
    model: str
    dataset: str
    batch_size: int
    precision: str
    environment: str

    @property
    def label(self) -> str:
        """A name for tables: what differs most often comes first."""
        name = f"{self.backend}@{self.variant}" if self.variant else self.backend
        return f"{name} {self.device} {self.model} {self.dataset} b{self.batch_size}" + (
            f" {self.precision}" * (self.precision != "float32")
            + f" {self.environment}" * (self.environment != "tuned")
        )


@dataclass
class Timed:
    """Seconds for each image, by a number that is the same for the same steps of two runs."""

    keys: array[int] = field(default_factory=lambda: array("q"))
    seconds: array[float] = field(default_factory=lambda: array("d"))

    def add(self, keys: NDArray[np.int64], seconds: NDArray[np.float64]) -> None:
        """Append what was measured."""
        self.keys.frombytes(keys.tobytes())
        self.seconds.frombytes(seconds.tobytes())

    def log_ratios(self, other: Timed) -> NDArray[np.float64]:
        """Return the logarithms of the other's seconds over these, of the same steps."""
        _, left, right = np.intersect1d(
            np.frombuffer(self.keys, np.int64),
            np.frombuffer(other.keys, np.int64),
            return_indices=True,
        )
        mine = np.frombuffer(self.seconds, np.float64)[left]
        theirs = np.frombuffer(other.seconds, np.float64)[right]
        good = (mine > 0) & (theirs > 0)
        return np.asarray(np.log(theirs[good] / mine[good]))


@dataclass
class RunCell:
    """One cell in one run, which is one process: its rows by seed, and what was timed.

    `folder` is where the run's files lie.
    """

    folder: Path = field(default_factory=Path)
    rows: list[Row] = field(default_factory=list)
    train: Timed = field(default_factory=Timed)
    predict: Timed = field(default_factory=Timed)

    def first(self, column: str) -> Any:
        """Return the first row's value."""
        return self.rows[0].get(column)

    def typical(self, column: str) -> float | None:
        """Return the median of a column over the seeds that were trained to their end."""
        ended = [row for row in self.rows if row["status"] in TO_THE_END]
        found = [row[column] for row in ended if is_figure(row.get(column))]
        return float(np.median(found)) if found else None


Run = dict[CellKey, RunCell]


def is_figure(value: Any) -> bool:
    """Whether there is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def read_side(place: Path) -> list[Run]:
    """Return the runs at `place`, oldest first.

    It is a results folder, a folder of such folders, or a `summary.csv`, which may hold several
    runs. `samples.csv` beside a summary is read where there is one.

    Raises:
        UsageError: there is no such file, or it is no summary.

    """
    runs: dict[str, Run] = {}
    for path in _summaries(place):
        _read_run(path, runs)
    return [runs[run_id] for run_id in sorted(runs)]


def _summaries(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    if (place / "summary.csv").exists():
        return [place / "summary.csv"]
    if found := sorted(place.glob("*/summary.csv")):
        return found
    raise UsageError(
        f"{place} holds no summary.csv, nor does a folder in it. "
        "Try: a folder that python -m harness run wrote"
    )


def read_sides(places: Sequence[Path]) -> Iterable[list[Run]]:
    """Return the runs at each of `places`, as `read_side` does; side by side where they are large.

    Raises:
        UsageError: see `read_side`.

    """
    if len(places) == 1 or available_cpus() == 1 or sum(map(_sample_bytes, places)) < LARGE:
        return map(read_side, places)
    several = ProcessPoolExecutor(
        min(len(places), available_cpus()),
        get_context("fork"),  # others run the main script anew, which may have no guard for that
        initializer=signal,
        initargs=(SIGINT, SIG_IGN),  # which is for the one who asks
    )
    with several:
        return several.map(read_side, places)


def _sample_bytes(place: Path) -> int:
    found = [path.with_name("samples.csv") for path in _summaries(place)]
    return sum(path.stat().st_size for path in found if path.is_file())


def _read_run(path: Path, runs: dict[str, Run]) -> None:
    rows = [row for row in read_rows(path) if row.get("status") != "skipped"]
    if not rows or (missing := [name for name in NEEDED if name not in rows[0]]):
        what = f"no column {missing[0]}" if rows else "no rows"
        raise UsageError(f"{path} is no summary of a run: {what}. Try: a summary.csv")
    cells: dict[tuple[str, ...], RunCell] = {}
    for row in rows:
        key = CellKey(**{name: _plain(row[name]) for name in CellKey._fields})
        if not isinstance(key.batch_size, int):
            raise UsageError(f"{path}: batch_size {key.batch_size!r} is no whole number")
        cell = runs.setdefault(str(row["run_id"]), {}).setdefault(key, RunCell(path.parent))
        cell.rows.append(row)
        cells[str(row["run_id"]), key.backend, key.variant, key.device] = cell
    samples = path.with_name("samples.csv")
    if samples != path and samples.exists():
        _read_samples(samples, cells)


def _plain(value: Any) -> Any:
    return "" if value is None else value


def _read_samples(path: Path, cells: Mapping[tuple[str, ...], RunCell]) -> None:
    """Put the blocks of training, and the calls of batched prediction, into their cells."""
    try:
        with open_table(path) as file, _without_collection():
            header = next(csv.reader(file), [])
            names, figures = ([header.index(n) for n in part] for part in (NAMES, FIGURES))
            while lines := list(islice(file, CHUNK)):
                lines[-1:] = whole_lines(lines[-1:], len(header))  # others have their end of line
                for (*cell_name, phase), own in _by_cell(lines, names).items():
                    cell = cells.get(tuple(map(plain_text, cell_name)))
                    if cell is not None and phase in PHASES:
                        _add(cell, phase, _numbers(own, figures))
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise UsageError(
            f"cannot read {path}: {error}. Try: a samples.csv that a run wrote"
        ) from None


def _by_cell(lines: Iterable[str], places: Sequence[int]) -> dict[tuple[str, ...], list[str]]:
    """Return the lines of each cell and phase. They are split by hand: csv takes twice as long."""
    pick, needed = itemgetter(*places), max(places) + 1
    found: dict[tuple[str, ...], list[str]] = {}
    for line in lines:
        fields = next(csv.reader([line])) if '"' in line else line.split(",", needed)
        found.setdefault(pick(fields), []).append(line)
    return found


def _numbers(lines: Sequence[str], places: Sequence[int]) -> NDArray[np.float64]:
    """Return some columns `[fields, lines]`, by NumPy's own parser."""
    found = np.loadtxt(
        lines, delimiter=",", usecols=places, comments=None, quotechar='"', ndmin=2, unpack=True
    )
    return np.asarray(found)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Leave out garbage collection, which a million short-lived lists make as slow as all else."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _add(cell: RunCell, phase: str, columns: NDArray[np.float64]) -> None:
    images, seconds = columns[3:]
    is_sound = (columns[:3] >= -1).all() and (columns[:3] < [[SEEDS], [ROUNDS], [BLOCKS]]).all()
    if not is_sound or not (images > 0).all() or not np.isfinite(seconds).all():
        raise ValueError("a seed, round, block, number of images or time is out of range")
    seeds, rounds, blocks = columns[:3].astype(np.int64)
    keys = (seeds * ROUNDS + rounds) * BLOCKS
    if phase == "train":
        cell.train.add(keys, seconds / images)
        return
    counted = (images == cell.first("batch_size")) & (rounds >= 0)
    cell.predict.add((keys + blocks)[counted], (seconds / images)[counted])
