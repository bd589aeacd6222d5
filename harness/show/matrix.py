"""The table at the end of a matrix: each run's backends below each other, and what was skipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from harness.run.matrix_folder import AXES, Asked, Outcome
from harness.show.gather import read_run
from harness.show.table import Line, cells, read_lines, remarks_on

SHOWN = 7  # columns of a run's own table that there is room for


@dataclass(frozen=True)
class Part:
    """One run, and the lines of its table; none where it was skipped or failed."""

    outcome: Outcome
    lines: Sequence[Line]


def read_parts(outcomes: Sequence[Outcome]) -> list[Part]:
    """Return the runs with what lies in their folders."""
    return [
        Part(outcome, read_lines(outcome.folder) if outcome.rows else []) for outcome in outcomes
    ]


def matrix_table(parts: Sequence[Part]) -> Table:
    """Return the table: a heading for each run, and a line for each of its backends."""
    table = Table(pad_edge=False, box=None, header_style="bold", padding=(0, 1, 0, 0))
    is_regression = any(line.values("test_rmse") for part in parts for line in part.lines)
    score = "test\nrmse" if is_regression else "test\naccuracy %"
    for name in ("\nrun", "\nbackend", "\non", score, "same\nnet"):
        table.add_column(name, no_wrap=name != "\nrun", overflow="fold")
    for name in ("train\nimages/s", "times\nfastest", "predict\nimages/s"):
        table.add_column(name, justify="right", no_wrap=True)
    words = names_of([part.outcome.asked for part in parts])
    for part in parts:
        name = words[part.outcome.asked.name]
        if not part.lines:
            style = "red" if part.outcome.status == "failed" else "yellow"
            table.add_row(Text(name), Text(part.outcome.status, style))
        fastest = next((line for line in part.lines if line.comparable), None)
        for place, line in enumerate(part.lines):
            table.add_row(Text(name if place == 0 else ""), *cells(line, fastest)[:SHOWN])
    return table


def plan_table(outcomes: Sequence[Outcome]) -> Table:
    """Return the table of what would be run: each run, and the backends that take part."""
    table = Table(pad_edge=False, box=None, header_style="bold")
    for name in ("run", "status", "backends"):
        table.add_column(name, overflow="fold")
    words = names_of([outcome.asked for outcome in outcomes])
    for outcome in outcomes:
        style = "yellow" if outcome.status == "skipped" else "green"
        status = Text(outcome.status, style)
        table.add_row(Text(words[outcome.asked.name]), status, ", ".join(outcome.backends))
    return table


def names_of(asked: Sequence[Asked]) -> dict[str, str]:
    """Return what each run is called: its model, and its values of the axes that differ."""
    others = [axis for axis in AXES if axis != "model"]
    varying = [axis for axis in others if len({str(one.options[axis]) for one in asked}) > 1]
    found = {}
    for one in asked:
        words = [_word(axis, one.options[axis]) for axis in ("model", *varying)]
        found[one.name] = " ".join(words)
    return found


def _word(axis: str, value: Any) -> str:
    if axis == "batch_size":
        return "own batch" if value is None else f"b{value}"
    return str(value)


def matrix_remarks(parts: Sequence[Part]) -> Iterator[str]:
    """Yield why runs were skipped or failed, and what is to be said of lines."""
    words = names_of([part.outcome.asked for part in parts])
    yield from _left_out(parts, words)
    for part in parts:
        outcome, name = part.outcome, words[part.outcome.asked.name]
        if outcome.reason:
            yield f"{name}: {outcome.status}: {outcome.reason}"
        for line in part.lines:
            for remark in remarks_on(line):
                yield f"{name}: {remark}"


def _left_out(parts: Sequence[Part], words: Mapping[str, str]) -> Iterator[str]:
    """Yield which backends were left out of which runs; of all of them, only once."""
    done = [part.outcome for part in parts if part.outcome.status in ("done", "planned")]
    found: dict[tuple[str, str], list[str]] = {}
    for outcome in done:
        for left_out in outcome.left_out:
            found.setdefault(left_out, []).append(words[outcome.asked.name])
    for (label, reason), names in found.items():
        where = "" if len(names) == len(done) else f" of {', '.join(names)}"
        yield f"{label} left out{where}: {reason}"


def matrix_json(parts: Sequence[Part]) -> list[Mapping[str, Any]]:
    """Return each run as an object of plain values, with the rows of its summary."""
    return [
        {
            "name": part.outcome.asked.name,
            **{axis: part.outcome.asked.options[axis] for axis in AXES},
            "results": str(part.outcome.folder) if part.lines else None,
            "status": part.outcome.status,
            "reason": part.outcome.reason or None,
            "backends": part.outcome.backends,
            "left_out": [{"backend": b, "reason": why} for b, why in part.outcome.left_out],
            "rows": read_run(part.outcome.folder).rows if part.lines else [],
        }
        for part in parts
    ]
