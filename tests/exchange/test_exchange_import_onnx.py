"""An ONNX model becomes a spec with weights that computes the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from harness.errors import UsageError
from harness.exchange.onnx_export import onnx_model, write_onnx
from harness.exchange.onnx_import import import_onnx
from harness.run.weights import read_weights
from harness.spec import Spec, infer, load_spec

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT

HERE = Path(__file__).parent


def logits(spec: Spec, arrays: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    return run_onnx(onnx_model(spec, arrays).SerializeToString(), x)


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("name", marked(NETWORKS))
def test_what_was_exported_comes_back_as_the_same_network(name, tmp_path):
    spec = network(name)
    given, x = parameters(spec), images(spec)
    path = tmp_path / f"{name}.onnx"
    write_onnx(path, spec, given)
    found = import_onnx(path)
    y = logits(found.spec, found.arrays, x)
    if name == "ties":  # whose softmax is no loss's; as an import's last layer it is
        y = softmax(y)
    assert difference(y, run_onnx(path.read_bytes(), x)) < TOLERANCE
    assert found.spec.input == spec.input
    assert infer(found.spec).parameter_count >= infer(spec).parameter_count
    assert convolutions(found.spec) == convolutions(spec)


def test_a_signal_may_be_as_long_as_the_library_s_longest(tmp_path):
    spec = load_spec("m5")
    write_onnx(tmp_path / "m5.onnx", spec, parameters(spec))
    found = import_onnx(tmp_path / "m5.onnx")
    assert found.spec.input == spec.input == (32000, 1)
    assert infer(found.spec).flops_per_image == infer(spec).flops_per_image


def convolutions(spec: Spec) -> list[str]:
    kinds = [node.layer.type for node in infer(spec).nodes]
    return [kind for kind in kinds if kind.startswith("conv")]


def kinds(spec: Spec) -> list[str]:
    """Of all blocks but lists of them, in which repeated ones lie."""
    return [block.kind for block in infer(spec).blocks if block.kind != "sequence"]


def test_the_blocks_are_found_again(tmp_path):
    spec = network("blocks")
    write_onnx(tmp_path / "x.onnx", spec, parameters(spec))
    found = import_onnx(tmp_path / "x.onnx").spec
    assert kinds(found) == kinds(spec) == ["gate", "residual"] * 2 + ["residual"] + ["concat"] * 2
    assert '{type = "residual", repeat = 2, activation = "relu", body = [' in (
        import_onnx(tmp_path / "x.onnx").text
    )


def test_the_command_writes_a_spec_and_its_weights(tmp_path, capsys):
    spec = network("lenet-5")
    write_onnx(tmp_path / "My Net_1.onnx", spec, parameters(spec))
    with pytest.raises(SystemExit) as ended:
        main(["import-onnx", str(tmp_path / "My Net_1.onnx"), "-o", str(tmp_path / "out")])
    assert ended.value.code == 0
    model, weights = tmp_path / "out" / "my-net-1.toml", tmp_path / "out" / "my-net-1.safetensors"
    assert capsys.readouterr().out.split() == [str(model), str(weights)]
    read = load_spec(str(model))
    given = read_weights(weights, read)
    assert given.facts["imported_from"] == "My Net_1.onnx"
    x = images(spec)
    y = logits(spec, parameters(spec), x)
    assert difference(logits(read, given.arrays, x), y) < TOLERANCE


@pytest.fixture(scope="session")
def torch_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    script = [sys.executable, str(HERE / "torch_models.py"), str(folder)]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300, check=False)
    if "No module named 'torch'" in done.stderr:
        pytest.skip("torch is not installed")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize("version", [13, 17, 20])
@pytest.mark.parametrize(
    "name", ["residual", "inverted", "plain", "dense", "next", "signal", "volume", "upsampled"]
)
def test_what_torch_exports_is_taken(name, version, torch_models):
    found = import_onnx(torch_models / f"{name}-{version}.onnx")
    wanted = np.load(torch_models / f"{name}.npz")
    y = logits(found.spec, found.arrays, np.moveaxis(wanted["x"], 1, -1))
    if name == "plain":  # its last layer is a softmax, which in a spec belongs to the loss
        y = softmax(y)
    assert difference(y, wanted["y"]) < TOLERANCE


def test_torchs_blocks_are_found(torch_models):
    def found(name: str) -> list[str]:
        return kinds(import_onnx(torch_models / f"{name}-17.onnx").spec)

    assert found("residual") == ["residual", "residual"]
    assert found("inverted") == ["gate", "residual", "gate", "residual"]
    assert found("dense") == ["concat", "concat", "concat"]


class Model:
    """An ONNX model written by hand: images `x` [n, 3, 9, 8], constants drawn by shape."""

    def __init__(self, opset: int = 17, shape: tuple[Any, ...] = ("n", 3, 9, 8)) -> None:
        self.random = np.random.default_rng(1)
        self.opset, self.shape = opset, shape
        self.nodes: list[Any] = []
        self.arrays: list[Any] = []
        self.last = "x"

    def array(self, *shape: int) -> str:
        return self.constant(self.random.normal(size=shape).astype(np.float32))

    def constant(self, value: Any) -> str:
        name = f"a{len(self.arrays)}"
        self.arrays.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node; `.` in its inputs is the last one's output."""
        self.last, before = f"y{len(self.nodes)}", self.last
        given = [before if i == "." else i for i in inputs or (".",)]
        self.nodes.append(helper.make_node(op, given, [self.last], name or self.last, **attributes))
        return self.last

    def end(self, channels: int) -> None:
        """Close with a global pool and a dense layer."""
        self.node("GlobalAveragePool")
        self.node("Flatten")
        self.node("Gemm", ".", self.array(channels, 4), self.array(4))

    def proto(self) -> Any:
        entry = helper.make_tensor_value_info("x", FLOAT, list(self.shape))
        end = helper.make_tensor_value_info(self.last, FLOAT, None)
        graph = helper.make_graph(self.nodes, "g", [entry], [end], self.arrays)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    def write(self, folder: Path) -> Path:
        path = folder / "model.onnx"
        path.write_bytes(self.proto().SerializeToString())
        return path


