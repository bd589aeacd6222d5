"""The numbers that the spec infers are those that each framework counts itself."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from studies import HERE, installed

from harness.spec import infer, library, load_spec


@pytest.fixture(scope="session")
def counted():
    """What a backend counts of all models of the library at their full size, asked once."""
    answers: dict[str, dict[str, dict[str, int]]] = {}

    def ask(label: str) -> dict[str, dict[str, int]]:
        if label not in answers:
            done = subprocess.run(
                [sys.executable, str(HERE / "count.py"), label, *library()],
                capture_output=True,
                text=True,
                check=True,
                timeout=300,
            )
            answers[label] = json.loads(done.stdout.splitlines()[-1])
        return answers[label]

    return ask


BACKENDS = [
    pytest.param(label, marks=installed(label))
    for label in ("flax", "keras", "tensorflow", "torch")
]


@pytest.mark.parametrize("name", library())
@pytest.mark.parametrize("label", BACKENDS)
def test_parameters_are_as_many_as_the_framework_counts(counted, label, name):
    assert counted(label)[name]["parameters"] == infer(load_spec(name)).parameter_count


@pytest.mark.parametrize("name", library())
@pytest.mark.parametrize("label", [pytest.param("torch", marks=installed("torch"))])
def test_operations_are_as_many_as_torch_s_counter_finds(counted, label, name):
    assert counted(label)[name]["flops"] == infer(load_spec(name)).flops_per_image
