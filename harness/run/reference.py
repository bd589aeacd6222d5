"""The NumPy reference beside a run: is everyone's network the one that it computes?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contract import Precision
from harness.run.agreement import MOVED_SEEDS, check_parameters, compare
from harness.run.bench import Bench
from harness.run.cell import Cell, begin_import, end_import, open_cell, start_cell
from harness.spec import Spec

Arrays = dict[str, NDArray[Any]]
Answering = Callable[[Cell, int], Arrays]


def start_reference(
    bench: Bench, label: str, variant: str = "", precision: Precision | None = None
) -> Cell:
    """Start a worker for the NumPy reference, or its variant `rounded`, with NumPy imported.

    It is one for the bench's precision, if no other is given; it ends with the bench at the latest.

    Raises:
        WorkerError: it failed.

    """
    info = replace(bench.plan.reference, variant=variant)
    plan = replace(bench.plan, precision=precision or bench.plan.precision)
    cell = start_cell(info, "cpu", plan, bench.folder, bench.scratch, label)
    bench.helpers.append(cell)
    begin_import(cell)
    end_import(cell)
    return cell


def check_network(bench: Bench, batch: Arrays) -> None:
    """Compare everyone's logits, loss and gradients with the reference's; see `agreement`.

    Raises:
        WorkerError: the reference failed; without it there is nothing to compare with.

    """
    parameters = check_parameters(bench.initial(bench.plan.seeds[0]))

    def answer(cell: Cell, seed: int) -> Arrays:
        cell.ask("reset", parameters, seed=seed)
        fields, arrays = cell.ask("gradients", batch)
        return {**arrays, "loss": np.array(fields["loss"])}

    compare_with_reference(bench, answer)


def compare_with_reference(bench: Bench, answer: Answering) -> None:
    """Have the reference answer, then every cell, and note how well they agree.

    Where one differs by more than the fixed bound, what rounding makes of this network is
    measured. It has steps in it: a ReLU whose input is zero within rounding is on in one
    framework and off in another, which changes a gradient by far more than rounding does. In
    bfloat16 nothing else is the measure.

    Raises:
        WorkerError: the reference failed.

    """
    first = bench.plan.seeds[0]
    bench.listener.phase("numpy", "reference")

    @cache
    def reference(precision: Precision) -> list[Arrays]:
        others = MOVED_SEEDS if precision == "bfloat16" else ()
        return _answers(bench, "", precision, answer, (first, *others))

    @cache
    def rounded(precision: Precision) -> list[Arrays]:
        bench.listener.phase("numpy", "what rounding makes of the reference")
        return _answers(bench, "rounded", precision, answer, MOVED_SEEDS)

    for precision in dict.fromkeys(cell.plan.precision for cell in bench.cells if cell.running):
        reference(precision)  # a failure of which is none of a cell

    def check(cell: Cell) -> None:
        found, precision = answer(cell, first), cell.plan.precision
        right, *moved = reference(precision)
        agreement = compare(found, right, precision, moved)
        if not agreement.equivalent and precision != "bfloat16":
            agreement = compare(found, right, precision, rounded(precision))
        cell.facts["equivalent"] = agreement.equivalent
        cell.facts["equivalence_difference"] = agreement.difference
        cell.facts["equivalence_where"] = agreement.where
        bench.listener.agreed(cell.label, agreement)

    bench.each("check", check)


def reopen(cell: Cell, spec: Spec, name: str, bench: Bench) -> None:
    """Open a spec in a reference's worker, in a file of its own: Python keeps what it imported."""
    source, data = bench.scratch / f"{name}.py", bench.scratch
    cell.ask("open", spec=spec.model_dump_json(), source=str(source), data=str(data))


def _answers(
    bench: Bench, variant: str, precision: Precision, ask: Answering, seeds: Sequence[int]
) -> list[Arrays]:
    """Open the spec in a worker of the reference, ask it once after each reset, and end it."""
    cell = start_reference(bench, f"numpy {variant}".strip(), variant, precision)
    try:
        if variant:  # its source is the reference's
            reopen(cell, bench.plan.spec, f"numpy_{variant}", bench)
        else:
            open_cell(cell, bench.folder, bench.scratch)
        return [ask(cell, seed) for seed in seeds]
    finally:
        cell.worker.close()
