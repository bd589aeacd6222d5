"""The networks that are written to other tools' files: the library's, and those of the backends."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from harness.run.agreement import check_parameters
from harness.spec import Spec, infer, initial_parameters, library, load_spec
from harness.testing.networks import NAMES as OWN
from harness.testing.networks import network as own_network

Arrays = dict[str, np.ndarray]

REDUCED = 32  # pixels a side, of the library's models for larger images
# Those that would have nothing left of so few.
INPUTS = {"m5": (1100, 1), "pilotnet": (66, 68, 3)}
NETWORKS = [*OWN, *library()]
IMAGES = 2
DEEP = 60  # layers; beyond, a network takes seconds in each of the tests
TOLERANCE = 1e-5  # of float32, relative to the largest logit


@cache
def network(name: str) -> Spec:
    if name in OWN:
        return own_network(name)
    spec = load_spec(name)
    *sides, channels = spec.input
    reduced = (*(min(side, REDUCED) for side in sides), channels)
    return spec.model_copy(update={"input": INPUTS.get(name, reduced)})


def marked(names: list[str]) -> list[Any]:
    """Return the names as parameters of tests; deep networks are left to `pytest -m deep`."""
    return [
        pytest.param(
            name, marks=[pytest.mark.deep] if len(infer(network(name)).nodes) > DEEP else []
        )
        for name in names
    ]


def parameters(spec: Spec) -> Arrays:
    """Weights of which none is a mere zero or one."""
    return {
        path: np.float32(a) for path, a in check_parameters(initial_parameters(spec, 3)).items()
    }


def images(spec: Spec, count: int = IMAGES) -> np.ndarray:
    return np.random.default_rng(7).normal(size=(count, *spec.input)).astype(np.float32)


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest, relative to the largest value."""
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def run_onnx(content: bytes, inputs: np.ndarray) -> np.ndarray:
    """The first output of an ONNX model for one input."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]
