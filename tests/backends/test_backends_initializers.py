"""Sources begin at the weights that their spec asks for, even where no harness gives them any."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
from scipy.stats import poisson
from studies import HERE, backends, installed

from harness.spec import infer, parse_spec
from harness.spec.initializers import Scheme

NETWORK = """
name = "drawn"
input = [6, 6, 8]
initializer = {kernels}
bias_initializer = {biases}
layers = [
  {{ type = "conv2d", filters = 96, kernel = 5, padding = "same" }},
  {{ type = "conv2d", filters = 192, kernel = 3, groups = 2, padding = "same", bias = false }},
  {{ type = "conv2d", filters = 192, kernel = 3, groups = 192, padding = "same" }},
  {{ type = "batch_norm", decay = 0.9, epsilon = 1e-3 }},
  {{ type = "conv2d_transpose", filters = 48, kernel = 3, padding = "same" }},
  {{ type = "residual", body = [
    {{ type = "conv2d", filters = 48, kernel = 3, padding = "same" }}, {{ type = "channel_scale" }},
  ] }},
  {{ type = "flatten" }},
  {{ type = "dense", units = 20 }},
]
"""


def constant(value):
    return f'{{ type = "constant", value = {value} }}'


FIXED = {
    "zeros": ('"zeros"', '"zeros"', 0, 0),
    "constants": (constant(-0.1), constant(0.25), -0.1, 0.25),
    "ones": (constant(1), constant(1), 1, 1),
}
SPECS = {scheme: NETWORK.format(kernels=f'"{scheme}"', biases='"zeros"') for scheme in (
    *get_args(Scheme),
)}  # fmt: skip
SPECS |= {n: NETWORK.format(kernels=k, biases=b) for n, (k, b, _, _) in FIXED.items()}
LABELS = [
    pytest.param(label, marks=installed(label))
    for label, info in backends().items()
    if info.variant != "compile" and info.backend != "numpy"
]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The weights of all specs' sources by a backend, made in one process for each backend."""
    folders = {}

    def weights(label, name):
        if label not in folders:
            folders[label] = folder = tmp_path_factory.mktemp("own")
            paths = []
            for spec in SPECS:
                paths.append(folder / f"{spec}.json")
                paths[-1].write_text(parse_spec(SPECS[spec], spec).model_dump_json())
            subprocess.run(
                [
                    sys.executable,
                    str(HERE / "own_weights.py"),
                    label,
                    str(folder),
                    *map(str, paths),
                ],
                check=True,
                timeout=600,
            )
        return dict(np.load(folders[label] / f"{name}.npz"))

    return weights


@pytest.mark.parametrize("scheme", get_args(Scheme))
@pytest.mark.parametrize("label", LABELS)
def test_a_source_draws_kernels_of_the_scheme_s_variance_and_bounds(own, label, scheme):
    network = infer(parse_spec(SPECS[scheme], scheme))
    found = own(label, scheme)
    rule, distribution = scheme.split("_")
    for parameter in network.parameters:
        values = found[parameter.path].astype(float)
        assert values.shape == parameter.shape
        if parameter.role != "kernel":
            assert np.all(values == parameter.begins_at), parameter.path
            continue
        fan_in, fan_out = parameter.fan_in, parameter.fan_out
        variance = {
            "glorot": 2 / (fan_in + fan_out),
            "he": 2 / fan_in,
            "lecun": 1 / fan_in,
        }[rule]
        # Kurtosis 3 at most: five standard errors of a variance.
        near = 5 * (2 / values.size) ** 0.5
        assert values.var() / variance == pytest.approx(1, abs=near), parameter.path
        bound = {"uniform": 3**0.5, "truncated": 2 / 0.8796, "normal": np.inf}[distribution]
        beyond = np.count_nonzero(np.abs(values) > 1.001 * bound * variance**0.5)
        # Keras on torch takes the last of four draws, even where all lie beyond: 4.55 % four times.
        redrawn = 0.0455**4 if label == "keras@torch" else 0
        assert beyond <= poisson.isf(1e-9, redrawn * values.size), parameter.path
        if distribution == "normal" and values.size > 5000:
            assert np.abs(values).max() > 3 * variance**0.5, parameter.path


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("label", LABELS)
def test_a_source_begins_at_the_constants_of_its_spec(own, label, name):
    *_, kernel, bias = FIXED[name]
    network = infer(parse_spec(SPECS[name], name))
    found = own(label, name)
    for parameter in network.parameters:
        wanted = {"kernel": kernel, "bias": bias}.get(parameter.role, parameter.begins_at)
        assert np.allclose(found[parameter.path], wanted, rtol=1e-6), parameter.path
    assert {p.role for p in network.parameters} == {"kernel", "bias", "scale", "offset"}
