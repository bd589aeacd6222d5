"""The table at the end of a run: one line for each backend and device, and what to make of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from harness.run.agreement import TOLERANCE
from harness.run.figures import paired_ratio
from harness.run.folder import TO_THE_END, read_rows
from harness.verdict.accuracy import AccuracyVerdict, judge_accuracy

Row = Mapping[str, Any]
UNTRIED = ("planned", "running")  # of a run that goes on, or was killed: nothing is known yet
TERMINAL = 80  # columns


@dataclass
class Line:
    """One backend on one device: its rows, one for each seed, and its measured blocks."""

    backend: str
    device: str
    rows: list[Row] = field(default_factory=list)
    blocks: list[Row] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What the user would type, and the device."""
        return f"{self.backend} on {self.device}"

    @property
    def finished(self) -> list[Row]:
        """The rows of the seeds that were trained to their end."""
        return [row for row in self.rows if row["status"] in TO_THE_END]

    @property
    def broken(self) -> list[Row]:
        """The other rows."""
        return [row for row in self.rows if row["status"] not in TO_THE_END]

    @property
    def comparable(self) -> bool:
        """Whether its speed may be set beside the others': the same network, and it finished."""
        return bool(self.finished) and all(
            row["equivalent"] for row in self.rows if row["status"] not in UNTRIED
        )

    @property
    def target(self) -> float | None:
        """The accuracy at which training was to end, if there was one."""
        return self.rows[0].get("target_accuracy")

    def values(self, column: str) -> list[float]:
        """Return a column over the finished seeds, without gaps."""
        return [row[column] for row in self.finished if row.get(column) is not None]

    def typical(self, column: str) -> float | None:
        """Return the median of a column over the finished seeds."""
        values = self.values(column)
        return median(values) if values else None


def read_lines(folder: Path) -> list[Line]:
    """Return the lines of a results folder, the fastest comparable one first."""
    return lines_of(read_rows(folder / "summary.csv"), read_rows(folder / "samples.csv"))


def lines_of(rows: Iterable[Row], samples: Iterable[Row]) -> list[Line]:
    """Return the lines of rows and samples of one model, the fastest comparable one first.

    Samples of a backend that has no row belong to no line.
    """
    lines: dict[tuple[str, str], Line] = {}
    for row in rows:
        if row["status"] != "skipped":
            place = (label_of(row), row["device"])
            lines.setdefault(place, Line(*place)).rows.append(row)
    for row in samples:
        own = lines.get((label_of(row), row["device"]))
        if row["phase"] == "train" and own:
            own.blocks.append(row)
    return sorted(
        lines.values(),
        key=lambda line: (not line.comparable, -(line.typical("train_images_per_second") or 0)),
    )


def label_of(row: Row) -> str:
    """Return what the user would type for the backend of a row or a sample."""
    return f"{row['backend']}@{row['variant']}" if row["variant"] else str(row["backend"])


def results_table(lines: Sequence[Line]) -> Table:
    """Return the table; it fits a terminal of 80 columns.

    The share of what the machine can do is in it where there is room. With a target accuracy, the
    seconds to it take the place of the first step's.
    """
    shown = _table(lines, with_limit=any(line.values("fraction_of_limit") for line in lines))
    return shown if _width(shown) <= TERMINAL else _table(lines, with_limit=False)


def _width(table: Table) -> int:
    console = Console(width=1000)
    return Measurement.get(console, console.options, table).maximum


def _table(lines: Sequence[Line], with_limit: bool) -> Table:
    table = Table(pad_edge=False, box=None, header_style="bold", padding=(0, 1, 0, 0))
    is_regression = any(line.values("test_rmse") for line in lines)
    score = "test\nrmse" if is_regression else "test\naccuracy %"
    for name in ("\nbackend", "\non", score, "same\nnet"):
        table.add_column(name, no_wrap=True)
    target = next((line.target for line in lines if line.target), None)
    figures = [
        "train\nimages/s",
        "times\nfastest",
        "predict\nimages/s",
        f"s to\n{100 * target:g} %" if target else "first\nstep s",
        "peak\nMB",
        *(["% of\nlimit"] if with_limit else []),
    ]
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    fastest = next((line for line in lines if line.comparable), None)
    for line in lines:
        found = cells(line, fastest)
        share = line.typical("fraction_of_limit") if len(found) > 4 else None
        if with_limit and share is not None:
            found.append(f"{100 * share:.0f}")
        table.add_row(*found)
    return table


