"""One check: workers as in a run, the ladder, and a folder with what was found."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from harness.check.ladder import Finding, Ladder
from harness.check.material import Material, make_material
from harness.check.report import CheckFolder
from harness.check.seeds import Seeds
from harness.errors import UsageError
from harness.run.arrays import write_arrays
from harness.run.bench import open_bench
from harness.run.cell import open_cell
from harness.run.listener import Listener
from harness.run.plan import Plan
from harness.run.preparation import start_cells
from harness.run.reference import start_reference

MOST_STEPS = 1000


@dataclass(frozen=True, eq=False)
class Checked:
    """What a check found, and how long it took."""

    plan: Plan
    material: Material
    findings: list[Finding]
    seconds: float
    accuracy: Seeds | None = None

    @property
    def exit_code(self) -> int:
        """0: the same network everywhere; 1: some differ; 3: no verdict on accuracy; 4: failed."""
        states = {finding.status for finding in self.findings}
        if self.accuracy:
            states |= self.accuracy.states
        if states - {"ok", "differs", "not reached", "inconclusive"}:
            return 4
        return 1 if "differs" in states else 3 if "inconclusive" in states else 0

    @property
    def climbed(self) -> list[str]:
        """The labels of the backends that agreed on every rung."""
        ended = {f.cell.info.label for f in self.findings if f.status != "ok"}
        return [info.label for info in self.plan.backends if info.label not in ended]


def prepare_material(plan: Plan, steps: int) -> Material:
    """Make up what is needed.

    Raises:
        UsageError: so many steps are not allowed.

    """
    if not 2 <= steps <= MOST_STEPS:
        raise UsageError(f"--steps {steps}; allowed: 2 to {MOST_STEPS}. Try: --steps 50")
    return make_material(plan.spec, steps)


def check(plan: Plan, material: Material, folder: CheckFolder, listener: Listener) -> Checked:
    """Take every backend of `plan` up the ladder; one that fails does not end the others.

    Raises:
        UsageError: a GPU was asked for, and there is none.
        WorkerError: the NumPy reference failed.
        Interrupted: by Ctrl-C.

    """
    started, dataset = monotonic(), material.dataset
    shared = (plan, dataset, folder, listener)
    with open_bench(*shared, interrupted="interrupted; no check was written") as bench:
        ladder = Ladder(bench, material)
        arrays = {"train_images": dataset.train_images, "train_targets": dataset.train_labels}
        tests = {"test_images": dataset.test_images, "test_targets": dataset.test_labels}
        write_arrays(bench.scratch, {**arrays, **tests})
        reference = start_reference(bench, "reference")
        start_cells(bench)
        bench.each("build", lambda cell: open_cell(cell, folder, bench.scratch))
        open_cell(reference, folder, bench.scratch)
        ladder.climb(reference)
        return Checked(plan, material, ladder.findings, monotonic() - started)
