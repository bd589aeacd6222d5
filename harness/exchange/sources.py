"""What is to be written to another tool's file: a spec, and weights from a file or drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from harness.errors import UsageError
from harness.run.weights import read_weights
from harness.spec import Spec, initial_parameters, load_spec


def parameters_of(
    model: str | None, weights: Path | None, seed: int | None
) -> tuple[Spec, Mapping[str, NDArray[Any]]]:
    """Return a spec, the file's own where no model is named, and its arrays by path.

    Raises:
        UsageError: nothing was named, both weights and a seed were, or a file is wrong.

    """
    if weights is not None and seed is not None:
        raise UsageError("--weights and --seed: the weights are read, or drawn. Try: one of them")
    if seed is not None and seed < 0:
        raise UsageError(f"--seed {seed}: allowed: 0 or more")
    spec = None if model is None else load_spec(model)
    if weights is not None:
        given = read_weights(weights, spec)
        return given.spec, given.arrays
    if spec is None:
        raise UsageError("nothing to export. Try: --model NAME, or --weights FILE.safetensors")
    return spec, initial_parameters(spec, seed or 0)
