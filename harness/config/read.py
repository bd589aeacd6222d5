"""A project's file found and read; every mistake in it at once, with its path and its value."""

from __future__ import annotations

import os
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from harness import data
from harness.config.model import Combination, Config, Gate, Matrix, Section
from harness.errors import UsageError
from harness.spec import load_spec
from harness.spec.load import (
    MAX_FILE_BYTES,
    LargeIntegersError,
    as_tuples,
    describe_errors,
)

PROJECT = "pyproject.toml"
PARTS: dict[str, type[Section]] = {"matrix": Matrix, "gate": Gate, "exclude": Combination}


class Found(NamedTuple):
    """What a file says, and which file, which is None where there is none."""

    config: Config
    path: Path | None


def starting_config() -> str:
    """Return the text of a file to start from."""
    return (resources.files("harness.config") / "start.toml").read_text(encoding="utf-8")


def read_config(path: Path | None, folder: Path | None = None) -> Found:
    """Read the file at `path`, or `[tool.harness]` of the nearest pyproject.toml that has it.

    That is looked for in `folder`, by default the current one, and in those above it.

    Raises:
        UsageError: the file cannot be read, is no TOML, or has mistakes, which are all named.

    """
    if path is not None:
        content = _toml(path)
        tool = content.get("tool", {})
        is_project = isinstance(tool, dict) and "harness" in tool
        return Found(_config(tool["harness"] if is_project else content, path), path)
    start = (folder or Path.cwd()).absolute()
    for place in (start, *start.parents):
        candidate = place / PROJECT
        if candidate.is_file():
            tool = _toml(candidate).get("tool", {})
            if isinstance(tool, dict) and "harness" in tool:
                return Found(_config(tool["harness"], candidate), candidate)
    return Found(Config(), None)


def read_gate(path: Path | None) -> Gate:
    """Return what to judge by; the file's own, or nothing that is set.

    Raises:
        UsageError: as `read_config`.

    """
    return read_config(path).config.gate


def read_matrix(path: Path | None) -> tuple[Matrix, Path]:
    """Return the runs that a file asks for; its models are read, and its data sets' names known.

    Paths in it are those from the file's folder, and are returned as from the current one.

    Raises:
        UsageError: as `read_config`, or there is no matrix.

    """
    config, found = read_config(path)
    start = "python -m harness init --config harness.toml"
    if found is None:
        raise UsageError(
            f"--matrix: neither {Path.cwd()} nor a folder above it has a {PROJECT} with "
            f"[tool.harness.matrix]. Try: {start}, then --config harness.toml"
        )
    if config.matrix is None:
        table = "tool.harness.matrix" if found.name == PROJECT else "matrix"
        raise UsageError(f"--matrix: {_shown(found)} has no table [{table}]. Try: {start}")
    matrix = _from_here(config.matrix, found.parent)
    problems = []
    for place, model in enumerate(matrix.models):
        try:
            load_spec(model)
        except UsageError as error:
            problems.append(f"matrix.models[{place}]: {error}")
    for place, name in enumerate(matrix.datasets):
        try:
            data.refuse_unknown(name)
        except UsageError as error:
            problems.append(f"matrix.datasets[{place}]: {error}")
    if problems:
        raise _mistakes(found, problems)
    return matrix, found


def _from_here(matrix: Matrix, folder: Path) -> Matrix:
    """Return it with paths from the current folder."""
    if folder.absolute() == Path.cwd():
        return matrix

    def moved(path: str) -> str:
        place = Path(path).expanduser()
        return str(place) if place.is_absolute() else os.path.relpath(folder / place)

    models = tuple(moved(name) if name.endswith(".toml") else name for name in matrix.models)
    datasets = []
    for name in matrix.datasets:
        kind, colon, path = name.partition(":")
        is_path = kind in data.OF_FILES and path
        datasets.append(f"{kind}{colon}{moved(path)}" if is_path else name)
    return matrix.model_copy(update={"models": models, "datasets": tuple(datasets)})


def _toml(path: Path) -> dict[str, Any]:
    """Return the content of a file.

    Raises:
        UsageError: it cannot be read.

    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise UsageError(f"{path} is larger than {MAX_FILE_BYTES} bytes: no configuration")
        return tomllib.loads(content.decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}. "
            f"Try: python -m harness init --config {path.name}"
        ) from None
    except (ValueError, RecursionError) as error:  # among them TOMLDecodeError
        reason = str(error) or "nested too deeply"
        raise UsageError(f"{_shown(path)}: not valid TOML: {reason}") from None


def _config(content: object, path: Path) -> Config:
    try:
        return Config.model_validate(as_tuples(content))
    except ValidationError as error:
        raise _mistakes(path, describe_errors(error, _fields_beside)) from None
    except LargeIntegersError as error:
        raise _mistakes(path, error.problems) from None


def _fields_beside(location: tuple[int | str, ...]) -> list[str]:
    """Return the fields of the part in which an unknown one was found."""
    parts = [part for part in location[:-1] if isinstance(part, str)]
    kind = PARTS.get(parts[-1] if parts else "", Config)
    return sorted(str(field.alias) for field in kind.model_fields.values())


def _mistakes(path: Path, problems: list[str]) -> UsageError:
    table = ", [tool.harness]" if path.name == PROJECT else ""
    count = f"{len(problems)} mistake{'s' if len(problems) > 1 else ''}"
    return UsageError(f"{_shown(path)}{table}: {count}\n" + "\n".join(f"  {p}" for p in problems))


def _shown(path: Path) -> str:
    """Return a path as short as it can be: from the current folder, if it lies there."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
