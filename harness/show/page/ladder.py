"""The equivalence ladder as a grid: what each backend agreed on, and the first place where not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.check.questions import RUNGS
from harness.check.seeds import RUNG as ACCURACY
from harness.run.agreement import TOLERANCE
from harness.run.checked import network_hash
from harness.show.checks import remarks
from harness.show.gather import Case
from harness.show.page.keys import Keys
from harness.show.page.marks import Key
from harness.show.table import Line, label_of

BEFORE = "before training"
Report = Mapping[str, Any]


@dataclass(frozen=True)
class Rung:
    """One cell of the grid; `status` is a class of the style sheet, `lines` open below it."""

    name: str
    status: str
    text: str
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Grid:
    """Lines by rungs; `report` is where the check came from, and `remarks` what it said."""

    rungs: Sequence[str]
    rows: Sequence[tuple[Key, Sequence[Rung]]]
    origin: str
    remarks: Sequence[str]


def find_checks(places: Sequence[Path]) -> list[Report]:
    """Return the reports of all checks below the places, the newest first."""
    found = []
    for path in {p.resolve() for place in places for p in place.glob("**/check.json")}:
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            remarks(report)  # what has all that these need is a report
            found.append({"finished_at": "", **report})
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            continue
    return sorted(found, key=lambda report: str(report["finished_at"]), reverse=True)


def grid(case: Case, checks: Sequence[Report], keys: Keys) -> Grid:
    """Return the grid: the comparison before each training, and the newest check of the network."""
    report = next((found for found in checks if _is_of(found, case)), None)
    by_cell = {(label_of(b), b["device"]): b for b in report["backends"]} if report else {}
    seen = {r["rung"] for backend in by_cell.values() for r in backend["rungs"]}
    rungs = [rung for rung in (*RUNGS, ACCURACY) if rung in seen]
    rows = []
    for line in case.lines:
        backend = by_cell.get((line.backend, line.device), {"rungs": ()})
        known = {rung["rung"]: rung for rung in backend["rungs"]}
        rows.append(
            (keys.of(line), [_before(line), *(_rung(name, known.get(name)) for name in rungs)])
        )
    origin, said = "", []
    if report:
        said = [
            text for text in remarks(report) if not text.startswith("Accuracy over seeds was not")
        ]
        origin = (
            f"python -m harness check, {report.get('precision')}, {report.get('steps')} steps, "
            f"{str(report['finished_at'])[:10]}{_changed(case, by_cell)}"
        )
    return Grid([BEFORE, *rungs], rows, origin, said)


def _is_of(report: Report, case: Case) -> bool:
    """Whether a check was of this network; batch size and epochs do not count."""
    if case.spec is not None:
        return bool(report.get("network_hash") == network_hash(case.spec))
    return bool(report.get("model_hash") == case.first("model_hash"))


def _changed(case: Case, by_cell: Mapping[Any, Any]) -> str:
    """Say where the check was made with other versions, or on another machine."""
    other = [
        line.backend
        for line in case.lines
        if (cell := by_cell.get((line.backend, line.device)))
        and cell.get("versions") not in ("", None, line.rows[0]["versions"])
    ]
    return f"; with other versions than here: {', '.join(other)}" if other else ""


def _before(line: Line) -> Rung:
    """Return the comparison that every run makes: logits, loss and gradients of one batch."""
    judged = [row for row in line.rows if row["equivalent"] is not None]
    if not judged:
        return Rung(BEFORE, "none", "–")
    worst = next((row for row in judged if not row["equivalent"]), judged[0])
    size, where = worst["equivalence_difference"], worst["equivalence_where"]
    figure = "–" if size is None else f"{size:.0e}"
    precision = str(worst["precision"])
    allowed = TOLERANCE.get(precision)  # type: ignore[call-overload]
    lines = [f"Largest difference: {where}"]
    if allowed and precision != "bfloat16":
        lines.append(f"{figure} of its largest value; allowed: {allowed:.0e}")
    same = bool(worst["equivalent"])
    return Rung(BEFORE, "ok" if same else "differs", figure if same else f"differs {figure}", lines)


def _rung(name: str, rung: Mapping[str, Any] | None) -> Rung:
    if rung is None:
        return Rung(name, "none", "–")
    status = str(rung.get("status"))
    difference = rung.get("difference")
    size = f"{float(difference):.0e}" if difference else "0"
    if name == ACCURACY and difference is not None:
        size = f"{100 * float(difference):.2f} pt"
    lines = []
    if rung.get("where"):
        lines.append(
            f"{'first' if status == 'differs' else 'largest'} in {rung['where']} "
            f"({rung.get('topic')})"
        )
    if difference is not None and rung.get("tolerance") is not None and name != ACCURACY:
        lines.append(f"{float(difference):.1e}; allowed: {float(rung['tolerance']):.0e}")
    lines += [str(rung[part]) for part in ("cause", "error") if rung.get(part)]
    match status:
        case "ok":
            return Rung(name, "ok", size, lines)
        case "differs":
            return Rung(name, "differs", f"differs {size}", lines)
        case "not reached":
            return Rung(name, "none", "–", ["Not reached: it differs on a rung below."])
        case "inconclusive":
            return Rung(name, "open", f"? {size}", lines)
    return Rung(name, "differs", status, lines)