def auto_pad_lower(m: Model) -> None:
    m.node("Conv", ".", m.array(5, 3, 4, 3), auto_pad="SAME_LOWER", strides=[2, 1])
    m.end(5)


def auto_pad_upper(m: Model) -> None:
    m.node("Conv", ".", m.array(5, 3, 4, 3), m.array(5), auto_pad="SAME_UPPER", strides=[2, 3])
    m.node("MaxPool", kernel_shape=[2, 2], auto_pad="SAME_UPPER", strides=[2, 2])
    m.end(5)


def ceil_mode(m: Model) -> None:
    m.node("Conv", ".", m.array(4, 3, 1, 1))
    m.node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[0, 1, 0, 0])
    m.node("AveragePool", kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1, count_include_pad=0)
    m.end(4)


def zero_pad_before_pool(m: Model) -> None:
    m.node("Conv", ".", m.array(4, 3, 1, 1))
    m.node("Relu")
    m.node("Pad", ".", m.constant(np.array([0, 0, 1, 1, 0, 0, 1, 0], np.int64)))
    m.node("MaxPool", kernel_shape=[3, 3], strides=[2, 2])
    m.end(4)


def flattened_nchw(m: Model) -> None:
    m.node("Conv", ".", m.array(4, 3, 3, 3), group=1)
    m.node("Flatten")
    size = 4 * 7 * 6
    norms = [m.array(size) for _ in range(3)]
    m.node("BatchNormalization", ".", *norms, m.constant(np.full(size, 2, np.float32)))
    m.node("Clip", ".", m.constant(np.float32(0)), m.constant(np.float32(6)))
    m.node("MatMul", ".", m.array(size, 5))
    m.node("Add", m.array(5), ".")
    m.node("Relu")
    m.node("Gemm", ".", m.array(3, 5), m.array(3), transB=1)


def dense_of_pixels(m: Model) -> None:
    m.node("Transpose", perm=[0, 2, 3, 1])
    m.node("MatMul", ".", m.array(3, 6))
    m.node("Add", ".", m.array(6))
    m.node("LayerNormalization", ".", m.array(6), m.array(6), axis=-1, epsilon=1e-3)
    m.node("ReduceMean", axes=[1, 2], keepdims=0)
    m.node("Gemm", ".", m.array(6, 2))


def squeeze_excite(m: Model) -> None:
    x = m.node("Conv", ".", m.array(4, 3, 1, 1))
    m.node("ReduceMean", axes=[2, 3])
    m.node("Conv", ".", m.array(2, 4, 1, 1), m.array(2))
    m.node("Relu")
    m.node("Conv", ".", m.array(4, 2, 1, 1))
    m.node("Sigmoid")
    m.node("Mul", ".", x)
    m.end(4)


