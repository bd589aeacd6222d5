"""The last rung: the accuracy of whole trainings, over seeds, on a real data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.data import Dataset
from harness.run.folder import TO_THE_END, ResultsFolder
from harness.run.listener import Listener
from harness.run.plan import MOST_EPOCHS, MOST_SEEDS, REFERENCE, Plan, check_fit, check_range
from harness.run.run import run
from harness.spec import infer
from harness.verdict.accuracy import AccuracyVerdict, judge_each

if TYPE_CHECKING:
    from harness.check.check import Checked

RUNG = "accuracy"
STATES = {"comparable": "ok", "different": "differs", "inconclusive": "inconclusive"}


@dataclass(frozen=True)
class Seeds:
    """What the last rung found: a verdict for every backend trained, by `torch on cpu`."""

    plan: Plan
    verdicts: Mapping[str, AccuracyVerdict]
    failures: Mapping[str, tuple[str, str]]  # status and error, of those that did not end well

    @property
    def states(self) -> set[str]:
        """The statuses of all: `ok`, `differs`, `inconclusive`, or how a training failed."""
        judged = {STATES.get(v.answer, "not reached") for v in self.verdicts.values()}
        return judged | {status for status, _ in self.failures.values()}

    def finding(self, label: str, device: str) -> dict[str, Any] | None:
        """Return one backend's rung, as `report` has it; None where it was not trained."""
        label = f"{label} on {device}"
        blank = {"topic": "", "where": "", "difference": None, "tolerance": None, "cause": ""}
        if label in self.failures:
            status, error = self.failures[label]
            return {"rung": RUNG, **blank, "status": status, "error": error, "seconds": None}
        if label not in self.verdicts:
            return None
        verdict = self.verdicts[label]
        other = next((name for name in verdict.pair if name != label), "")
        return {
            "rung": RUNG,
            "status": STATES.get(verdict.answer, "not reached"),
            "topic": f"over {len(self.plan.seeds)} seeds, against {other}" if other else "",
            "where": "accuracy" if other else "",
            "difference": abs(verdict.difference) if other else None,
            "tolerance": verdict.margin if other else None,
            "cause": _interval(verdict) if other else "",
            "error": "",
            "seconds": None,
        }


def _interval(verdict: AccuracyVerdict) -> str:
    """Say between what bounds the difference lies, and what more seeds would do."""
    left, right = verdict.pair
    text = (
        f"{left} less {right}: {100 * verdict.low:+.2f} to {100 * verdict.high:+.2f} points, "
        f"power {verdict.power:.0%} at no difference"
    )
    if verdict.answer == "inconclusive":
        needed = verdict.seeds_needed
        text += f"; --seeds {needed} would settle it" if needed else "; no seeds would settle it"
    return text


@dataclass(frozen=True)
class Trainings:
    """What the last rung will do."""

    plan: Plan
    dataset: Dataset
    margin: float


def plan_seeds(
    plan: Plan, dataset: Dataset, seeds: int, epochs: int | None, margin: float
) -> Trainings:
    """Plan trainings in float32, as they are timed, of the backends of `plan`.

    `margin` is in points of accuracy.

    Raises:
        UsageError: an option is out of its range, or model and data set do not fit.

    """
    check_range("--seeds", seeds, 2, MOST_SEEDS)
    check_range("--margin", margin, 0.01, 50.0)
    epochs = plan.spec.training.epochs if epochs is None else epochs
    check_range("--epochs", epochs, 1, MOST_EPOCHS)
    training = plan.spec.training.model_copy(update={"epochs": epochs})
    spec = plan.spec.model_copy(update={"training": training})
    check_fit(spec, infer(spec).output_shape[0], dataset)
    trained = replace(
        plan,
        spec=spec,
        dataset=dataset.name,
        seeds=tuple(range(seeds)),
        precision="float32",
        backends=tuple(b for b in plan.backends if b.label != REFERENCE),
    )
    return Trainings(trained, dataset, margin / 100)


def train_seeds(
    trainings: Trainings, checked: Checked, folder: Path, listener: Listener
) -> Checked:
    """Train the backends that climbed so far from every seed, and compare their accuracies.

    Two one-sided tests on all pairs of backends, paired by seed (see `harness.verdict.accuracy`).
    `folder` becomes that of a run. With fewer than two backends there is nothing to compare.

    Raises:
        UsageError: `folder` holds a run.
        WorkerError: the NumPy reference failed.
        Interrupted: by Ctrl-C.

    """
    climbed = [b for b in trainings.plan.backends if b.label in checked.climbed]
    if len(climbed) < 2:
        return checked
    plan = replace(trainings.plan, backends=tuple(climbed))
    rows = run(plan, trainings.dataset, ResultsFolder(folder), listener)
    failed = [row for row in rows if row["status"] not in TO_THE_END | {"skipped"}]
    failures = {_label(row): (str(row["status"]), str(row["error"])) for row in failed}
    found: dict[str, list[float]] = {}
    for row in rows:
        if _label(row) not in failures and row.get("test_accuracy") is not None:
            found.setdefault(_label(row), []).append(float(row["test_accuracy"]))
    verdicts = judge_each(found, trainings.margin)
    return replace(checked, accuracy=Seeds(plan, verdicts, failures))


def _label(row: Mapping[str, Any]) -> str:
    name = "@".join(filter(None, [row["backend"], row["variant"]]))
    return f"{name} on {row['device']}"
