"""The folder of many runs: what was asked for, and what became of each, in `matrix.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any

from harness.errors import UsageError
from harness.run.durable import FolderLock, replace_file
from harness.run.folder import now
from harness.run.journal import Row

MATRIX = "matrix.json"
SCHEMA_VERSION = 1
NAME = re.compile(r"[0-9]+-[A-Za-z0-9.-]{1,80}")  # of a run's folder, which lies in the matrix's
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

    One that is done may have rows of backends that failed. `backends` take part, `left_out` could
    not, each with the reason. What is only `planned` was not run.
    """

    asked: Asked
    folder: Path
    status: str = "done"
    reason: str = ""
    rows: list[Row] = field(default_factory=list)
    backends: list[str] = field(default_factory=list)
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
            if not {*AXES} <= {*entry["options"]} or not NAME.fullmatch(entry["name"]):
                raise ValueError(f"no run: {entry!r:.200}")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(
            f"{path} is no matrix to go on with ({error!r:.200}). Try: run --matrix, anew"
        ) from None
    return content
