"""What each framework's own switches say after `prepare`, and its names of devices."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

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


@pytest.mark.parametrize("label", [pytest.param("torch", marks=installed("torch"))])
def test_products_of_bfloat16_are_not_added_up_in_bfloat16(label):
    info = backends()[label]
    program = (
        "import sys, torch; from harness.contract import Setting\n"
        "from harness.registry import load_backend\n"
        "matmul, name = torch.backends.cuda.matmul, 'allow_bf16_reduced_precision_reduction'\n"
        "before = getattr(matmul, name)\n"
        "load_backend(sys.argv[1]).prepare('', Setting('cpu', 'bfloat16', 1))\n"
        "print('found', before, getattr(matmul, name))"
    )
    command = [sys.executable, "-c", program, info.target]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.split() == ["found", "True", "False"], done.stderr


def test_tensorflow_is_asked_for_the_memory_of_a_gpu_by_the_name_that_it_knows(monkeypatch):
    """Of `gpu:0` its C++ makes a device of the kind `gpu`, and there are none but `GPU`."""
    from backends.keras_session import TensorFlowSession
    from backends.tensorflow_session import peak_device_bytes

    def get_memory_info(device):
        if device != "GPU:0":
            raise ValueError(f"No matching devices found for '{device}'")
        return {"current": 1, "peak": 7}

    config = SimpleNamespace(experimental=SimpleNamespace(get_memory_info=get_memory_info))
    fake = SimpleNamespace(config=config)
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    assert peak_device_bytes("/gpu:0") == 7
    assert peak_device_bytes("/cpu:0") is None
    keras = object.__new__(TensorFlowSession)
    keras.tf, keras.device = fake, "gpu:0"
    assert keras.peak_device_bytes() == 7
    keras.device = "cpu:0"
    assert keras.peak_device_bytes() is None
