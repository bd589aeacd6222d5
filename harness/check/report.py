"""`check.csv` and `check.json`: what a check found, for people, programs and later runs."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from harness.check.ladder import Finding
from harness.check.questions import RUNGS
from harness.check.seeds import Seeds
from harness.errors import UsageError
from harness.machine import commit, describe_machine
from harness.run.cell import Cell
from harness.run.checked import network_hash
from harness.run.durable import replace_file
from harness.run.folder import ResultsFolder, now
from harness.sheets import safe_cells
from harness.spec import infer

if TYPE_CHECKING:
    from harness.check.check import Checked

SCHEMA_VERSION = 1
COLUMNS = (
    "schema_version check_id finished_at backend variant device device_name rung status topic "
    "where difference tolerance cause error seconds framework_version versions model model_hash "
    "network_hash precision steps batch_size machine_key commit dirty"
).split()


class CheckFolder(ResultsFolder):
    """`check.csv`, `check.json`, `models/` and `logs/` of one check."""

    parent = Path("results") / "checks"

    def refuse_another(self) -> None:
        """See that no check is there yet.

        Raises:
            UsageError: there is one.

        """
        if (self.path / "check.csv").exists():
            raise UsageError(f"--out {self.path} holds a check already; name another folder")

    def begin(self) -> None:
        """Nothing is written before the end."""

    def write(self, checked: Checked) -> dict[str, Any]:
        """Write both files, and return what the JSON holds.

        Raises:
            StorageError: they cannot be written.

        """
        report = describe(checked, self.run_id)

        def write(file: TextIO) -> None:
            writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            for backend in report["backends"]:
                writer.writerows(
                    safe_cells({**report, **backend, **rung}) for rung in backend["rungs"]
                )

        replace_file(self.path / "check.csv", write)
        self.write_json("check.json", report)
        return report


def describe(checked: Checked, check_id: str) -> dict[str, Any]:
    """Return what was found as one object: the check, its backends, their rungs."""
    plan, material = checked.plan, checked.material
    head, dirty = commit()
    machine = describe_machine()
    cells: dict[int, list[Finding]] = {}
    for finding in checked.findings:
        cells.setdefault(id(finding.cell), []).append(finding)
    return {
        "schema_version": SCHEMA_VERSION,
        "check_id": check_id,
        "finished_at": now(),
        "seconds_in_all": round(checked.seconds, 1),
        "model": plan.spec.name,
        "model_hash": plan.spec.hash,
        "network_hash": network_hash(plan.spec),
        "parameters": infer(plan.spec).parameter_count,
        "precision": plan.precision,
        "steps": material.steps,
        "batch_size": material.batch,
        "machine_key": machine["machine_key"],
        "commit": head,
        "dirty": dirty,
        "backends": [_backend(found, checked.accuracy) for found in cells.values()],
    }


def _backend(findings: list[Finding], accuracy: Seeds | None) -> dict[str, Any]:
    cell = findings[0].cell
    last = accuracy.finding(cell.info.label, cell.device) if accuracy else None
    order = {rung: number for number, rung in enumerate(RUNGS)}
    return {
        "label": cell.label,
        "backend": cell.info.backend,
        "variant": cell.info.variant,
        "device": cell.device,
        "device_name": cell.facts.get("device_name", ""),
        "framework_version": cell.facts.get("framework_version", ""),
        "versions": cell.facts.get("versions", ""),
        "verdict": verdict(cell, findings),
        "rungs": [
            *(
                _rung(finding)
                for finding in sorted(findings, key=lambda finding: order.get(finding.rung, -1))
            ),
            *([last] if last else []),
        ],
    }


def verdict(cell: Cell, findings: list[Finding]) -> str:
    """Return `verified`, `differs at RUNG: PLACE`, or how the worker failed."""
    for finding in findings:
        if finding.status == "differs" and finding.judgement:
            return f"differs at {finding.rung}: {finding.judgement.place}"
    return next((f.status for f in findings if f.status not in ("ok", "not reached")), "verified")


def _rung(finding: Finding) -> dict[str, Any]:
    found = finding.judgement
    return {
        "rung": finding.rung,
        "status": finding.status,
        "topic": found.place.topic if found else "",
        "where": found.place.path if found else "",
        "difference": _number(found.difference) if found else None,
        "tolerance": _number(found.tolerance) if found else None,
        "cause": finding.cause,
        "error": finding.error,
        "seconds": None if finding.seconds is None else round(finding.seconds, 3),
    }


def _number(value: float) -> float | str:
    """JSON has no infinity and no NaN."""
    return value if math.isfinite(value) else str(value)
