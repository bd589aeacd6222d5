"""Rung by rung: each backend beside the reference, until the first rung on which it differs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from time import monotonic

import numpy as np

from harness.check import questions
from harness.check.causes import likely_cause
from harness.check.detective import Detective
from harness.check.evidence import Evidence
from harness.check.material import Material
from harness.check.mixed import asking_mixed, measured
from harness.check.numeric import TOLERANCE as NUMERIC_TOLERANCE
from harness.check.numeric import compare_numerically
from harness.check.places import (
    Answer,
    Arrays,
    Judgement,
    Place,
    Tolerances,
    judge,
)
from harness.check.questions import RUNGS, Ask, asking, parts_of, seeded
from harness.check.tolerances import (
    GROWTH_SEEDS,
    by_growth,
    by_rounding,
    fixed_tolerance,
    perturbed,
    perturbed_images,
)
from harness.run.agreement import Measure, relative_difference, root_mean_square
from harness.run.bench import Bench
from harness.run.cell import Cell
from harness.run.reference import reopen, start_reference

PREDICTIONS = "predictions"
NUMERIC = "finite differences"  # the reference's own rung, beside the gradients


@dataclass(frozen=True)
class Finding:
    """One backend on one rung.

    `status` is `ok`, `differs`, `not reached`, or how its worker failed. `judgement` is None where
    there was nothing to judge.
    """

    cell: Cell
    rung: str
    status: str
    judgement: Judgement | None = None
    cause: str = ""
    error: str = ""
    seconds: float | None = None

    def __str__(self) -> str:
        """Say it in a line."""
        if self.judgement is None:
            return (
                f"{self.status}: {self.error.partition(chr(10))[0]}" if self.error else self.status
            )
        found = self.judgement
        how = f"differs by {found.difference:.1e}, allowed {found.tolerance:.0e}"
        if self.status == "ok":
            return f"ok: worst {found.place} {how}" + (f"; {self.cause}" if self.cause else "")
        return f"DIFFERS: {found.place} {how}" + (f"; {self.cause}" if self.cause else "")


@dataclass(frozen=True, eq=False)
class Step:
    """One question made ready: what to ask, what is right, and how much may differ.

    `measured` returns wider bounds, for a network in which rounding grows beyond the fixed ones,
    of differences by `measure_of_rounding`.
    """

    part: str
    ask: Callable[[Ask], Answer]
    right: Answer
    tolerances: Tolerances
    measure: Measure = relative_difference
    measured: Callable[[], Tolerances] | None = None
    measure_of_rounding: Measure = relative_difference


ILL_CONDITIONED = (
    "some are more than the fixed {:.0e}, all within what rounding makes of the reference"
)


@dataclass
class Ladder:
    """All backends of a bench on their way up."""

    bench: Bench
    material: Material
    findings: list[Finding] = field(default_factory=list)
    trained: Arrays = field(default_factory=dict)

    def climb(self, reference: Cell) -> None:
        """Take every cell that is open as far up as it comes, `reference` beside it.

        Raises:
            WorkerError: the reference failed.

        """
        self.reference = reference
        self.detective = Detective(self.bench)
        try:
            for rung in RUNGS:
                if any(self.climbs(cell) for cell in self.bench.cells):
                    self._step(rung)
        finally:
            self.detective.close()
        self._note_the_rest()

    def climbs(self, cell: Cell) -> bool:
        """Whether a cell has neither failed nor differed so far."""
        ended = any(f.cell is cell and f.status != "ok" for f in self.findings)
        return cell.running and not ended

    def _step(self, rung: str) -> None:
        self.bench.listener.phase("numpy", f"{rung} of the reference")
        steps = [self._prepare(part) for part in parts_of(rung)]
        for cell in self.bench.cells:
            if self.climbs(cell):
                self.bench.attempt(cell, lambda cell: self._judge(cell, rung, steps))

    def _judge(self, cell: Cell, rung: str, steps: Sequence[Step]) -> None:
        """Ask one question after the other, as long as the answers agree."""
        started, cause = monotonic(), ""
        judgements = []
        for step in steps:
            found = step.ask(cell.ask)
            judgement = judge(found, step.right, step.tolerances, step.measure)
            if not judgement.agrees and step.measured:
                fixed = judgement.tolerance
                judgement = judge(found, step.right, step.measured(), step.measure_of_rounding)
                cause = ILL_CONDITIONED.format(fixed) if judgement.agrees else ""
            judgements.append(judgement)
            if not judgement.agrees:
                cause = self._cause(judgements[-1].place, step, found, steps)
                break
        worst = max(judgements, key=lambda one: (not one.agrees, one.share))
        status = "ok" if worst.agrees else "differs"
        seconds = monotonic() - started
        self._note(Finding(cell, rung, status, worst, cause, seconds=seconds))

    def _cause(self, place: Place, step: Step, found: Answer, steps: Sequence[Step]) -> str:
        right: Answer = {}
        for one in steps:
            right |= one.right
        again = self.detective.again(step.part, self.trained)
        return likely_cause(Evidence(place, found, right, self.material, again))

    def _note(self, finding: Finding) -> None:
        self.findings.append(finding)
        self.bench.listener.judged(finding.cell.label, finding.rung, str(finding))

    def _note_the_rest(self) -> None:
        """Add what was not reached, and where a worker failed."""
        for cell in self.bench.cells:
            status, error = cell.outcome
            reached = {f.rung for f in self.findings if f.cell is cell}
            for rung in (rung for rung in RUNGS if rung not in reached):
                self.findings.append(Finding(cell, rung, "not reached", error=error))
                if status != "ok":
                    self.findings[-1] = Finding(cell, rung, status, error=error)
                    status, error = "ok", ""

    def _prepare(self, part: str) -> Step:
        """Ask the reference, and find the tolerances."""
        precision, ask = self.bench.plan.precision, self.reference.ask
        fixed = fixed_tolerance(part, precision)
        question = asking(part, self.material, self.trained)
        if precision == "bfloat16" and part != "structure":
            return self._prepare_mixed(part)
        if part == "structure":
            right = questions.wanted_structure(self.material)
            return Step(part, question, right, lambda place: fixed)
        answer = question(ask)
        if part == "evaluation":
            return Step(
                part,
                lambda ask: settled(question(ask), answer, fixed, self.material),
                settled(answer, answer, fixed, self.material),
                lambda place: 0.0 if place.path == PREDICTIONS else fixed,
            )
        if part == "gradients":
            self.gradients = answer
            self._check_the_reference()
        if part == "trajectory":
            self._keep_the_trained(answer)
        if part in ("update", "trajectory") and precision == "float32":
            tolerances = by_growth(answer, self._perturbed(part))
            return Step(part, question, answer, tolerances, root_mean_square)
        if part not in ("gradients", "update", "trajectory"):
            return Step(part, question, answer, lambda place: fixed)
        in_float32 = precision == "float32"

        @cache
        def measured_bounds() -> Tolerances:
            rounded = self._rounded(part)
            if in_float32:  # few places differ by much: see `harness.run.agreement`
                return by_growth(answer, rounded, root_mean_square, lambda place: fixed)
            return by_rounding(answer, rounded, fixed, self.gradients)

        how = root_mean_square if in_float32 else relative_difference
        return Step(
            part, question, answer, lambda place: fixed, relative_difference, measured_bounds, how
        )

    def _rounded(self, part: str) -> list[Answer]:
        """Return the answers of references that round worse.

        A ReLU whose input is zero within rounding is on in one framework and off in another, and
        what a gradient adds up there is in it or not. A gradient that is zero but for rounding, as
        of a bias before a batch norm, is noise in every framework, and Adam makes a step of it as
        long as any other. And a deep network at a high rate makes more of every rounding, step by
        step.
        """
        cell = start_reference(self.bench, f"rounded {part}", "rounded")
        try:
            reopen(cell, self.material.spec, f"rounded_{part}", self.bench)
            question = asking(part, self.material, self.trained)
            return [question(seeded(cell.ask, seed)) for seed in GROWTH_SEEDS]
        finally:
            cell.worker.kill()

    def _prepare_mixed(self, part: str) -> Step:
        """Ask the reference what is right, and how far roundings may take others.

        Its gradients are not checked by differences here: a loss of rounded numbers has steps.
        """
        answer, tolerances, measure = measured(
            part, self.material, self.trained, self.reference.ask
        )
        if part == "trajectory":
            self._keep_the_trained(answer)
        question = asking_mixed(part, self.material, self.trained)
        if part != "evaluation":
            return Step(part, question, answer, tolerances, measure)
        bound = tolerances(Place("test set", "logits"))
        return Step(
            part,
            lambda ask: settled(question(ask), answer, bound, self.material),
            settled(answer, answer, bound, self.material),
            lambda place: 0.0 if place.path == PREDICTIONS else tolerances(place),
            measure,
        )

    def _keep_the_trained(self, answer: Answer) -> None:
        """In every precision, everyone is then evaluated with the very same weights."""
        final = f"after step {self.material.steps}"
        kept = {place.path: value for place, value in answer.items() if place.topic == final}
        self.trained = {path: value.astype(np.float32) for path, value in kept.items()}

    def _check_the_reference(self) -> None:
        """See that its gradients, differentiated by hand, are the slopes of its loss."""
        started = monotonic()
        found = compare_numerically(self.reference.ask, self.material, self.gradients)
        if found:
            zeros = {place: np.zeros(()) for place in found}
            judgement = judge(found, zeros, lambda place: NUMERIC_TOLERANCE)
            status = "ok" if judgement.agrees else "differs"
            seconds = monotonic() - started
            self._note(Finding(self.reference, NUMERIC, status, judgement, seconds=seconds))

    def _perturbed(self, part: str) -> list[Answer]:
        """Return the reference's answers from weights, images and constants some roundings away."""
        answers = []
        for seed in GROWTH_SEEDS:
            images = perturbed_images(self.material.dataset.train_images, seed)
            name = f"perturbed_{seed}"
            np.save(self.bench.scratch / f"{name}.npy", images)
            other = perturbed(self.material, self.gradients, seed)
            reopen(self.reference, other.spec, f"{name}_{part}", self.bench)
            self.reference.ask("load", images=name)
            answers.append(asking(part, other, {})(self.reference.ask))
        reopen(self.reference, self.material.spec, f"after_{part}", self.bench)
        return answers


def settled(found: Answer, right: Answer, tolerance: float, material: Material) -> Answer:
    """Add the predicted classes, with -1 where the right logits leave it to rounding.

    That is where the two largest are nearer than two outputs may be off together.
    """
    place = Place("test set", "logits")
    logits, sure = found[place], right[place].astype(np.float64)
    is_choice = material.spec.training.loss in ("cross_entropy", "binary_cross_entropy")
    if not is_choice or logits.shape != sure.shape:
        return found
    if sure.shape[1] == 1:  # one output chooses between two classes, at zero
        classes, margin = (logits[:, 0] > 0).astype(np.int64), np.abs(sure[:, 0])
    else:
        classes, best = logits.argmax(1), np.sort(sure, axis=1)
        margin = best[:, -1] - best[:, -2]
    is_tie = margin <= 2 * tolerance * np.abs(sure).max(initial=0.0)
    return {**found, Place("test set", PREDICTIONS): np.where(is_tie, -1, classes)}
