"""TF32 is off unless it was asked for: each framework's own switches, after `prepare`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from studies import backends, installed

TORCH = (
    "import torch; found = [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32]"
)
TENSORFLOW = (
    "import tensorflow as tf; found = [tf.config.experimental.tensor_float_32_execution_enabled()]"
)
JAX = "import jax; found = [jax.config.jax_default_matmul_precision == 'tensorfloat32']"
SWITCHES = {
    "torch": TORCH,
    "tensorflow": TENSORFLOW,
    "flax": JAX,
    "keras": TENSORFLOW,
    "keras@jax": JAX,
    "keras@torch": TORCH,
}
PROGRAM = """
import json, sys
from harness.contract import Setting
from harness.registry import load_backend
backend, answers = load_backend(sys.argv[1]), []
for precision in ("tf32", "float32"):
    backend.prepare(sys.argv[2], Setting("cpu", precision, 1))
    {switches}
    answers.append(found)
print("found", json.dumps(answers))
"""


@pytest.mark.parametrize(
    "label", [pytest.param(label, marks=installed(label)) for label in SWITCHES]
)
def test_tf32_is_on_where_it_was_asked_for_and_off_in_float32(label):
    info = backends()[label]
    assert "tf32" in info.precisions
    program = PROGRAM.replace("{switches}", SWITCHES[label])
    command = [sys.executable, "-c", program, info.target, info.variant]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("found ")]
    on, off = json.loads(line.removeprefix("found "))
    assert all(on)
    assert not any(off)
