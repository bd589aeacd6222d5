"""Verdicts of `harness ab` on the same network and machine: what no single run can give."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.run.checked import network_hash
from harness.run.pairs_folder import PairsFolder
from harness.show.gather import Case
from harness.verdict.judge import Judgement
from harness.verdict.report import Finding

VERDICTS = PairsFolder.parent
MOST = 20  # on a page of one network, the newest
ALIKE = ("dataset_hash", "batch_size", "precision", "environment", "machine_key")
# Classes of the style sheet; any other verdict is an open question.
LOOKS = {"OK": "ok", "IMPROVED": "ok", "REGRESSED": "differs", "FAILED": "differs"}
Report = Mapping[str, Any]


@dataclass(frozen=True)
class Judged:
    """One answer: the two sides, the measure, and what pairs of processes said of it."""

    question: str
    measure: str
    change: str
    interval: str
    pairs: str
    verdict: str
    look: str
    detail: str
    day: str


def find_verdicts(places: Sequence[Path]) -> list[Report]:
    """Return the reports of all comparisons below the places, the newest first."""
    found = []
    for path in {p.resolve() for place in places for p in place.glob("**/verdict.json")}:
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            list(_answers(report))  # what has all that these need is a report
            found.append(report)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
            continue
        except RecursionError:  # of nested lists without end
            continue
    return sorted(found, key=lambda report: str(report.get("finished_at", "")), reverse=True)


def verdicts(case: Case, reports: Sequence[Report]) -> list[Judged]:
    """Return what was found of the case's network on its machine, the newest first."""
    own = [answer for report in reports if _is_of(report, case) for answer in _answers(report)]
    return own[:MOST]


def _is_of(report: Report, case: Case) -> bool:
    """Whether it was of this network, trained in the same way; epochs do not count."""
    if case.spec is not None and "network_hash" in report:
        same = report["network_hash"] == network_hash(case.spec)
    else:
        same = report.get("model_hash") == case.first("model_hash")
    alike = all(report.get(name) == case.first(name) for name in ALIKE)
    return bool(same) and alike and report.get("device") in {line.device for line in case.lines}


def _answers(report: Report) -> Iterator[Judged]:
    """Yield the findings as a table has them."""
    for found in report["findings"]:
        ratio, low, high = (_number(found.get(name)) for name in ("ratio", "low", "high"))
        judgement = Judgement(found["verdict"], int(found.get("pairs") or 0), ratio, low, high)
        shown = Finding(found["cell"], found["measure"], found["verdict"], judgement=judgement)
        yield Judged(
            str(report["title"]),
            str(shown.measure),
            shown.effect,
            shown.interval,
            str(judgement.pairs or ""),
            str(shown.verdict),
            LOOKS.get(str(shown.verdict), "open"),
            str(found.get("detail") or ""),
            str(report.get("finished_at", ""))[:10],
        )


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
