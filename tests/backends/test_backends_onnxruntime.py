"""ONNX Runtime as a backend that only predicts."""

from __future__ import annotations

import numpy as np
import pytest

from harness import registry
from harness.contract import Session, Setting, missing_members
from harness.errors import UsageError
from harness.registry import BackendInfo, load_backend, select
from harness.run.agreement import check_parameters
from harness.spec import initial_parameters, load_spec
from harness.testing.networks import network

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
TARGET = "backends.onnxruntime_backend:OnnxRuntimeBackend"


@pytest.fixture
def opened(tmp_path):
    def opened(spec):
        backend, setting = load_backend(TARGET), Setting("cpu", "float32", 1)
        backend.prepare("", setting)
        path = tmp_path / f"{spec.name.replace('-', '_')}.py"
        path.write_text(backend.source(spec, ""))
        return backend.open(path, spec, "", setting), path

    return opened


def reference(spec, parameters, images, tmp_path):
    backend, setting = load_backend("backends.numpy_backend:NumpyBackend"), Setting()
    path = tmp_path / "numpy_reference.py"
    path.write_text(backend.source(spec, ""))
    session = backend.open(path, spec, "", setting)
    session.reset(parameters, 0)
    return session.predict(images)


@pytest.mark.parametrize("name", ["lenet-5", "blocks", "norms", "signals"])
def test_its_logits_are_the_references_for_any_number_of_images(opened, name, tmp_path):
    spec = load_spec(name) if name == "lenet-5" else network(name)
    session, _ = opened(spec)
    parameters = check_parameters(initial_parameters(spec, 3))
    for count in (1, 5):
        session.reset(parameters, 0)
        images = np.random.default_rng(count).normal(size=(count, *spec.input))
        images = images.astype(np.float32)
        right = reference(spec, parameters, images, tmp_path)
        assert np.abs(session.predict(images) - right).max() < 1e-5 * np.abs(right).max()


def test_a_reset_sets_other_weights(opened):
    spec = load_spec("lenet-5")
    session, _ = opened(spec)
    images = np.ones((1, *spec.input), np.float32)
    found = []
    for seed in (0, 1):
        session.reset(initial_parameters(spec, seed), 0)
        found.append(session.predict(images))
        assert set(session.state()) == set(initial_parameters(spec, seed))
    assert not np.allclose(*found)


def test_the_source_shows_the_graph_with_the_paths_of_the_layers(opened):
    _, path = opened(load_spec("mnist-1conv"))
    text = path.read_text()
    assert "conv1 = Conv <" in text
    assert '(to_nchw, "conv1.kernel", "conv1.bias")' in text
    assert "options.intra_op_num_threads = threads" in text


def test_it_has_every_method_of_a_session_and_refuses_to_train(opened):
    session, _ = opened(load_spec("lenet-5"))
    assert missing_members(session, Session) == []
    for refused in (
        lambda: session.train(np.zeros((1, 1), np.int64), np.ones(1)),
        lambda: session.gradients(np.zeros(1), np.zeros(1)),
        lambda: session.activations(np.zeros(1)),
    ):
        with pytest.raises(NotImplementedError, match=r"only predicts\. Try: .* infer"):
            refused()


def test_a_gpu_that_it_leaves_for_the_cpu_is_an_error(opened):
    spec = load_spec("lenet-5")
    session, _ = opened(spec)
    parameters, made = initial_parameters(spec, 0), session.module.make_session
    session.setting = Setting("gpu", "float32", 1)
    session.module.make_session = lambda model, threads, provider: made(
        model, threads, "CPUExecutionProvider"
    )
    with pytest.raises(RuntimeError, match="cannot load CUDAExecutionProvider and took CPUExec"):
        session.reset(parameters, 0)


def info(name, **fields):
    return BackendInfo(name, "", f"m:{name}", name == "torch", (), {}, "pip", **fields)


KNOWN = [info("numpy"), info("onnx-like", trains=False, precisions=("float32",)), info("torch")]


def test_all_trains_without_it_and_predicts_with_it():
    assert [i.label for i in select("all", KNOWN)[0]] == ["torch"]
    assert [i.label for i in select("all", KNOWN, "float32")[0]] == ["torch", "onnx-like"]


def test_named_for_training_it_is_an_error_and_within_a_glob_it_is_skipped():
    with pytest.raises(UsageError, match=r"backend 'onnx-like' only predicts\. Try: .* infer"):
        select("onnx-like", KNOWN)
    chosen, ((skipped, reason),) = select("torch,onnx*", KNOWN)
    assert [i.label for i in chosen] == ["torch"]
    assert (skipped.label, reason[:16]) == ("onnx-like", "it only predicts")


def test_in_a_precision_that_it_lacks_it_is_skipped_unless_it_is_named():
    chosen, ((skipped, reason),) = select("all", KNOWN, "float64")
    assert [i.label for i in chosen] == ["torch"]
    assert skipped.label == "onnx-like"
    assert "cannot predict in float64; it can float32" in reason
    with pytest.raises(UsageError, match="Try: --precision float32"):
        select("onnx-like", KNOWN, "float64")


def test_the_registry_knows_that_it_does_not_train():
    found = {i.label: i for i in registry.describe_plugin(TARGET)}["onnxruntime"]
    assert not found.trains
    assert not found.in_all
    assert found.precisions == ("float32",)
