"""Workers that stay alive from spec to spec, one for each backend, all of them at work at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from harness.check.places import Answer, judge
from harness.check.questions import asking, seeded, wanted_structure
from harness.check.tolerances import GROWTH_SEEDS, by_rounding, fixed_tolerance
from harness.errors import WorkerError
from harness.fuzz.judging import PARTS, Case, Outcome, is_finite, layer_kind, of_failure
from harness.registry import BackendInfo
from harness.run.arrays import write_arrays
from harness.run.cell import Cell, begin_import, end_import, start_cell
from harness.run.folder import ResultsFolder
from harness.run.plan import Plan

# XLA would compile for most of the time. Its optimizations, which are to make no other network, are
# left to `check`.
VARIABLES = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
RENEWED_AFTER = 60  # networks: frameworks keep something of every one, and Python its module
Rights = dict[str, "Future[Answer]"]
Tell = Callable[[str, Case, Outcome], None]


class Member:
    """One backend; its worker starts when it is first asked, and anew when it has ended."""

    def __init__(self, info: BackendInfo, plan: Plan, folder: ResultsFolder, scratch: Path) -> None:
        self.info, self.plan, self.folder, self.scratch = info, plan, folder, scratch
        self.cell: Cell | None = None
        self.started = self.opened = 0
        self.versions: dict[str, str] = {}
        self.lock = Lock()

    def open(self, case: Case) -> None:
        """Open a spec in the worker, its source in a file that has not been imported before.

        Raises:
            WorkerError: it failed.

        """
        if self.cell is not None and self.opened >= RENEWED_AFTER:
            self.close()
        if self.cell is None or self.cell.worker.ended:
            self.cell = self._start()
        self.opened += 1
        folder = self.scratch / f"spec_{case.number}"
        self.cell.ask(
            "open",
            spec=case.spec.model_dump_json(),
            source=str(folder / f"{self.info.label.replace('@', '_')}_{case.number}.py"),
            data=str(folder),
        )

    def ask(self, command: str, arrays: Any = {}, **fields: Any) -> Any:  # noqa: B006 (never changed)
        """Ask the worker, in which a spec is open."""
        assert self.cell is not None
        return self.cell.ask(command, arrays, **fields)

    def _start(self) -> Cell:
        self.started, self.opened = self.started + 1, 0
        label = self.info.label if self.started == 1 else f"{self.info.label} {self.started}"
        place = (self.folder, self.scratch, label)
        cell = start_cell(self.info, "cpu", self.plan, *place, VARIABLES)
        begin_import(cell)
        end_import(cell)
        self.versions = json.loads(cell.facts["versions"])
        return cell

    def close(self) -> None:
        """End the worker."""
        if self.cell is not None:
            self.cell.worker.kill()
            self.cell = None


class Team:
    """All backends, the reference beside them, and the reference that rounds worse.

    Each has a thread of its own for as long as the team lasts: Linux ends a worker with the thread
    that started it.
    """

    def __init__(self, plan: Plan, rounded: BackendInfo, folder: ResultsFolder, scratch: Path):
        self.scratch = scratch
        self.members = [Member(info, plan, folder, scratch) for info in plan.backends]
        self.reference = Member(plan.reference, plan, folder, scratch)
        self.rounded = Member(rounded, plan, folder, scratch)
        self.threads = {
            m.info.label: ThreadPoolExecutor(1) for m in (*self.members, self.reference)
        }
        self.reference_thread = self.threads[plan.reference.label]
        self.ended = False

    def judge(
        self, cases: Sequence[Case], tell: Tell, is_over: Callable[[], bool], only: str = ""
    ) -> dict[int, dict[str, Outcome]]:
        """Return what became of every case, by its number and the backend's label.

        Each backend takes case after case at its own pace, and begins none once `is_over`. `only`
        names the one that is asked, if it is not all.

        Raises:
            WorkerError: the reference failed.

        """
        members = [m for m in self.members if only in ("", m.info.label)]
        rights: dict[int, Rights] = {}
        for case in cases:
            self._lay_out(case)
            rights[case.number] = {part: Future() for _, part in PARTS}
        answering = self.reference_thread.submit(self._answer_all, cases, rights, is_over)
        found: dict[int, dict[str, Outcome]] = {case.number: {} for case in cases}

        def work(member: Member) -> None:
            for case in cases:
                if is_over() or self.ended:
                    return
                try:
                    outcome = self._judge(member, case, rights[case.number])
                except TimeoutError:  # the reference was told first
                    return
                found[case.number][member.info.label] = outcome
                tell(member.info.label, case, outcome)

        working = [self.threads[m.info.label].submit(work, m) for m in members]
        for future in (answering, *working):
            future.result()
        for case in cases:
            shutil.rmtree(self.scratch / f"spec_{case.number}", ignore_errors=True)
        return found

    def _lay_out(self, case: Case) -> None:
        """Write the training set of a case to where workers find it."""
        folder = self.scratch / f"spec_{case.number}"
        folder.mkdir()
        data = case.material.dataset
        write_arrays(
            folder, {"train_images": data.train_images, "train_targets": data.train_labels}
        )

    def _answer_all(
        self, cases: Sequence[Case], rights: dict[int, Rights], is_over: Callable[[], bool]
    ) -> None:
        """Have the reference answer, case after case."""
        now: Case | None = None
        left = [future for of_case in rights.values() for future in of_case.values()]
        try:
            for case in cases:
                if is_over() or self.ended:
                    break
                now = case
                self.reference.open(case)
                for part, future in rights[case.number].items():
                    if part == "structure":
                        future.set_result(wanted_structure(case.material))
                    else:
                        future.set_result(asking(part, case.material, {})(self.reference.ask))
            raise TimeoutError
        except BaseException as error:  # else those who wait for an answer would do so for ever
            if isinstance(error, WorkerError) and now is not None:
                error.args = (f"{error}\nThe spec: {json.dumps(now.fields)}",)
            for future in left:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, TimeoutError):
                raise

    def _judge(self, member: Member, case: Case, rights: Rights) -> Outcome:
        """Ask one backend one question after the other, as long as the answers agree."""
        try:
            member.open(case)
        except WorkerError as error:
            return of_failure(error, opening=True)
        outcome = Outcome("agrees")
        for rung, part in PARTS:
            try:
                found = asking(part, case.material, {})(member.ask)
            except WorkerError as error:
                return of_failure(error, opening=False)
            right = rights[part].result()
            if not is_finite(right):
                return outcome if outcome.status != "agrees" else Outcome("overflows", rung)
            fixed = fixed_tolerance(part, "float64")
            judgement = judge(found, right, lambda place, fixed=fixed: fixed)  # type: ignore[misc]
            if not judgement.agrees:
                kind = layer_kind(case.spec, judgement.place)
                if part != "structure":
                    gradients = rights["gradients"].result()
                    bounds = by_rounding(right, self._rounded(part, case), fixed, gradients)
                    wide = judge(found, right, bounds)
                    if wide.agrees:
                        outcome = Outcome("ill-conditioned", rung, judgement, kind)
                        continue
                    judgement = wide
                kind = layer_kind(case.spec, judgement.place)
                return Outcome("differs", rung, judgement, kind)
        return outcome

    def _rounded(self, part: str, case: Case) -> list[Answer]:
        """Return what the reference answers that rounds worse, each time otherwise."""
        with self.rounded.lock:
            self.rounded.open(case)
            question = asking(part, case.material, {})
            return [question(seeded(self.rounded.ask, seed)) for seed in GROWTH_SEEDS]

    def close(self) -> None:
        """End all workers, then the threads."""
        self.ended = True
        for member in (*self.members, self.reference, self.rounded):
            member.close()
        for thread in self.threads.values():
            thread.shutdown(cancel_futures=True)
