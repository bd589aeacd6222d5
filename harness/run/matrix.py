"""Many runs, one after the other, below one folder: what is impossible is skipped and said.

Each is a run like any other, with a results folder and a journal of its own; `matrix.json` beside
them has what was asked for, and what became of it. So a matrix that stopped goes on with the run
that stopped, and then with those that were not begun.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import data, registry
from harness.data import Dataset
from harness.errors import (
    HarnessError,
    Interrupted,
    NotInstalledError,
    StorageError,
    UsageError,
    WorkerError,
)
from harness.run.folder import ResultsFolder
from harness.run.journal import JOURNAL
from harness.run.listener import Listener
from harness.run.matrix_folder import Asked, MatrixFolder, Outcome
from harness.run.request import Request, as_begun, make_request
from harness.run.run import run


class _LastLoaded:
    """Loads a dataset, and keeps it until another one is wanted."""

    def __init__(self) -> None:
        self.name = ""
        self.dataset: Dataset | None = None

    def __call__(self, name: str) -> Dataset:
        if self.dataset is None or self.name != name:
            self.dataset = None  # make room first
            self.name, self.dataset = name, data.load(name)
        return self.dataset


def run_matrix(
    folder: MatrixFolder,
    renewed: Mapping[str, Any],
    listener: Callable[[], Listener],
    tell: Callable[[int, int, Asked], None],
    ended: Callable[[Outcome], None] = lambda _: None,
    remarks: Mapping[str, Any] = {},
) -> list[Outcome]:
    """Carry out all runs of a matrix; return what became of each.

    `renewed` are options that take the place of those it was begun with. `tell` hears the number
    of each run, of how many, before it begins, and `ended` what became of it. `listener` makes one
    that hears how a run goes, and `remarks` are as in `run`.

    Raises:
        UsageError: a run was begun with something else than it would go on with.
        StorageError: what is measured cannot be written to disk.
        Interrupted: by Ctrl-C, SIGTERM or SIGHUP; what was measured before is on disk.

    """
    again = f"python -m harness run --matrix --resume {shlex.quote(str(folder.path))}"
    known, load, outcomes = registry.describe(), _LastLoaded(), []
    asked = folder.asked
    for number, one in enumerate(asked, 1):
        tell(number, len(asked), one)
        options = {**one.options, **renewed}
        outcome = Outcome(one, folder.path / one.name)
        outcomes.append(outcome)
        try:
            with as_begun(folder.path):
                request = _request(outcome, options, known, load)
            _carry_out(request, outcome, options, listener(), remarks)
        except Interrupted as error:
            error.args = (f"{error}. Try: {again}",)
            raise
        except KeyboardInterrupt:  # before a run began, or after it had ended
            kept = f"interrupted; what was measured before is in {folder.path}"
            raise Interrupted(f"{kept}. Try: {again}") from None
        except StorageError as error:
            said = f"cannot write {error.path}: {error.cause.strerror or error.cause}"
            error.args = (f"{said}. Try: make room, then {again}",)
            raise
        except (UsageError, NotInstalledError) as error:
            if _is_begun(outcome.folder):
                raise
            outcome.status, outcome.reason = "skipped", _first_sentence(error)
        except WorkerError as error:
            outcome.status, outcome.reason = "failed", str(error).partition("\n")[0]
        folder.note(outcome)
        ended(outcome)
    return outcomes


def plan_matrix(asked: Sequence[Asked]) -> list[Outcome]:
    """Return what `run_matrix` would do with each run, as far as can be known without a worker."""
    known, load, outcomes = registry.describe(), _LastLoaded(), []
    for one in asked:
        outcome = Outcome(one, Path(one.name), "planned")
        outcomes.append(outcome)
        try:
            _request(outcome, one.options, known, load)
        except (UsageError, NotInstalledError) as error:
            outcome.status, outcome.reason = "skipped", _first_sentence(error)
    return outcomes


def _request(
    outcome: Outcome,
    options: Mapping[str, Any],
    known: Sequence[registry.BackendInfo],
    load: _LastLoaded,
) -> Request:
    """Make the request of a run, and note who takes part in it."""
    request = make_request(options, known, load, without_unable=True)
    outcome.backends = [info.label for info in request.plan.backends]
    outcome.left_out = [(info.label, reason) for info, reason in request.skipped]
    return request


def _carry_out(
    request: Request,
    outcome: Outcome,
    options: Mapping[str, Any],
    listener: Listener,
    remarks: Mapping[str, Any],
) -> None:
    """Begin a run, or go on with it; one that was refused before it began leaves nothing."""
    is_begun = _is_begun(outcome.folder)
    if not is_begun:
        shutil.rmtree(outcome.folder, ignore_errors=True)  # what was cut short before anything ran
    results = ResultsFolder(outcome.folder, resume=is_begun)
    try:
        outcome.rows = run(request.plan, request.dataset, results, listener, remarks, options)
    except UsageError:
        if not is_begun and not _has_samples(outcome.folder):
            shutil.rmtree(outcome.folder, ignore_errors=True)
        raise


def _is_begun(folder: Path) -> bool:
    """Return whether there is a journal, of which at least the first line is whole."""
    try:
        with (folder / JOURNAL).open("rb") as file:
            return file.readline().endswith(b"\n")
    except OSError:
        return False


def _has_samples(folder: Path) -> bool:
    """Return whether anything was measured: whether there is more than a header."""
    try:
        with (folder / "samples.csv").open("rb") as file:
            return len(file.readlines(1000)) > 1
    except OSError:
        return False


def _first_sentence(error: HarnessError) -> str:
    """Return why, without what to type instead, which is of a single run."""
    why, _, instead = str(error).partition("\n")[0].partition(" Try: ")
    fitted = "; fit = true in the matrix would make it fit" if "--fit" in instead else ""
    return why.rstrip(".") + fitted