def hard_swish(m: Model) -> None:
    x = m.node("Conv", ".", m.array(4, 3, 1, 1))
    m.node("HardSigmoid", alpha=1 / 6, beta=0.5)
    m.node("Mul", x, ".")
    m.end(4)


def three_summands(m: Model) -> None:
    x = m.node("Conv", ".", m.array(3, 3, 1, 1))
    one = m.node("Add", m.node("Conv", x, m.array(3, 3, 3, 3), pads=[1, 1, 1, 1]), x)
    m.node("Add", one, m.node("Conv", x, m.array(3, 3, 1, 1)))
    m.end(3)


def instance_norm(m: Model) -> None:
    m.node("InstanceNormalization", ".", m.array(3), m.array(3), epsilon=1e-3)
    m.end(3)


def branches(m: Model) -> None:
    x = m.node("Conv", ".", m.array(4, 3, 1, 1))
    one = m.node("Relu", m.node("Conv", x, m.array(2, 4, 3, 3), pads=[1, 1, 1, 1]))
    other = m.node("MaxPool", x, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    m.node("Concat", one, x, other, axis=1)
    m.end(10)


def transposed(m: Model) -> None:
    m.node("Conv", ".", m.array(4, 3, 3, 3), strides=[2, 2])
    m.node("ConvTranspose", ".", m.array(4, 5, 3, 3), m.array(5), auto_pad="SAME_UPPER",
           strides=[2, 2])  # fmt: skip
    m.node("Relu")
    m.node("ConvTranspose", ".", m.array(5, 2, 4, 2), strides=[3, 1], pads=[1, 0, 2, 1],
           output_padding=[1, 0])  # fmt: skip
    m.node("ConvTranspose", ".", m.array(2, 3, 1, 2), strides=[2, 2], output_padding=[1, 0])
    m.node("Add", ".", m.array(1, 3, 1, 1))
    m.end(3)


BY_HAND: list[Callable[[Model], None]] = [
    auto_pad_lower,
    auto_pad_upper,
    ceil_mode,
    zero_pad_before_pool,
    flattened_nchw,
    dense_of_pixels,
    squeeze_excite,
    hard_swish,
    three_summands,
    instance_norm,
    branches,
    transposed,
]


@pytest.mark.parametrize("write", BY_HAND)
def test_what_the_format_leaves_open_is_understood(write, tmp_path):
    model = Model()
    write(model)
    path = model.write(tmp_path)
    found = import_onnx(path)
    x = np.random.default_rng(2).normal(size=(3, 9, 8, 3)).astype(np.float32)
    wanted = run_onnx(path.read_bytes(), x.transpose(0, 3, 1, 2))
    assert difference(logits(found.spec, found.arrays, x), wanted) < TOLERANCE


@pytest.mark.parametrize(
    ("outputs", "last", "loss"),
    [
        (4, "", "cross_entropy"),
        (4, "Softmax", "cross_entropy"),
        (4, "Sigmoid", "binary_cross_entropy"),
        (1, "Sigmoid", "binary_cross_entropy"),
        (1, "", "mean_squared_error"),
    ],
)
def test_the_loss_is_one_that_suits_the_output(outputs, last, loss, tmp_path):
    m = Model()
    m.node("GlobalAveragePool")
    m.node("Flatten")
    m.node("Gemm", ".", m.array(3, outputs), m.array(outputs))
    if last:
        m.node(last)
    assert import_onnx(m.write(tmp_path)).spec.training.loss == loss


def problems(model: Model, folder: Path) -> list[str]:
    with pytest.raises(UsageError) as caught:
        import_onnx(model.write(folder))
    first, *lines = str(caught.value).split("\n")
    assert str(folder) in first or "model.onnx" in first
    return [line.strip() for line in lines]


def test_all_that_cannot_be_taken_is_named_at_once(tmp_path):
    m = Model()
    m.node("Conv", ".", m.array(4, 3, 2, 2))
    x = m.node("LeakyRelu", alpha=0.3, name="leaky")
    m.node("Softplus", x, name="soft")
    m.node("Sinh", name="second")
    m.node("AveragePool", x, kernel_shape=[2, 2], pads=[1, 1, 0, 0], count_include_pad=1)
    m.node("Add", ".", "y3")
    m.end(4)
    found = problems(m, tmp_path)
    assert found == [
        "node 'leaky' (LeakyRelu): alpha = 0.3; allowed: 0.01",
        "node 'soft' (Softplus): is no operator that a spec has a layer for",
        "node 'second' (Sinh): is no operator that a spec has a layer for",
    ]


def shared(m: Model) -> None:
    """A branch whose inner value is used outside, too."""
    x = m.node("Conv", ".", m.array(3, 3, 1, 1))
    inner = m.node("Relu", m.node("Conv", x, m.array(3, 3, 1, 1)))
    one = m.node("Add", m.node("Conv", inner, m.array(3, 3, 1, 1), name="end"), x)
    m.node("Add", one, inner)
    m.end(3)


def twice(m: Model) -> None:
    m.node("Conv", ".", m.array(3, 3, 1, 1))
    m.node("Add", ".", ".", name="double")
    m.end(3)


def product(m: Model) -> None:
    x = m.node("Conv", ".", m.array(3, 3, 1, 1))
    m.node("Mul", x, m.node("Tanh", x), name="times")
    m.end(3)


def lonely_bias(m: Model) -> None:
    m.node("Relu")
    m.node("Add", ".", m.array(1, 3, 1, 1), name="plus")
    m.end(3)


def pad_before_mean(m: Model) -> None:
    m.node("Pad", ".", m.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)), name="around")
    m.end(3)


