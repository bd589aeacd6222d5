"""The table of a check: one line for each backend, one column for each rung."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from harness.check.ladder import NUMERIC
from harness.check.questions import RUNGS
from harness.check.seeds import RUNG as ACCURACY

STYLES = {"ok": "green", "differs": "bold red", "not reached": "dim", "inconclusive": "yellow"}
BLANK = {"rung": "", "status": "not reached"}


def check_table(report: Mapping[str, Any]) -> Table:
    """Lay out what `report.describe` returns; it fits a terminal of 80 columns."""
    table = Table(pad_edge=False, box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("backend", overflow="fold", no_wrap=True)
    trained = any(r["rung"] == ACCURACY for b in report["backends"] for r in b["rungs"])
    columns = [*RUNGS, ACCURACY] if trained else RUNGS
    for rung in columns:
        table.add_column(rung, no_wrap=True)
    for backend in _backends(report):
        rungs = {rung["rung"]: rung for rung in backend["rungs"]}
        table.add_row(backend["label"], *(_cell(rungs.get(rung, BLANK)) for rung in columns))
    return table


def _backends(report: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [b for b in report["backends"] if b["rungs"][0]["rung"] != NUMERIC]


def _cell(rung: Mapping[str, Any]) -> Text:
    status = rung["status"]
    if rung["rung"] == ACCURACY and status in ("ok", "differs", "inconclusive"):
        word = {"ok": "ok", "differs": "DIFFERS", "inconclusive": "?"}[status]
        return Text(f"{word} {100 * float(rung['difference']):.2f} pt", STYLES[status])
    text = {"ok": f"ok {_figure(rung['difference'])}", "differs": "DIFFERS", "not reached": "-"}
    return Text(text.get(status, "failed"), STYLES.get(status, "red"))


def _figure(value: Any) -> str:
    return f"{float(value):.0e}" if value else "0"


def remarks(report: Mapping[str, Any]) -> list[str]:
    """Return what the table cannot say: where a backend differs, and what that looks like."""
    found = []
    for backend in report["backends"]:
        for rung in backend["rungs"]:
            if rung["rung"] == ACCURACY and rung["cause"]:
                found.append(_accuracy(backend["label"], rung))
            elif rung["status"] == "ok" and rung["cause"]:
                found.append(_note(backend["label"], rung))
            elif rung["status"] == "differs":
                found.append(_difference(backend["label"], rung))
            elif rung["status"] not in ("ok", "not reached"):
                reason = rung["error"].partition("\n")[0]
                found.append(f"{backend['label']}, {rung['rung']}: {rung['status']}: {reason}")
            elif rung["rung"] == NUMERIC:
                found.append(
                    "The reference's gradients by hand agree with central differences of its "
                    f"loss: {_figure(rung['difference'])}, allowed {_figure(rung['tolerance'])}."
                )
    backends = _backends(report)
    same = sum(backend["verdict"] == "verified" for backend in backends)
    found.append(
        f"{same} of {len(backends)} {'is' if same == 1 else 'are'} the same network as the "
        f"reference, in {report['precision']} over {report['steps']} steps."
    )
    if not any(rung["rung"] == ACCURACY for b in backends for rung in b["rungs"]):
        found.append("Accuracy over seeds was not compared. Try: --seeds 5 --dataset digits")
    return found


def _note(label: str, rung: Mapping[str, Any]) -> str:
    where = f"{rung['where']} ({rung['topic']})"
    size = f"{float(rung['difference']):.1e}, allowed {float(rung['tolerance']):.0e}"
    return f"{label}, {rung['rung']}: {where} differs by {size}: {rung['cause']}"


def _accuracy(label: str, rung: Mapping[str, Any]) -> str:
    margin = f"{100 * float(rung['tolerance']):g} point"
    answers = {
        "ok": f"comparable within {margin}",
        "differs": f"differs by more than {margin}",
        "inconclusive": f"no verdict at a margin of {margin}",
    }
    return f"Accuracy of {label}, {rung['topic']}: {answers[rung['status']]}; {rung['cause']}"


def _difference(label: str, rung: Mapping[str, Any]) -> str:
    where = f"{rung['where']} ({rung['topic']})"
    size = f"{float(rung['difference']):.1e}, allowed {float(rung['tolerance']):.0e}"
    cause = f": {rung['cause']}" if rung["cause"] else ""
    return f"{label} differs at {rung['rung']}, first in {where}, by {size}{cause}"
