"""Files that are damaged, or made to do harm: one clear error each, and nothing else happens."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchange_networks import network, parameters

from harness.cli import main
from harness.errors import UsageError
from harness.exchange import hdf5, keras_file
from harness.exchange.keras_import import import_keras
from harness.exchange.onnx_export import onnx_model
from harness.exchange.onnx_import import import_onnx

onnx = pytest.importorskip("onnx")
h5py = pytest.importorskip("h5py")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT
MUCH = 200 * 2**20  # bytes that no small file should make Python ask for


def refusal(read: Callable[[Path], object], path: Path) -> str:
    """The one error about a file, for which little memory was asked."""
    tracemalloc.start()
    try:
        with pytest.raises(UsageError) as caught:
            read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MUCH
    message = str(caught.value)
    assert path.name in message
    assert len(message) < 10_000
    return message


@pytest.fixture(scope="module")
def sound() -> bytes:
    spec = network("blocks")
    return onnx_model(spec, parameters(spec)).SerializeToString()


def test_a_truncated_onnx_file_is_refused(sound, tmp_path):
    path = tmp_path / "cut.onnx"
    for part in range(16):
        path.write_bytes(sound[: len(sound) * part // 16])
        refusal(import_onnx, path)


def test_damaged_onnx_files_are_taken_or_refused_but_nothing_else(sound, tmp_path):
    path, chance = tmp_path / "damaged.onnx", random.Random(3)
    for _ in range(400):
        content = bytearray(sound)
        for _ in range(chance.choice([1, 2, 5])):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content)
        try:
            import_onnx(path)
        except UsageError as error:
            assert path.name in str(error)


@pytest.mark.parametrize("read", [import_onnx, import_keras])
def test_what_is_no_such_file_is_refused(read, tmp_path):
    path = tmp_path / "garbage.bin"
    assert "no such file" in refusal(read, path)
    assert "no such file" in refusal(read, tmp_path)
    for content in (b"", b"\0" * 100, bytes(range(256)) * 50, b"PK\3\4" + b"\xff" * 60):
        path.write_bytes(content)
        refusal(read, path)


def test_the_command_prints_one_error_and_writes_nothing(tmp_path, capsys):
    path = tmp_path / "x.onnx"
    path.write_bytes(b"garbage")
    with pytest.raises(SystemExit) as ended:
        main(["import-onnx", str(path), "-o", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {path}: damaged, or no ONNX file")
    assert not (tmp_path / "out").exists()


def model(
    nodes: list[Any],
    arrays: list[Any],
    shape: tuple[Any, ...] = ("n", 3, 8, 8),
    output: str = "y",
    opset: int = 17,
) -> Any:
    entry = helper.make_tensor_value_info("x", FLOAT, list(shape))
    end = helper.make_tensor_value_info(output, FLOAT, None)
    graph = helper.make_graph(nodes, "g", [entry], [end], arrays)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def node(op: str, inputs: str, output: str, **attributes: Any) -> Any:
    return helper.make_node(op, inputs.split(), [output], f"the {op}", **attributes)


def tensor(name: str, dims: list[int], raw: bytes = b"") -> Any:
    found = onnx.TensorProto(name=name, data_type=FLOAT, dims=dims, raw_data=raw)
    assert found.HasField("raw_data")
    return found


def small(name: str, *shape: int) -> Any:
    return onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)


def external(location: str, size: int = 108, **facts: int) -> Any:
    found = onnx.TensorProto(name="w", data_type=FLOAT, dims=[1, 3, 3, 3], data_location=1)
    for key, value in {"location": location, "length": size, **facts}.items():
        found.external_data.add(key=key, value=str(value))
    return found


def ints(name: str, *values: int) -> Any:
    return onnx.numpy_helper.from_array(np.array(values, np.int64), name)


CONV = [node("Conv", "x w", "y")]
SCALE = [node("Mul", "x w", "y")]
HUGE = 2**40
HOSTILE = {
    "a circle": (
        model([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")], []),
        "input 'b' is made by no node before it",
    ),
    "an unknown operator": (
        model([node("Evil", "x", "y")], []),
        "the Evil' (Evil): is no operator",
    ),
    "an operator of another domain": (
        model(
            [helper.make_node("Conv", ["x", "w"], ["y"], domain="evil")], [small("w", 1, 3, 1, 1)]
        ),
        "(Conv): is no operator",
    ),
    "an array without its bytes": (
        model(CONV, [tensor("w", [HUGE, 3, HUGE, 3])]),
        "are not those of its bytes",
    ),
    "a negative size": (model(CONV, [tensor("w", [-1, 3, 3, 3])]), "array 'w': sizes"),
    "huge images": (
        model(CONV, [small("w", 1, 3, 1, 1)], ("n", 3, HUGE, 8)),
        "allowed: 1 to 65536",
    ),
    "one number for all values of a large image": (
        model(
            [node("Flatten", "x", "a", axis=1), node("Add", "a w", "y")],
            [small("w", 1)],
            ("n", 4096, 4096, 4096),
        ),
        "more parameters by this layer than the file has bytes",
    ),
    "a scale of more groups than there are": (
        model(
            [node("GroupNormalization", "x w w", "y", num_groups=1)],
            [small("w", 100_000)],
            ("n", 4096, 8, 8),
            opset=18,
        ),
        "has not 1 numbers, one for each group",
    ),
    "unknown sizes": (model(CONV, [small("w", 1, 3, 1, 1)], ("n", 3, "h", 8)), "has the shape"),
    "huge strides": (
        model([node("MaxPool", "x", "y", kernel_shape=[2, 2], strides=[HUGE, 1])], []),
        "strides",
    ),
    "huge padding": (
        model([node("Pad", "x p", "y")], [ints("p", 0, 0, HUGE, 0, 0, 0, 0, 0)]),
        "allowed: 0 to 4096 pixels",
    ),
    "a huge reshape": (
        model([node("Reshape", "x s", "y")], [ints("s", 0, HUGE, HUGE)]),
        "allowed: flattening each image",
    ),
    "a huge constant": (
        model([node("ConstantOfShape", "s", "w"), *SCALE], [ints("s", HUGE, HUGE)]),
        "constants; allowed: 4096",
    ),
    "a product of constants": (
        model([node("Mul", "a b", "w"), *SCALE], [small("a", 9000, 1), small("b", 1, 9000)]),
        "computes 81000000 constants",
    ),
    "channels doubled without end": (
        model(
            [node("Concat", f"x{i or ''} x{i or ''}", f"x{i + 1}", axis=1) for i in range(64)],
            [],
            output="x64",
        ),
        "allowed: 1000000 channels",
    ),
    "one array in a thousand layers": (
        model(
            [node("Conv", f"x{i or ''} w", f"x{i + 1}") for i in range(1000)],
            [small("w", 100, 100, 1, 1)],
            ("n", 100, 8, 8),
            output="x1000",
        ),
        "more parameters by this layer than the file has bytes",
    ),
    "an output of nothing": (model([node("Relu", "x", "z")], []), "is made by no node"),
    "no layer": (model([node("GlobalAveragePool", "x", "z"), node("Relu", "w", "y")], []), "'w'"),
    "a value made twice": (
        model([node("Relu", "x", "y"), node("Tanh", "x", "y")], []),
        "is made twice",
    ),
    "an old opset": (model(CONV, [small("w", 1, 3, 1, 1)], opset=3), "opset 3; allowed: 7 to"),
    "a subgraph": (
        model([node("If", "x", "y", then_branch=model([], []).graph)], []),
        "(If): is no operator",
    ),
    "a file above the folder": (model(CONV, [external("../secret")]), "in the model's folder"),
    "a file anywhere": (model(CONV, [external("/etc/passwd")]), "in the model's folder"),
    "a link": (model(CONV, [external("link")]), "in the model's folder"),
    "a file that is too short": (
        model(CONV, [external("short")]),
        "'short' is smaller than what lies in it",
    ),
    "an offset below zero": (model(CONV, [external("good", offset=-1)]), "are not all in 'good'"),
    "a length of another": (model(CONV, [external("good", 9)]), "are not all in 'good'"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_onnx_model_is_refused(what, tmp_path):
    proto, words = HOSTILE[what]
    folder = tmp_path / "models"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(np.ones(27, np.float32).tobytes())
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "good").write_bytes(np.ones(27, np.float32).tobytes())
    (folder / "short").write_bytes(b"\0" * 100)
    path = folder / "hostile.onnx"
    path.write_bytes(proto.SerializeToString())
    assert words in refusal(import_onnx, path)


def test_arrays_in_a_file_of_the_same_folder_are_read(tmp_path):
    (tmp_path / "good").write_bytes(b"....." + np.arange(27, dtype=np.float32).tobytes())
    nodes = [
        node("Conv", "x w", "a"),
        node("GlobalAveragePool", "a", "b"),
        node("Flatten", "b", "y"),
    ]
    path = tmp_path / "beside.onnx"
    path.write_bytes(model(nodes, [external("good", offset=5)]).SerializeToString())
    (kernel,) = import_onnx(path).arrays.values()
    assert kernel.sum() == 27 * 26 / 2


def test_no_array_is_read_from_the_working_directory(tmp_path, monkeypatch):
    """There the addend is 1, which makes the nodes those of a GELU; in the model it is 2."""
    for place, value in (("models", 2.0), ("elsewhere", 1.0)):
        (tmp_path / place).mkdir()
        (tmp_path / place / "one").write_bytes(np.float32(value).tobytes())
    addend = onnx.TensorProto(name="w", data_type=FLOAT, dims=[1], data_location=1)
    addend.external_data.add(key="location", value="one")
    numbers = {"root": 2**0.5, "half": 0.5}
    arrays = [onnx.numpy_helper.from_array(np.float32([v]), n) for n, v in numbers.items()]
    nodes = [
        node("Div", "x root", "a"),
        node("Erf", "a", "b"),
        node("Add", "b w", "c"),
        node("Mul", "x c", "d"),
        node("Mul", "d half", "y"),
    ]
    path = tmp_path / "models" / "gelu.onnx"
    path.write_bytes(model(nodes, [*arrays, addend]).SerializeToString())
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "(Erf): is no operator" in refusal(import_onnx, path)


def test_blocks_nested_without_end_are_refused(tmp_path):
    nodes = [node("Relu", f"x{i or ''}", f"x{i + 1}") for i in range(40)]
    before = "x40"
    for i in range(40):  # each sum takes in the last, and a value from before it
        nodes.append(node("Add", f"{before} x{39 - i or ''}", f"s{i}"))
        before = f"s{i}"
    path = tmp_path / "deep.onnx"
    path.write_bytes(model(nodes, [], output=before).SerializeToString())
    assert "image" in refusal(import_onnx, path)
    ends = [node("GlobalMaxPool", before, "p"), node("Flatten", "p", "y")]
    path.write_bytes(model([*nodes, *ends], []).SerializeToString())
    assert "more than 10 deep" in refusal(import_onnx, path)


def layer(kind: str, name: str, *inputs: str, **config: Any) -> dict[str, Any]:
    tensors = [
        {"class_name": "__keras_tensor__", "config": {"keras_history": [i, 0, 0]}} for i in inputs
    ]
    return {
        "class_name": kind,
        "registered_name": None,
        "config": {"name": name, **config},
        "inbound_nodes": [{"args": [tensors], "kwargs": {}}] if inputs else [],
    }


IMAGES = layer("InputLayer", "in", batch_shape=[None, 8, 8, 3])
DENSE = layer("Dense", "out", "flat", units=2, use_bias=False, activation="linear")
FLAT = layer("Flatten", "flat", "in", data_format="channels_last")


def functional(*layers: dict[str, Any], end: Any = "out") -> dict[str, Any]:
    return {
        "class_name": "Functional",
        "config": {"layers": list(layers), "output_layers": [end, 0, 0]},
    }


GOOD = functional(IMAGES, FLAT, DENSE)


def weights(write: Callable[[Any], object] | None = None) -> bytes:
    """An HDF5 file with the kernel of `DENSE`, or with what `write` puts into its group."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        group = file.create_group("layers/dense/vars")
        if write is None:
            group["0"] = np.ones((192, 2), np.float32)
        else:
            write(group)
    return buffer.getvalue()


