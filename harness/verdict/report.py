"""What a comparison found, question by question: the one form that tables and files are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.verdict.judge import Judgement, Verdict, exit_code

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Finding:
    """The answer to one question: of one cell, one measure, against one other result.

    `detail` says in a sentence what the verdict rests on, and what would settle an open one.
    `difference`, `low` and `high` are of the accuracy, in shares; of all other measures the
    `judgement` has the figures. `within` is the interval of the ratio over the rounds of a single
    pair: it says nothing of what another pair of processes would give.
    """

    cell: str
    measure: str
    verdict: Verdict
    detail: str = ""
    against: str = ""
    judgement: Judgement | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    within: tuple[float, float] | None = None
    changed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The cell and the measure."""
        return f"{self.cell}: {self.measure}"

    @property
    def effect(self) -> str:
        """The estimate as a table shows it: `+3.2 %` of the cost, or `-0.4 pt` of accuracy."""
        if self.difference is not None:
            return f"{100 * self.difference:+.2f} pt"
        ratio = self.judgement.ratio if self.judgement else None
        return "" if ratio is None else f"{100 * (ratio - 1):+.1f} %"

    @property
    def interval(self) -> str:
        """The interval as a table shows it; empty where there is none."""
        if self.low is not None and self.high is not None:
            return f"{100 * self.low:+.2f} to {100 * self.high:+.2f} pt"
        found = self.judgement
        if found is None or found.low is None or found.high is None:
            return ""
        return f"{100 * (found.low - 1):+.1f} to {100 * (found.high - 1):+.1f} %"

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of plain values."""
        return {
            "cell": self.cell,
            "measure": self.measure,
            "verdict": self.verdict,
            "against": self.against,
            "detail": self.detail,
            **(self.judgement.as_json() if self.judgement else {}),
            "difference": self.difference,
            "difference_low": self.low,
            "difference_high": self.high,
            "within_low": self.within[0] if self.within else None,
            "within_high": self.within[1] if self.within else None,
            "changed": list(self.changed),
        }


@dataclass(frozen=True)
class Report:
    """All findings of a command, and the exit code that they make; `remarks` make none."""

    title: str
    findings: Sequence[Finding]
    inconclusive_ok: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        """0 all well, 1 a regression, 3 no answer, 4 a benchmark failed."""
        return exit_code([finding.verdict for finding in self.findings], self.inconclusive_ok)

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of plain values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "title": self.title,
            "exit_code": self.exit_code,
            "remarks": list(self.remarks),
            **self.facts,
            "findings": [finding.as_json() for finding in self.findings],
        }
