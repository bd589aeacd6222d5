"""A .keras file becomes a spec with weights that computes what Keras predicts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exchange_networks import TOLERANCE, difference

from harness.cli import main
from harness.errors import UsageError
from harness.exchange.keras_import import import_keras
from harness.run.weights import read_weights
from harness.spec import Spec, infer, load_spec

pytest.importorskip("h5py")
HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def keras_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras")
    script = [sys.executable, str(HERE / "keras_models.py"), str(folder)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300, check=False)
    if "No module named 'keras'" in done.stderr:
        pytest.skip("keras is not installed")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def predicted(spec: Spec, logits: np.ndarray) -> np.ndarray:
    """What Keras returns has been through the activation that the spec folds into its loss."""
    if not spec.folds_activation:
        return logits
    if spec.training.loss == "binary_cross_entropy":
        return 1 / (1 + np.exp(-logits))
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


TAKEN = [
    *("sequential", "unnamed_input", "residual", "mobile", "branches"),
    *("signal", "volume", "upsampled"),
]


@pytest.mark.parametrize("name", TAKEN)
def test_the_reference_computes_what_keras_predicts(name, keras_models, reference):
    found = import_keras(keras_models / f"{name}.keras")
    wanted = np.load(keras_models / f"{name}.npz")
    logits = reference.logits(found.spec, found.arrays, wanted["x"])
    assert difference(predicted(found.spec, logits), wanted["y"]) < TOLERANCE


def test_the_blocks_are_found(keras_models):
    def kinds(name: str) -> list[str]:
        network = infer(import_keras(keras_models / f"{name}.keras").spec)
        return [block.kind for block in network.blocks if block.kind != "sequence"]

    assert kinds("residual") == ["residual", "residual"]
    assert kinds("mobile") == ["gate", "residual", "gate", "residual"]
    assert kinds("branches") == ["concat", "concat"]


def test_the_command_writes_a_spec_and_its_weights(keras_models, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["import-keras", str(keras_models / "mobile.keras"), "-o", str(tmp_path / "out")])
    assert ended.value.code == 0
    model = tmp_path / "out" / "mobile.toml"
    weights = model.with_suffix(".safetensors")
    assert capsys.readouterr().out.split() == [str(model), str(weights)]
    spec = load_spec(str(model))
    assert spec.training.loss == "binary_cross_entropy"
    assert read_weights(weights, spec).facts["imported_from"] == "mobile.keras"


def test_all_that_cannot_be_taken_is_named_at_once(keras_models):
    with pytest.raises(UsageError) as caught:
        import_keras(keras_models / "refused.keras")
    lines = [line.strip() for line in str(caught.value).split("\n")[1:]]
    assert sorted(lines) == [
        "layer 'leaky' (LeakyReLU): negative_slope = 0.3; allowed: 0.01",
        "layer 'rescale' (Rescaling): prepares images; do so in the dataset, and leave "
        "'Rescaling' out",
        "layer 'spatial' (SpatialDropout2D): is no layer that a spec has",
    ]


def test_without_the_package_the_error_says_what_to_install(keras_models, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(Exception, match=r'pip install "cnn-harness\[keras-files\]"'):
        import_keras(keras_models / "mobile.keras")
