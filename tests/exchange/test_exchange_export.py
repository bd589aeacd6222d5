"""An exported ONNX model is valid, and computes what the reference computes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from exchange_networks import (
    NETWORKS,
    TOLERANCE,
    difference,
    images,
    marked,
    network,
    parameters,
    run_onnx,
)

from harness.cli import main
from harness.exchange import onnx_export
from harness.run.weights import write_weights
from harness.spec import infer, initial_parameters, load_spec

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("name", marked(NETWORKS))
def test_logits_are_the_references(name, reference):
    spec = network(name)
    given, x = parameters(spec), images(spec)
    model = onnx_export.onnx_model(spec, given)
    onnx.checker.check_model(model, full_check=True)
    found = run_onnx(model.SerializeToString(), x)
    assert difference(found, reference.logits(spec, given, x)) < TOLERANCE


def test_a_wrong_parameter_is_noticed_by_that_comparison(reference):
    spec = network("blocks")
    given, x = parameters(spec), images(spec)
    wrong = {**given, "conv1.kernel": given["conv1.kernel"] * 1.01}
    found = run_onnx(onnx_export.onnx_model(spec, wrong).SerializeToString(), x)
    assert difference(found, reference.logits(spec, given, x)) > TOLERANCE


def test_input_and_output_are_named_and_any_number_of_images_goes():
    spec = network("lenet-5")
    model = onnx_export.onnx_model(spec, parameters(spec))
    (entry,), (end,) = model.graph.input, model.graph.output
    sizes = [d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim]
    assert (entry.name, sizes) == ("images", ["n", *spec.input])
    assert end.name == "logits"
    assert model.opset_import[0].version >= 18
    many = images(spec, 5)
    content = model.SerializeToString()
    one_by_one = [run_onnx(content, many[i : i + 1]) for i in range(5)]
    np.testing.assert_allclose(run_onnx(content, many), np.concatenate(one_by_one), rtol=1e-5)


def test_nodes_are_called_by_the_paths_of_their_layers():
    spec = network("resnet-20")
    names = {n.name for n in onnx_export.onnx_model(spec, parameters(spec)).graph.node}
    assert {node.path for node in infer(spec).nodes if node.parameters} <= names


def test_the_command_takes_weights_from_a_file_or_from_a_seed(tmp_path, capsys):
    spec = load_spec("mnist-1conv")
    write_weights(tmp_path / "w.safetensors", spec, initial_parameters(spec, 5), {})
    for options in (["--weights", "w.safetensors"], ["--model", "mnist-1conv", "--seed", "5"]):
        options = [str(tmp_path / o) if o.endswith(".safetensors") else o for o in options]
        with pytest.raises(SystemExit) as ended:
            main(["export-onnx", *options, "-o", str(tmp_path / f"{options[0][2:]}.onnx")])
        assert ended.value.code == 0
    assert "mnist-1conv" in capsys.readouterr().out
    assert (tmp_path / "weights.onnx").read_bytes() == (tmp_path / "model.onnx").read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Try: --model NAME, or --weights"),
        (["--weights", "no.safetensors"], "no such file of weights"),
        (["--weights", "w", "--seed", "1"], "--weights and --seed"),
        (["--model", "lenet-5", "--seed", "-1"], "--seed -1: allowed: 0 or more"),
        (["--model", "lenet-6"], "Did you mean 'lenet-5'?"),
    ],
)
def test_wrong_use_is_one_clear_error(options, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["export-onnx", *options, "-o", str(tmp_path / "x.onnx")])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_the_error_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(SystemExit) as ended:
        main(["export-onnx", "-m", "lenet-5", "-o", str(tmp_path / "x.onnx")])
    assert ended.value.code == 2
    assert 'pip install "cnn-harness[onnx]"' in capsys.readouterr().err


def test_a_network_too_large_for_the_format_is_refused(monkeypatch):
    monkeypatch.setattr(onnx_export, "MAX_BYTES", 1000)
    with pytest.raises(onnx_export.UsageError, match="an ONNX file holds 1,000"):
        onnx_export.onnx_model(network("lenet-5"), {})