def cells(line: Line, fastest: Line | None) -> list[str | Text]:
    """Return a line's fields, column by column; the first four only, where no seed ended well."""
    status = next((row["status"] for row in line.broken), "ok")
    if not line.finished:
        return [line.backend, line.device, "", Text(status, "red")]
    same = Text("yes", "green") if line.comparable else Text("NO", "bold red")
    speed = _figure(line.typical("train_images_per_second"))
    ratio = ""
    if fastest and line.comparable:
        times = 1.0 if line is fastest else paired_ratio(line.blocks, fastest.blocks)
        ratio = f"{times:.2f}" if times else ""
    host = line.typical("peak_device_bytes") or line.typical("peak_host_bytes")
    return [
        line.backend,
        line.device,
        _score(line) if status == "ok" else Text(status, "red"),
        same,
        speed if line.comparable else f"({speed})",
        ratio,
        _figure(line.typical("predict_images_per_second")),
        _to_target(line) if line.target else f"{line.typical('compile_seconds') or 0:.2f}",
        _figure(host / 1e6 if host else None),
    ]


def _to_target(line: Line) -> str:
    """Return the median over seeds of the seconds to the target, if all have reached it."""
    reached = line.values("seconds_to_target")
    if len(reached) < len(line.rows):
        return f"{len(reached)} of {len(line.rows)}" if reached else "never"
    return f"{median(reached):.2f}"


def _score(line: Line) -> str:
    """Return mean and spread over seeds: of the accuracy, in per cent, or else of the error."""
    shares, errors = line.values("test_accuracy"), line.values("test_rmse")
    values = [100 * share for share in shares] or errors
    if not values:
        return "-"
    form = ".2f" if shares else ".3g"
    spread = f" ± {stdev(values):{form}}" if len(values) > 1 else ""
    return f"{mean(values):{form}}{spread}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def remarks(lines: Sequence[Line]) -> list[str]:
    """Return what the table cannot say: who differs and where, who failed, how sure it is."""
    found = []
    comparable = [line for line in lines if line.comparable]
    for line in lines:
        found += remarks_on(line)
    accuracies = {
        line.label: line.values("test_accuracy")
        for line in comparable
        if len(line.values("test_accuracy")) == len(line.rows)
    }
    if not any(line.target for line in lines):  # whose accuracies are what they were to be
        found.append(say_accuracy(judge_accuracy(accuracies), accuracies))
    return [remark for remark in found if remark]


def remarks_on(line: Line) -> list[str]:
    """Return what is to be said of one line: that it differs and where, failures, and notes."""
    found = []
    first = line.rows[0]
    if first["equivalent"] is False:
        precision = first["precision"]
        bound = f"of its largest value, above {TOLERANCE[precision]:.0e}"
        if precision in ("bfloat16", "tf32"):  # where it is measured, array by array
            bound = "of its norm, more than roundings come to"
        found.append(
            f"{line.label} is NOT the same network: {first['equivalence_where']} differs by "
            f"{first['equivalence_difference']:.1e} {bound}; "
            "its speed is not comparable"
        )
    for row in line.broken:
        reason = str(row["error"] or "").partition("\n")[0]
        found.append(f"{line.label}, seed {row['seed']}: {row['status']}: {reason}")
    found += _remarks_on_target(line)
    if (share := line.typical("fraction_of_limit")) is not None and share > 1:
        found.append(
            f"{line.label} is faster than the limit that was measured: the machine was busy then, "
            "or a network is computed otherwise than by its definition. "
            "Try: python -m harness machine --measure"
        )
    notes = sorted({row["note"] for row in line.finished if row["note"]})
    return found + [f"{line.label}: {note}" for note in notes]


def _remarks_on_target(line: Line) -> list[str]:
    """Say which seeds trained all epochs, and did not reach the target."""
    missed = [row for row in line.finished if row.get("epochs_to_target") is None]
    if not line.target or not missed:
        return []
    seeds = ", ".join(str(row["seed"]) for row in missed)
    best = max((row["test_accuracy"] or 0.0 for row in missed), default=0.0)
    return [
        f"{line.label} did not reach {100 * line.target:g} % in {missed[0]['epochs']} epochs with "
        f"seed{'s' if len(missed) > 1 else ''} {seeds}; at the end at most {100 * best:.2f} %"
    ]


def say_accuracy(verdict: AccuracyVerdict, accuracies: Mapping[str, Sequence[float]]) -> str:
    """Return the verdict on accuracy as a sentence; empty where there is nothing to judge."""
    points = f"{100 * verdict.margin:g} point"
    pair = " and ".join(verdict.pair)
    interval = f"{100 * verdict.low:+.2f} to {100 * verdict.high:+.2f} points"
    match verdict.answer:
        case "comparable":
            return f"Accuracies are comparable within {points}; widest: {pair}, {interval}."
        case "different":
            return f"Accuracies differ by more than {points}: {pair}, {interval}."
        case "inconclusive":
            needed = verdict.seeds_needed
            more = f"about --seeds {needed} would settle it" if needed else "no seeds would settle"
            return f"Accuracies: no verdict at a margin of {points}: {pair}, {interval}; {more}."
    if len(accuracies) > 1:
        means = [mean(values) for values in accuracies.values()]
        return (
            f"Accuracies lie within {100 * (max(means) - min(means)):.2f} points; from one seed "
            "that is no verdict. Try: --seeds 3"
        )
    return ""
