"""What a fuzz leaves behind: `fuzz.json`, and a TOML file for each finding."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.exchange.toml import spec_toml
from harness.fuzz.found import Finding, Fuzzed, command
from harness.fuzz.judging import STEPS, Outcome
from harness.machine import commit, describe_machine
from harness.run.durable import replace_file, storing
from harness.run.folder import ResultsFolder, now

SCHEMA_VERSION = 1


class FuzzFolder(ResultsFolder):
    """`fuzz.json`, `found/*.toml` and `logs/` of one fuzz."""

    parent = Path("results") / "fuzz"

    def refuse_another(self) -> None:
        """See that no fuzz is there yet.

        Raises:
            UsageError: there is one.

        """
        if (self.path / "fuzz.json").exists():
            raise UsageError(f"--out {self.path} holds a fuzz already; name another folder")

    def begin(self) -> None:
        """Make no files yet."""
        self.models.rmdir()  # sources are written again by `check`, from the TOML files

    def write_finding(self, finding: Finding, number: int) -> None:
        """Write the smallest spec, with what it shows and the command above it."""
        folder = self.path / "found"
        with storing(folder):
            folder.mkdir(exist_ok=True)
        outcome = finding.shrunk_outcome
        words = (finding.label.replace("@", "-"), outcome.rung or outcome.status)
        path = folder / f"{number:02}-{'-'.join(words)}.toml"
        finding.file = str(path)
        head = [f"{finding.label} {outcome}", command(finding, finding.file)]
        lines = [f"# {' '.join(line.split())}" for line in head]
        text = "\n".join([*lines, spec_toml(finding.smallest)])
        replace_file(path, lambda file: file.write(text))

    def write(self, fuzzed: Fuzzed) -> dict[str, Any]:
        """Write `fuzz.json`, and return what it holds."""
        report = describe(fuzzed, self.run_id)
        self.write_json("fuzz.json", report)
        return report


def describe(fuzzed: Fuzzed, fuzz_id: str) -> dict[str, Any]:
    """Return what came of it as one object."""
    head, dirty = commit()
    backends = [info.label for info in fuzzed.plan.backends]
    return {
        "schema_version": SCHEMA_VERSION,
        "fuzz_id": fuzz_id,
        "finished_at": now(),
        "seconds": round(fuzzed.seconds, 1),
        "seed": fuzzed.seed,
        "specs": len(fuzzed.outcomes),
        "steps": STEPS,
        "backends": [
            {"label": label, "versions": fuzzed.versions.get(label, {}), **_counts(fuzzed, label)}
            for label in backends
        ],
        "differences": fuzzed.differences,
        "refusals": [
            {"label": label, "reason": reason, "specs": count}
            for (label, reason), count in sorted(fuzzed.refusals.items())
        ],
        "findings": [_finding(finding) for finding in fuzzed.findings],
        "machine_key": describe_machine()["machine_key"],
        "commit": head,
        "dirty": dirty,
    }


def _counts(fuzzed: Fuzzed, label: str) -> dict[str, int]:
    """Count a backend's outcomes by status."""
    counts = dict.fromkeys(("agrees", "ill-conditioned", "overflows", "refused", "differs"), 0)
    for each in fuzzed.outcomes.values():
        if label in each:
            status = each[label].status
            counts[status] = counts.get(status, 0) + 1
    return counts


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "label": finding.label,
        "file": finding.file,
        "command": command(finding, finding.file),
        "smallest": {"fields": finding.smallest, **_outcome(finding.shrunk_outcome)},
        "drawn": {"fields": finding.drawn, **_outcome(finding.outcome)},
        "specs_tried": finding.tried,
        "seen_again": finding.again,
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    found = outcome.judgement
    return {
        "status": outcome.status,
        "rung": outcome.rung,
        "layer": outcome.kind,
        "topic": found.place.topic if found else "",
        "where": found.place.path if found else "",
        "difference": _number(found.difference) if found else None,
        "tolerance": _number(found.tolerance) if found else None,
        "error": outcome.error,
    }


def _number(value: float) -> float | str:
    """JSON has no infinity and no NaN."""
    return value if math.isfinite(value) else str(value)