def map_as_constant(m: Model) -> None:
    m.node("Mul", ".", m.array(1, 1, 9, 8), name="map")
    m.end(3)


def wrong_kernel(m: Model) -> None:
    m.node("Conv", ".", m.array(4, 2, 3, 3), name="narrow")
    m.end(4)


def image_as_output(m: Model) -> None:
    m.node("Conv", ".", m.array(4, 3, 3, 3))


def flat_as_output(m: Model) -> None:
    m.node("Flatten")


def not_finite(m: Model) -> None:
    m.node("Conv", ".", m.constant(np.full((4, 3, 1, 1), np.nan, np.float32)), name="nan")
    m.end(4)


def training(m: Model) -> None:
    arrays = [m.array(3) for _ in range(4)]
    m.node("BatchNormalization", ".", *arrays, training_mode=1, name="bn")
    m.end(3)


def transposing(name: str, *shape: int, **attributes: Any) -> Callable[[Model], None]:
    def write(m: Model) -> None:
        m.node("ConvTranspose", ".", m.array(*shape), name=name, **attributes)
        m.end(4)

    return write


def of_signals(m: Model) -> None:
    m.node("Conv", ".", m.array(4, 3, 3), name="narrow")
    m.end(4)


REFUSED = [
    (transposing("t", 3, 4, 3, 3, group=3), "node 't' (ConvTranspose): groups or dilations"),
    (transposing("t", 3, 4, 3, 3, dilations=[2, 2]), "node 't' (ConvTranspose): groups or dil"),
    (transposing("t", 3, 4, 3, 3, output_shape=[9, 9]), "(ConvTranspose): output_shape; allowed"),
    (transposing("t", 3, 4, 3), "node 't' (ConvTranspose): a kernel of [3, 4, 3]"),
    (
        transposing("t", 3, 4, 3, 3, strides=[2, 2], output_padding=[1, 1]),
        "node 't' (ConvTranspose): output_padding = [1, 1] beyond pads = [[0, 0], [0, 0]]",
    ),
    (transposing("t", 3, 4, 3, 3, strides=[2]), "node 't' (ConvTranspose): strides = [2]"),
    (of_signals, "node 'narrow' (Conv): a kernel of [4, 3, 3]; allowed: [out, in, and 2 sizes]"),
    (shared, "several places"),
    (twice, "node 'double' (Add): adds a value to itself"),
    (product, "node 'times' (Mul): multiplies two values"),
    (lonely_bias, "node 'plus' (Add): adds a constant"),
    (pad_before_mean, "node 'around' (Pad): pads with zeros"),
    (map_as_constant, "node 'map' (Mul): a constant of [1, 1, 9, 8]"),
    (wrong_kernel, "node 'narrow' (Conv): arrays of"),
    (image_as_output, "the output is an image of (7, 6, 4)"),
    (flat_as_output, "the output is a flattened image"),
    (not_finite, "node 'nan' (Conv): its kernel holds values that are not finite"),
    (training, "node 'bn' (BatchNormalization): training_mode = 1"),
]


@pytest.mark.parametrize(("write", "words"), REFUSED)
def test_what_no_spec_can_say_is_refused_with_its_reason(write, words, tmp_path):
    model = Model()
    write(model)
    found = problems(model, tmp_path)
    assert any(words in line for line in found), found
