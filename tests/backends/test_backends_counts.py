"""The numbers that the spec infers are those that each framework counts itself."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from studies import DEEP, HERE, deep, installed

from harness.spec import infer, library, load_spec


@pytest.fixture(scope="session")
def counted():
    """What a backend counts of a model at its full size; asked once of all, or of all deep ones."""
    answers: dict[tuple[str, bool], dict[str, dict[str, int]]] = {}

    def ask(label: str, name: str) -> dict[str, int]:
        key = label, name in DEEP
        if key not in answers:
            models = [model for model in library() if (model in DEEP) == key[1]]
            done = subprocess.run(
                [sys.executable, str(HERE / "count.py"), label, *models],
                capture_output=True,
                text=True,
                check=True,
                timeout=300,
            )
            answers[key] = json.loads(done.stdout.splitlines()[-1])
        return answers[key][name]

    return ask


BACKENDS = [
    pytest.param(label, marks=installed(label))
    for label in ("flax", "keras", "tensorflow", "torch")
]


MODELS = [pytest.param(name, marks=deep(name)) for name in library()]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("label", BACKENDS)
def test_parameters_are_as_many_as_the_framework_counts(counted, label, name):
    assert counted(label, name)["parameters"] == infer(load_spec(name)).parameter_count


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("label", [pytest.param("torch", marks=installed("torch"))])
def test_operations_are_as_many_as_torch_s_counter_finds(counted, label, name):
    assert counted(label, name)["flops"] == infer(load_spec(name)).flops_per_image
