"""What a fuzz finds: the outcomes of all specs, and the faults among them."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.fuzz.judging import STEPS, Outcome
from harness.fuzz.layers import Fields
from harness.run.plan import Plan


@dataclass
class Finding:
    """A fault of one backend: on what it was seen, and the smallest spec that shows it.

    `again` counts the other specs with a fault of the same signature.
    """

    label: str
    outcome: Outcome
    drawn: Fields
    smallest: Fields
    tried: int
    shrunk_outcome: Outcome
    again: int = 0
    file: str = ""


@dataclass
class Fuzzed:
    """What came of it: `outcomes` by number of the spec and label, of specs that all have done."""

    plan: Plan
    seed: int
    outcomes: dict[int, dict[str, Outcome]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def differences(self) -> int:
        """How often a backend differed or failed."""
        return sum(o.is_fault for each in self.outcomes.values() for o in each.values())

    @property
    def refusals(self) -> dict[tuple[str, str], int]:
        """How often each backend refused for each reason."""
        found: dict[tuple[str, str], int] = {}
        for each in self.outcomes.values():
            for label, outcome in each.items():
                if outcome.status == "refused":
                    found[label, outcome.kind] = found.get((label, outcome.kind), 0) + 1
        return found

    @property
    def exit_code(self) -> int:
        """0: none differed; 1: one did, or failed."""
        return int(bool(self.findings))


def command(finding: Finding, path: str) -> str:
    """Return what repeats a finding on the command line."""
    return f"python -m harness check --model {path} --backend {finding.label} --steps {STEPS}"
