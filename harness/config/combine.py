"""From a matrix to the runs that it means: a combination of every value with every other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

from harness.config.model import Combination, Matrix
from harness.errors import UsageError
from harness.run.matrix_folder import AXES, Asked

MOST_RUNS = 10_000
PLURALS = {
    "model": "models",
    "dataset": "datasets",
    "device": "devices",
    "batch_size": "batch_sizes",
    "precision": "precisions",
}


def combine(matrix: Matrix, options: Mapping[str, Any], given: Mapping[str, Any]) -> list[Asked]:
    """Return the runs, in the order of the axes; models change slowest.

    `options` are all those of `harness run`, with their defaults. `given` are those of the command
    line, which win: one that is an axis leaves but its own value of it.

    Raises:
        UsageError: there are none, or more than anyone can want.

    """
    settings = {name: value for name, value in _settings(matrix).items() if name in options}
    axes = {axis: _values(matrix, axis, given) for axis in AXES}
    found = [
        values
        for values in (dict(zip(axes, each, strict=True)) for each in product(*axes.values()))
        if not any(_is_meant(values, left_out) for left_out in matrix.exclude)
    ]
    if not 0 < len(found) <= MOST_RUNS:
        raise UsageError(f"matrix: {len(found)} runs; allowed: 1 to {MOST_RUNS}")
    varying = [axis for axis in AXES if len(axes[axis]) > 1]
    width = len(str(len(found)))
    return [
        Asked(
            f"{number:0{width}}-{_name(values, varying)}",
            {**options, **settings, **values, **given},
        )
        for number, values in enumerate(found, 1)
    ]


def _settings(matrix: Matrix) -> dict[str, Any]:
    """Return what holds for all runs, by the names of the options."""
    content = {name: getattr(matrix, name) for name in type(matrix).model_fields}
    content["backend"] = ",".join(matrix.backends)
    content["plugin"] = list(matrix.plugins)
    return content


def _values(matrix: Matrix, axis: str, given: Mapping[str, Any]) -> Sequence[Any]:
    if axis in given:
        return [given[axis]]
    values: Sequence[Any] | None = getattr(matrix, PLURALS[axis])
    return [None] if values is None else values


def _is_meant(values: Mapping[str, Any], part: Combination) -> bool:
    """Return whether a combination has all the values of a part of one."""
    wanted = {name: value for name, value in dict(part).items() if value is not None}
    return bool(wanted) and all(
        fnmatchcase(str(values[name]), str(value)) for name, value in wanted.items()
    )


def _name(values: Mapping[str, Any], varying: Sequence[str]) -> str:
    """Return a name for a folder: model and dataset, and what else differs between the runs."""
    words = [Path(str(values["model"])).stem, str(values["dataset"])]
    for axis in varying:
        if axis not in ("model", "dataset"):
            value = "own" if values[axis] is None else values[axis]
            words.append(f"b{value}" if axis == "batch_size" else str(value))
    return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words)).strip("-.")[:80]
