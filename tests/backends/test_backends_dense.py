"""PyTorch's large dense layers: by oneDNN where MKL is slow, and the same network either way."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from harness.spec import load_spec

GRADIENTS = """
import sys
from pathlib import Path
import numpy as np
from backends import torch_layers
from backends.torch_backend import TorchBackend
from harness.contract import Setting
from harness.spec import initial_parameters, load_spec

folder, spec, backend = Path(sys.argv[1]), load_spec("mnist-1conv"), TorchBackend()
backend.prepare("", Setting(threads=1))
random = np.random.default_rng(0)
images = random.standard_normal((8, *spec.input), np.float32)
labels = random.integers(0, 10, 8).astype(np.int32)
for slow in (False, True):
    torch_layers.mkl_is_slow = lambda: slow
    path = folder / f"slow_{slow}.py"
    path.write_text(backend.source(spec, ""))
    session = backend.open(path, spec, "", Setting(threads=1))
    session.load(images, labels)
    session.reset(initial_parameters(spec, 0), 0)
    found = session.gradients(images, labels)
    arrays = {**found.parameters, "logits": found.logits, "images": found.images}
    np.savez(folder / f"slow_{slow}.npz", loss=found.loss, **arrays)
"""


@pytest.fixture
def torch():
    """The backend's modules, imported only when a test runs: collecting imports no backend."""
    from backends import torch_layers, torch_processor, torch_source

    return SimpleNamespace(layers=torch_layers, processor=torch_processor, source=torch_source)


@pytest.mark.parametrize(
    ("text", "is_slow"),
    [
        ("vendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\n", True),
        ("vendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R)\n", False),
    ],
)
def test_mkl_is_slow_on_processors_of_amd(torch, tmp_path, monkeypatch, text, is_slow):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(torch.processor, "CPUINFO", tmp_path / "cpuinfo")
    assert torch.processor.mkl_is_slow.__wrapped__() is is_slow


def test_where_no_such_file_is_the_system_is_asked_for_its_processor(torch, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.processor, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(torch.processor.platform, "processor", lambda: "Family 26, AuthenticAMD")
    assert torch.processor.mkl_is_slow.__wrapped__() is True


@pytest.mark.parametrize("is_slow", [True, False])
def test_large_dense_layers_go_to_onednn_where_mkl_is_slow(torch, monkeypatch, is_slow):
    monkeypatch.setattr(torch.layers, "mkl_is_slow", lambda: is_slow)
    spec = load_spec("mnist-1conv")
    source = torch.source.torch_source(spec, "", mixed=False)
    assert ("class Linear(nn.Linear)" in source) == is_slow
    assert ("self.dense1 = Linear(" in source) == is_slow
    assert "self.dense2 = nn.Linear(" in source, "too small to be worth it"
    assert "class Linear" not in torch.source.torch_source(spec, "", mixed=True)


def test_either_way_it_is_the_same_network(tmp_path):
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-c", GRADIENTS, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    by_mkl, by_onednn = (np.load(tmp_path / f"slow_{slow}.npz") for slow in (False, True))
    assert "to_mkldnn" in (tmp_path / "slow_True.py").read_text()
    for name in by_mkl.files:
        largest = np.abs(by_mkl[name]).max()
        assert np.abs(by_onednn[name] - by_mkl[name]).max() <= 1e-5 * largest, name
