"""What the newest `harness check` of the same network said of a backend.

Checks are found in `results/checks`, where the command puts them unless told otherwise.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness.sheets import plain_text
from harness.spec import Spec

CHECKS = Path("results") / "checks"
KEYS = ("backend", "variant", "device", "versions", "network_hash", "machine_key")
Row = Mapping[str, str]


def network_hash(spec: Spec) -> str:
    """Return the hash of a spec whose number of epochs and batch size do not count.

    A backend is the same network whatever these are: batches and learning rates are given to it.
    """
    training = spec.training.model_copy(update={"epochs": 1, "batch_size": 1})
    return spec.model_copy(update={"training": training}).hash


def newest_check(wanted: Row, checks: Path = CHECKS) -> str:
    """Return `verified`, `differs at RUNG: WHERE`, or `not checked`, of the columns `KEYS`.

    A check in float32 or float64 counts for both, as their source is the same; that of bfloat16 is
    another. One in which the backend failed proves nothing.
    """
    found = []
    for rows in _checks(checks):
        own = [row for row in rows if all(row.get(key) == wanted[key] for key in KEYS)]
        own = [row for row in own if row.get("rung") != "finite differences"]
        own = [row for row in own if _is_mixed(row) == _is_mixed(wanted)]
        answer = _answer(own)
        if answer:
            found.append((own[0].get("finished_at") or "", answer))
    return max(found)[1] if found else "not checked"


def _is_mixed(row: Row) -> bool:
    return row.get("precision") == "bfloat16"


def _checks(folder: Path) -> Iterator[list[Row]]:
    """Yield the rows of each check; what cannot be read is no check."""
    for path in folder.glob("*/check.csv"):
        try:
            with path.open(newline="", encoding="utf-8") as file:
                yield [
                    {name: plain_text(text or "") for name, text in row.items() if name}
                    for row in csv.DictReader(file)
                ]
        except (OSError, ValueError, csv.Error):
            continue


def _answer(rows: list[Row]) -> str:
    statuses = {row.get("status") for row in rows}
    for row in rows:
        if row.get("status") == "differs":
            return f"differs at {row.get('rung')}: {row.get('where')}"
    return "verified" if statuses - {"inconclusive"} == {"ok"} else ""  # accuracy may be so
