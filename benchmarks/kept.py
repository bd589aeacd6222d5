"""What a benchmark has measured so far, and from where it goes on."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.markdown import days_of, heading_of
from harness.machine import describe_machine


def of_this_machine(out: Path) -> None:
    """Make the folder, or see that what is in it was measured here.

    Raises:
        SystemExit: it was not.

    """
    out.mkdir(parents=True, exist_ok=True)
    machine, path = describe_machine(), out / "machine.json"
    if not path.exists():
        path.write_text(json.dumps(machine, indent=2) + "\n", encoding="utf-8")
    elif json.loads(path.read_text(encoding="utf-8"))["machine_key"] != machine["machine_key"]:
        sys.exit(f"error: --out {out} was measured on another machine. Try: another folder")


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file that are whole, none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if None not in row.values()]


def show(path: Path, tables: Callable[[list[dict[str, str]]], str]) -> None:
    """Print the tables that `tables` makes of the rows of a CSV file, under where and when.

    The machine is the folder's, and the days are those of the rows' `started_at`.

    Raises:
        SystemExit: there are no rows.

    """
    rows = read(path)
    if not rows:
        sys.exit(f"error: --out {path.parent}: nothing was measured. Try: without --table")
    machine = json.loads((path.parent / "machine.json").read_text(encoding="utf-8"))
    print(f"{heading_of(machine, days_of(rows))}\n\n{tables(rows)}")
