"""A history of results: one row for each cell of a run, appended and never rewritten.

`results/history/MACHINE_KEY.csv` holds what one kind of machine measured, as figures of two kinds
have no trend in common.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from harness.errors import NotInstalledError, UsageError
from harness.output import append_rows
from harness.run.folder import TO_THE_END, now, read_rows
from harness.verdict.files import CellKey, Run, RunCell, is_figure, read_side

FOLDER = Path("results") / "history"
MEASURES = {  # whether more of it is better
    "train_images_per_second": True,
    "step_ms_p50": False,
    "predict_images_per_second": True,
    "predict_ms_p50": False,
    "compile_seconds": False,
    "import_seconds": False,
    "peak_host_bytes": False,
    "peak_device_bytes": False,
    "test_accuracy": True,
}
CELL = ("kind", *CellKey._fields, "threads")
COLUMNS = (
    *("added_at", "started_at", "run_id", "machine_key", *CELL, "model_hash", "dataset_hash"),
    *("framework_version", "commit", "dirty", "revision", "seeds", *MEASURES),
    *("against", "change", "change_low", "change_high", "verdict"),
)
LEAST = 3  # results before and after a change
PENALTY = 4.0  # times ln n, for each change
LEAST_DEVIATION = 1e-3  # of log values: finer than that nothing is measured


def add(places: Sequence[Path], folder: Path = FOLDER) -> tuple[int, int]:
    """Append what lies at `places`: folders of `run` or `ab`, or folders that hold such.

    Returns:
        How many rows were added, and how many were there already.

    Raises:
        UsageError: there are no results at a place, or the history cannot be written.

    """
    fresh = [row for place in places for row in _rows_at(place)]
    known = {_identity(row) for row in read(folder)}
    by_machine: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in fresh:
        if _identity(row) not in known:
            known.add(_identity(row))
            by_machine[str(row["machine_key"])].append({"added_at": now(), **row})
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make {folder}: {error.strerror}. Try: --history with another folder"
        ) from None
    for machine, rows in by_machine.items():
        append_rows(folder / f"{machine}.csv", COLUMNS, rows)
    added = sum(map(len, by_machine.values()))
    return added, len(fresh) - added


def read(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Return all rows of a history, oldest first; none where there is no folder.

    Raises:
        UsageError: a file in it is no history.

    """
    rows = [row for path in sorted(folder.glob("*.csv")) for row in _rows_of(path)]
    return sorted(rows, key=lambda row: str(row["started_at"]))


def _rows_of(path: Path) -> list[dict[str, Any]]:
    rows = read_rows(path)
    if rows and (lacking := [name for name in COLUMNS if name not in rows[0]]):
        raise UsageError(f"{path} is no history: there is no column {lacking[0]}")
    # In the last column, a line that a crash cut short has nothing.
    rows = [row for row in rows if row["verdict"]]
    for row in rows:
        if not isinstance(row["batch_size"], int):
            raise UsageError(f"{path}: batch_size {row['batch_size']!r} is no whole number")
    return rows