def archive(path: Path, config: Any, content: bytes, **more: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        file.writestr("model.weights.h5", content)
        for name, data in more.items():
            file.writestr(name, data)
    return path


def test_the_sound_one_of_the_hostile_keras_files_is_taken(tmp_path):
    path = archive(tmp_path / "good.keras", GOOD, weights(), **{"../../evil.py": b"evil"})
    found = import_keras(path)
    assert [array.shape for array in found.arrays.values()] == [(192, 2)]
    assert [entry.name for entry in tmp_path.iterdir()] == ["good.keras"]


LARGE = layer("Dense", "out", "flat", units=HUGE, use_bias=False, activation="linear")
LAMBDA = layer(
    "Lambda", "code", "in", function={"class_name": "__lambda__", "config": {"code": "4wA="}}
)
CUSTOM = {**layer("Dense", "own", "in"), "registered_name": "Mine>Dense"}
BAD_CONFIGS = {
    "code": (functional(IMAGES, LAMBDA), "layer 'code' (Lambda): is no layer that a spec has"),
    "a class of one's own": (functional(IMAGES, CUSTOM), "(Mine>Dense): is no layer"),
    "a circle": (
        functional(IMAGES, layer("Add", "a", "in", "b"), layer("ReLU", "b", "a")),
        "layers in a circle: 'a', 'b'",
    ),
    "an input of nowhere": (functional(IMAGES, layer("ReLU", "a", "ghost")), "'ghost' is no layer"),
    "a name twice": (functional(IMAGES, FLAT, FLAT, DENSE), "two layers have the same name"),
    "an output of nowhere": (functional(IMAGES, FLAT, end="ghost"), "made by no layer"),
    "huge images": (
        functional(layer("InputLayer", "in", batch_shape=[None, HUGE, 8, 3]), FLAT, DENSE),
        "allowed: 1 to 65536",
    ),
    "huge units": (
        functional(IMAGES, FLAT, LARGE),
        "units",
    ),
    "a model of another class": ({"class_name": "Evil", "config": {}}, "allowed: Sequential"),
    "a model within": (
        functional(IMAGES, layer("Functional", "inner", "in", layers=[])),
        "layer 'inner' (Functional): is no layer that a spec has",
    ),
    "no layers": ({"class_name": "Sequential", "config": {"layers": []}}, "config.json is damaged"),
    "a list": ([], "config.json holds no model"),
    "no JSON": ("{", "damaged, or no .keras file"),
    "JSON without end": ("[" * 100_000, "nested too deeply"),
    "layers of numbers": (functional(1, 2), "config.json is damaged"),
}


@pytest.mark.parametrize("what", BAD_CONFIGS)
def test_a_hostile_keras_model_is_refused(what, tmp_path):
    config, words = BAD_CONFIGS[what]
    path = archive(tmp_path / "hostile.keras", config, weights())
    assert words in refusal(import_keras, path)


def _elsewhere(group: Any) -> None:
    group["0"] = h5py.ExternalLink("/etc/passwd", "/x")


def _soft(group: Any) -> None:
    group["0"] = h5py.SoftLink("/layers")


def _virtual(group: Any) -> None:
    layout = h5py.VirtualLayout((192, 2), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(192, 2))
    group.create_virtual_dataset("0", layout)


def _raw(group: Any) -> None:
    group.create_dataset("0", (192, 2), np.float32, external=[("/etc/passwd", 0, 1536)])


def _packed(group: Any) -> None:
    group.create_dataset("0", data=np.zeros((192, 2), np.float32), compression="gzip")


def _huge(group: Any) -> None:
    group.create_dataset("0", (HUGE, HUGE), np.float32, chunks=(1024, 1))


def _text(group: Any) -> None:
    group["0"] = "evil"


BAD_WEIGHTS = [
    (_elsewhere, "a link to elsewhere"),
    (_soft, "a link to elsewhere"),
    (_virtual, "lies in other files"),
    (_raw, "lies in other files"),
    (_packed, "packed"),
    (_huge, "larger than the file"),
    (_text, "no array of floats"),
    (lambda group: None, "has 0 arrays of weights; wanted: kernel"),
]


@pytest.mark.parametrize(("write", "words"), BAD_WEIGHTS)
def test_hostile_weights_are_refused(write, words, tmp_path):
    path = archive(tmp_path / "hostile.keras", GOOD, weights(write))
    message = refusal(import_keras, path)
    assert "layer 'out' (Dense)" in message
    assert words in message


def test_damaged_weights_are_refused(tmp_path):
    for content in (b"", b"garbage" * 99, weights()[:700]):
        path = archive(tmp_path / "damaged.keras", GOOD, content)
        assert "model.weights.h5: damaged" in refusal(import_keras, path)


def test_weights_whose_reading_never_ends_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "SECONDS", 0.01)
    path = archive(tmp_path / "endless.keras", GOOD, weights())
    assert "reading it took over 0.01 s" in refusal(import_keras, path)


