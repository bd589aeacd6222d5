"""Many runs, one after the other, below one folder: what is impossible is skipped and said.

Each is a run like any other, with a results folder and a journal of its own; `matrix.json` beside
them has what was asked for, and what became of it. So a matrix that stopped goes on with the run
that stopped, and then with those that were not begun.
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
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
from harness.run.durable import FolderLock, replace_file
from harness.run.folder import ResultsFolder, now
from harness.run.journal import JOURNAL, Row
from harness.run.listener import Listener
from harness.run.request import Request, make_request
from harness.run.run import run

MATRIX = "matrix.json"
SCHEMA_VERSION = 1
AXES = ("model", "dataset", "device", "batch_size", "precision")


@dataclass(frozen=True)
class Asked:
    """One run that is asked for: the name of its folder, and the options of `harness run`."""

    name: str
    options: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What tells it from the others, in words."""
        options = self.options
        words = [f"{options['model']} on {options['dataset']}"]
        if options["device"] != "all":
            words.append(str(options["device"]))
        if options["batch_size"] is not None:
            words.append(f"batch {options['batch_size']}")
        return ", ".join([*words, str(options["precision"])])


@dataclass
class Outcome:
    """What became of one run; `status` is `done`, `skipped` or `failed`, the last two with why.

    One that is done may have rows of backends that failed. `left_out` are backends that could not
    take part, each with the reason.
    """

    asked: Asked
    folder: Path
    status: str = "done"
    reason: str = ""
    rows: list[Row] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


class MatrixFolder:
    """The folder of a matrix. Nobody else can write to it until it is closed."""

    parent = Path("results/matrix")  # of those without a name

    def __init__(
        self, path: Path, asked: Sequence[Asked] | None = None, facts: Mapping[str, Any] = {}
    ) -> None:
        """Begin a matrix of the runs that are `asked` for, or take up the one that is there.

        Raises:
            UsageError: the folder cannot be written to, is in use, or holds results already, or
                none to go on with.

        """
        self.path = path
        place = path / MATRIX
        if asked is None and not place.is_file():
            raise UsageError(
                f"--resume {path}: there is no matrix to go on with, which would have a {MATRIX}. "
                "Try: --resume with a folder that run --matrix wrote"
            )
        if asked is not None and path.is_dir() and any(path.iterdir()):
            more = f", or go on with it: --matrix --resume {path}" if place.is_file() else ""
            raise UsageError(f"--out {path} is not empty; name another folder{more}")
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(path)
        except OSError as error:
            raise UsageError(
                f"cannot write results to {path}: {error.strerror}. "
                "Try: --out with a folder that you may write to"
            ) from None
        try:
            self._begin(asked, facts)
        except BaseException:
            self._lock.release()
            raise

    def _begin(self, asked: Sequence[Asked] | None, facts: Mapping[str, Any]) -> None:
        if asked is None:
            self.content = _read(self.path / MATRIX)
            return
        runs = [{"name": one.name, "options": dict(one.options)} for one in asked]
        self.content = {"matrix": SCHEMA_VERSION, "begun_at": now(), **facts, "runs": runs}
        self._write()

    @staticmethod
    def new_path() -> Path:
        """Return a folder for a matrix that has no name."""
        return MatrixFolder.parent / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{token_hex(3)}"

    @property
    def asked(self) -> list[Asked]:
        """The runs, in their order."""
        return [Asked(run["name"], run["options"]) for run in self.content["runs"]]

    def note(self, outcome: Outcome) -> None:
        """Put on disk what became of a run."""
        for entry in self.content["runs"]:
            if entry["name"] == outcome.asked.name:
                entry |= {"status": outcome.status, "reason": outcome.reason}
        self._write()

    def _write(self) -> None:
        text = json.dumps(self.content, indent=2, ensure_ascii=False) + "\n"
        replace_file(self.path / MATRIX, lambda file: file.write(text))

    def close(self) -> None:
        """Let others write."""
        self._lock.release()


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["matrix"] != SCHEMA_VERSION:
            raise ValueError(f"matrix {content['matrix']}; known: {SCHEMA_VERSION}")
        if not content["runs"]:
            raise ValueError("no runs")
        for entry in content["runs"]:
            if not {*AXES} <= {*entry["options"]} or "/" in entry["name"]:
                raise ValueError(f"no run: {entry!r:.200}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{path} is no matrix to go on with ({error!r:.200}). Try: run --matrix, anew"
        ) from None
    return content


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
            request = make_request(options, known, load, without_unable=True)
            outcome.left_out = [(info.label, reason) for info, reason in request.skipped]
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