def _identity(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple("" if row.get(c) is None else str(row[c]) for c in ("run_id", *CELL))


def _rows_at(place: Path) -> list[dict[str, Any]]:
    """Return the rows of a place, as `add` takes them."""
    found = [place / "verdict.json"] if (place / "verdict.json").exists() else []
    verdicts = found or sorted(place.glob("*/verdict.json"))
    rows = [row for path in verdicts for row in _ab_rows(path)]
    if not verdicts or (place / "summary.csv").exists() or list(place.glob("*/summary.csv")):
        rows += [row for run in read_side(place) for row in _run_rows(run)]
    return rows


def _run_rows(run: Run) -> Iterator[dict[str, Any]]:
    for key, cell in run.items():
        if cell.first("equivalent") is False:
            continue  # nothing may be made of the speed of another network
        good = sum(row["status"] in TO_THE_END for row in cell.rows)
        if good:
            yield {
                **_common(cell),
                "kind": "run",
                **key._asdict(),
                "threads": cell.first("threads"),
                "seeds": good,
                **{measure: cell.typical(measure) for measure in MEASURES},
            }


def _common(cell: RunCell) -> dict[str, Any]:
    names = "started_at run_id machine_key model_hash dataset_hash framework_version commit dirty"
    return {name: cell.first(name) for name in names.split()} | {"verdict": "ok"}


def _ab_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Return one row for the new side of a comparison: its figures, and how it compared."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        old, new = found["sides"]["A"], found["sides"]["B"]
        findings = {finding["measure"]: finding for finding in found["findings"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} is no verdict of harness ab: {error!r}") from None
    pairs = [r for r in read_rows(path.with_name("pairs.csv")) if r.get("role") != "control"]
    seconds: dict[str, list[float]] = {}
    for row in pairs:
        if row["seconds_b"] is not None:
            seconds.setdefault(row["measure"], []).append(row["seconds_b"])
    if not seconds:
        return
    typical = {measure: median(values) for measure, values in seconds.items()}
    finding = findings.get("train") or next(iter(findings.values()))
    backend, _, variant = new["backend"].partition("@")
    options = old.get("options", [])
    size = found["batch_size"]
    row = {name: found.get(name) for name in ("machine_key", "model_hash", "dataset_hash")}
    row |= {name: found.get(name) for name in ("commit", "dirty", "device", "model", "dataset")}
    row |= {name: found.get(name) for name in ("precision", "environment", "threads", "batch_size")}
    row |= dict(option.split("=", 1) for option in new.get("options", []))
    yield {
        **row,
        "kind": "ab",
        "started_at": pairs[0]["started_at"],
        "run_id": pairs[0]["run_id"],
        "backend": backend,
        "variant": variant,
        "framework_version": next(iter(new["versions"].values()), ""),
        "revision": new["revision"],
        "seeds": 1,
        "step_ms_p50": 1000 * typical["train"] if "train" in typical else None,
        "train_images_per_second": size / typical["train"] if "train" in typical else None,
        "predict_images_per_second": size / typical["predict"] if "predict" in typical else None,
        "compile_seconds": typical.get("compile"),
        "against": " ".join(
            filter(None, [*(old[name] for name in ("backend", "revision", "python")), *options])
        ),
        "change": finding.get("ratio"),
        "change_low": finding.get("low"),
        "change_high": finding.get("high"),
        "verdict": finding["verdict"],
    }


@dataclass(frozen=True)
class Change:
    """Where a trend changed: the first result after it, and the ratio of the medians there."""

    place: int
    ratio: float


@dataclass(frozen=True)
class Trend:
    """One measure of one cell on one kind of machine, oldest first; `rows` are the results."""

    machine_key: str
    cell: tuple[str, ...]
    measure: str
    rows: Sequence[Mapping[str, Any]]

    @property
    def values(self) -> list[float]:
        """The figures."""
        return [float(row[self.measure]) for row in self.rows]

    @property
    def label(self) -> str:
        """The cell in words."""
        kind, backend, variant, device, model, dataset, size, *rest, threads = self.cell
        key = CellKey(backend, variant, device, model, dataset, int(size), *rest)
        return f"{kind} {key.label}, {threads} core{'s' * (threads != '1')}"


def trends(rows: Sequence[Mapping[str, Any]], measure: str) -> list[Trend]:
    """Return the trend of `measure` in every cell that has it, by machine and cell."""
    found: defaultdict[tuple[str, tuple[str, ...]], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if is_figure(row.get(measure)):
            cell = tuple("" if row.get(c) is None else str(row[c]) for c in CELL)
            found[str(row["machine_key"]), cell].append(row)
    return [Trend(machine, cell, measure, own) for (machine, cell), own in sorted(found.items())]


def changes(values: Sequence[float]) -> list[Change]:
    """Return where the level of a trend changed, by ruptures.

    The segmentation of the logarithms that has the least squares around each segment's mean, in
    units of the results' deviation from one to the next, plus a penalty for each change of four
    times ln n (Yao 1988 has two), found by PELT (Killick, Fearnhead and Eckley 2012). It is a hint
    where to look, with no error rate of its own: results of different days differ in more than the
    code.

    Raises:
        NotInstalledError: ruptures is not there.

    """
    try:
        from ruptures import Pelt  # type: ignore[import-untyped]
    except ImportError:
        raise NotInstalledError(
            "change points need ruptures, which is not installed. "
            "Try: pip install 'cnn-harness[history]'"
        ) from None
    good = np.asarray(values, np.float64)
    if len(good) < 2 * LEAST or not (good > 0).all():
        return []
    logs = np.log(good)
    # Of independent values the differences have sqrt(2) times the deviation; .6745 of it is the
    # median of a normal one's absolute values. A few changes of level hardly touch a median.
    deviation = float(np.median(np.abs(np.diff(logs)))) / (0.6745 * math.sqrt(2))
    signal = logs / max(deviation, LEAST_DEVIATION)
    search = Pelt(model="l2", min_size=LEAST, jump=1).fit(signal)
    ends = search.predict(PENALTY * math.log(len(good)))
    bounds = [0, *ends]
    found = []
    for before, place, after in zip(bounds, bounds[1:], bounds[2:], strict=False):
        ratio = math.exp(float(np.median(logs[place:after]) - np.median(logs[before:place])))
        found.append(Change(place, ratio))
    return found
