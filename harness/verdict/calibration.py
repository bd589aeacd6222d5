"""How much pairs of identical code scatter on this machine, and so how many pairs it takes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from harness.data.store import cache_folder
from harness.errors import UsageError
from harness.output import write_whole
from harness.run.folder import now
from harness.run.plan import Plan
from harness.verdict.judge import ALPHA, POWER
from harness.verdict.paired import pair_deviation
from harness.verdict.rates import pairs_needed

LEAST, MOST = 12, 60  # pairs that a calibration may make the most of a comparison
CERTAIN = 0.99  # power at the tolerance, that planned comparisons seldom end without a verdict


@dataclass(frozen=True)
class Calibration:
    """What pairs of one backend against itself gave, for one measure.

    `deviation` is of the log ratios, `bias` their median: far from 0 beside the deviation, a side
    has an advantage that it should not have.
    """

    label: str
    measure: str
    deviation: float
    bias: float
    log_ratios: Sequence[float]
    measured_at: str

    def pairs_for(self, effect: float, power: float = POWER) -> int | None:
        """Return how many pairs see a change by the share `effect`; None above the most."""
        return pairs_needed(math.log1p(effect), self.deviation, ALPHA, power)


def calibration(label: str, measure: str, log_ratios: Sequence[float]) -> Calibration:
    """Return what the log ratios of identical sides say."""
    values = list(log_ratios)
    return Calibration(label, measure, pair_deviation(values), median(values), values, now())


def place_of(machine_key: str) -> Path:
    """Return the file of a machine's calibrations, in the user's cache."""
    return cache_folder() / "calibration" / f"{machine_key}.json"


def setup_key(label: str, measure: str, plan: Plan) -> str:
    """Return what a calibration holds for: a backend, a measure, a network and how it is run."""
    spec = plan.spec
    return json.dumps(
        [
            *(label, measure, spec.hash, plan.dataset, plan.device),
            *(plan.precision, plan.environment, plan.threads),
        ]
    )


def read_calibrations(machine_key: str) -> dict[str, Any]:
    """Return all that is known of a machine; a damaged file counts as none."""
    try:
        found = json.loads(place_of(machine_key).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def store(machine_key: str, found: Mapping[str, Calibration]) -> Path:
    """Add calibrations, by `setup_key`, to those of the machine; return the file.

    Raises:
        UsageError: it cannot be written.

    """
    path = place_of(machine_key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    known = {**read_calibrations(machine_key), **{key: asdict(c) for key, c in found.items()}}
    text = json.dumps(known, indent=2) + "\n"
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return path


def known_deviation(
    machine_key: str, sides: Sequence[tuple[str, Plan]], measures: Sequence[str]
) -> float | None:
    """Return the largest calibrated deviation of the sides; None where one is not calibrated.

    Each side has a label, and its plan.
    """
    known = read_calibrations(machine_key)
    found = []
    for label, plan in sides:
        for measure in measures:
            entry = known.get(setup_key(label, measure, plan))
            value = entry.get("deviation") if isinstance(entry, dict) else None
            if not isinstance(value, int | float):
                return None
            found.append(float(value))
    return max(found, default=None)


def planned_most(deviation: float, tolerance: float, questions: int) -> int:
    """Return the most pairs that a comparison is worth: enough to tell 0 from the tolerance.

    Twice what one look takes, as alpha is spent on several, within 12 and 60.
    """
    needed = pairs_needed(math.log1p(tolerance), deviation, ALPHA / questions, CERTAIN)
    return MOST if needed is None else max(LEAST, min(MOST, 2 * needed))
