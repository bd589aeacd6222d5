"""The work by which a machine is measured is the work that it is counted as."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.contract import Probing
from harness.registry import load_backend
from harness.run.peaks import CONVOLUTION_FLOPS, CONVOLUTION_IMAGES, PRODUCT_SIZE

ROOT = Path(__file__).parents[2]
TARGETS = {
    "torch": "backends.torch_backend:TorchBackend",
    "flax": "backends.flax_backend:FlaxBackend",
    "tensorflow": "backends.tensorflow_backend:TensorFlowBackend",
    "numpy": "backends.numpy_backend:NumpyBackend",
}
# In a process of its own, as a worker does it: what the call returns, and how much it computes.
SCRIPT = """
import sys
from harness.contract import Setting
from harness.registry import load_backend
backend, precision = load_backend(sys.argv[1]), sys.argv[2]
setting = Setting("cpu", precision, 1)
backend.prepare("", setting)
for kind, size in (("product", 64), ("convolution", 1), ("copy", 4096)):
    work = backend.probe(kind, size, setting)
    if work:
        work(), work()
    print(kind, "yes" if work else "none")
"""


# On a CPU there is no TF32, but the work is made by the same code.
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
@pytest.mark.parametrize("name", TARGETS)
def test_every_backend_does_the_work_that_it_has_in_every_precision(name, precision):
    module = {"flax": "jax"}.get(name, name)
    pytest.importorskip(module)
    assert isinstance(load_backend(TARGETS[name]), Probing)
    command = [sys.executable, "-c", SCRIPT, TARGETS[name], precision]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    said = dict(line.split() for line in done.stdout.splitlines())
    lacking = {kind for kind, answer in said.items() if answer == "none"}
    expected = {"tensorflow": {"copy"}, "numpy": {"convolution"}}.get(name, set())
    if name == "numpy" and precision != "float32":
        expected = {"convolution", "product"}
    assert lacking == expected


@pytest.mark.parametrize("kind", ["product", "convolution"])
def test_torch_counts_the_operations_that_the_harness_divides_by(kind):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from harness.contract import Setting

    size = 96 if kind == "product" else 2
    work = load_backend(TARGETS["torch"]).probe(kind, size, Setting("cpu", "float32", 1))
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        work()
    assert counter.get_total_flops() == (2 * 96**3 if kind == "product" else 2 * CONVOLUTION_FLOPS)


def test_the_pieces_of_work_are_large():
    for device in ("cpu", "gpu"):
        assert 2 * PRODUCT_SIZE[device] ** 3 > 1e10
        assert CONVOLUTION_IMAGES[device] * CONVOLUTION_FLOPS > 5e9