def test_a_zip_bomb_is_refused(tmp_path):
    path = archive(tmp_path / "bomb.keras", GOOD, b"\0" * 300 * 2**20)
    assert path.stat().st_size < 2**20
    assert "unpacks to more than" in refusal(import_keras, path)
    path = archive(tmp_path / "bomb.keras", " " * (keras_file.MAX_CONFIG + 1), b"")
    assert "config.json unpacks to more than" in refusal(import_keras, path)
    path = archive(tmp_path / "bomb.keras", "[" + "[]," * 4_000_000 + "0]", b"")
    assert path.stat().st_size < 20_000, "as objects, it would take hundreds of megabytes"
    assert "config.json unpacks to more than" in refusal(import_keras, path)


def test_a_truncated_keras_file_is_refused(tmp_path):
    path = archive(tmp_path / "cut.keras", GOOD, weights())
    content = path.read_bytes()
    for part in range(8):
        path.write_bytes(content[: len(content) * part // 8])
        refusal(import_keras, path)


def test_members_that_are_missing_or_there_twice_are_refused(tmp_path):
    path = tmp_path / "members.keras"
    for count, words in ((0, "it holds 0 members"), (2, "it holds 2 members")):
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("model.weights.h5", weights())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the second of one name
                for _ in range(count):
                    file.writestr("config.json", "{}")
        assert words in refusal(import_keras, path)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_keras_file_that_is_packed_as_keras_never_does_is_refused_unread(tmp_path, method):
    """What is damaged within raises errors of its own, and may ask for gigabytes."""
    path = tmp_path / "packed.keras"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("config.json", json.dumps(GOOD))
        file.writestr("model.weights.h5", weights())
    assert "packed in another way than Keras does" in refusal(import_keras, path)
    content = bytearray(path.read_bytes())
    content[40:60] = bytes(20)  # of the packed configuration
    path.write_bytes(content)
    assert "packed in another way than Keras does" in refusal(import_keras, path)
