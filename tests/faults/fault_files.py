"""Sound files of every kind that is read, and what choices make of them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import struct
import tomllib
import warnings
import zipfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from fault_choices import (
    DEEP,
    ODD_FLOATS,
    ODD_NUMBERS,
    ODD_TEXTS,
    Choices,
    damaged,
    deepened,
    toml,
    twisted,
)

from harness.run.folder import SAMPLE_COLUMNS, SUMMARY_COLUMNS
from harness.run.messages import MARK
from harness.spec import Spec, infer, initial_parameters, parse_spec
from harness.verdict.history import COLUMNS as HISTORY_COLUMNS

NETWORKS = ("first", "blocks", "volumes", "transposes", "activations", "norms", "dropouts")
IDX_SHAPE = (20, 6, 5)


@cache
def network_text(name: str) -> str:
    return (resources.files("harness.testing.networks") / f"{name}.toml").read_text()


@cache
def network(name: str) -> Spec:
    return parse_spec(network_text(name), name)


def tree_of(text: str) -> Any:
    return json.loads(text)


def either(content: bytes, choices: Choices) -> bytes:
    """Damage the bytes as well, every fourth time."""
    return damaged(content, choices) if choices.more and choices.below(4) == 0 else content


def spec_toml(choices: Choices) -> bytes:
    kind = choices.below(8)
    if kind == 7:
        return choices.rest()
    if kind == 6:
        return damaged(network_text(choices.pick(NETWORKS)).encode(), choices)
    tree = tomllib.loads(network_text(choices.pick(NETWORKS)))
    text = toml(twisted(tree, choices))
    if choices.more and choices.below(8) == 0:
        text += choices.pick(
            [
                ".".join(["a"] * DEEP) + " = 1\n",
                "[" + ".".join(["a"] * DEEP) + "]\n",
                "\n".join(f"[a{n}." + ".".join(["a"] * 31) + "]" for n in range(2000)),
                " . ".join(['"a"'] * DEEP) + " = 1\n",
                "x" * 10**5 + "." * 10**5,
                "[[layers]]\n" * DEEP,
                "[training]\n" * 3,
                "x = " + "9" * 5000 + "\n",
                "x = '''" + "y" * 10**5,
            ]
        )
    return either(deepened(text, choices).encode("utf-8", "surrogatepass"), choices)


def spec_json(choices: Choices) -> bytes:
    if choices.below(8) == 7:
        return choices.rest()
    tree = tree_of(network(choices.pick(NETWORKS)).model_dump_json())
    return either(deepened(json.dumps(twisted(tree, choices)), choices).encode(), choices)


def message(choices: Choices) -> bytes:
    """What a worker may say: header and arrays, with lies about either."""
    if choices.below(8) == 7:
        return choices.pick([b"", MARK]) + choices.rest()
    header: Any = {
        "id": 3,
        "status": "ok",
        "seconds": 0.5,
        "arrays": [["losses", "float64", [10]], ["x", "float32", [2, 3]]],
    }
    body = np.arange(10.0).tobytes() + np.ones((2, 3), np.float32).tobytes()
    header = twisted(header, choices)
    text = deepened(json.dumps(header), choices).encode()
    length = len(text)
    if choices.more and choices.below(6) == 0:
        length = choices.pick(ODD_NUMBERS) % 2**64
    return either(MARK + struct.pack(">Q", length) + text + body, choices)


def idx(choices: Choices) -> bytes:
    if choices.below(8) == 7:
        return choices.rest()
    sizes = list(IDX_SHAPE)
    if choices.more and choices.below(3) == 0:
        sizes[choices.below(3)] = choices.pick(ODD_NUMBERS) % 2**32
    head = bytes([0, 0, choices.pick([8, 8, 8, 9, 13, 0, 255]), choices.pick([3, 3, 3, 1, 0, 255])])
    body = bytes(int(np.prod(IDX_SHAPE)))
    return either(head + struct.pack(">3I", *sizes) + body, choices)


def idx_gz(choices: Choices) -> bytes:
    """Compressed: with optional fields, members without end, and much behind little."""
    content = idx(choices)
    deed = choices.below(8)
    if deed == 1:
        content += bytes(1_000_000)
    packed = gzip.compress(content, choices.pick([1, 9, 0]), mtime=0)
    if deed == 2:
        packed = gzip.compress(b"", mtime=0) * 2000 + packed
    if deed == 3:  # a comment and a name that go on for long
        packed = packed[:3] + b"\x18" + packed[4:10] + b"n" * 10**5 + b"\0c\0" + packed[10:]
    if deed == 4:
        packed += choices.pick([b"\0" * 10**5, packed, b"garbage", gzip.compress(b"")])
    return either(packed, choices)


def npy(array: Any, choices: Choices) -> bytes:
    """An array, at times with another header than NumPy would write."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    content = buffer.getvalue()
    if not choices.more or choices.below(3):
        return content
    shape = choices.pick(
        ["(12, 5, 4, 3)", "()", "(12,)", "(1000000, 5, 4, 3)", "(0, 5)", "(-1,)", "(1,)*9"]
    )
    kind = choices.pick(["'<f4'", "'|u1'", "'|O'", "'<f8'", "[('a','|O')]", "'<U9'", "'>i8'"])
    order = choices.pick(["False", "True", "__import__('os').abort()"])
    text = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text.encode() + content[128:]


def npz(choices: Choices) -> bytes:
    if choices.below(10) == 9:
        return choices.rest()
    count = choices.pick([12, 12, 12, 2, 1, 0, 300])
    arrays: dict[str, Any] = {
        "x_train": np.full((count, 5, 4, 3), 7, np.uint8),
        "y_train": np.arange(count) % 3,
        "x_test": np.full((6, 5, 4, 3), 9, np.uint8),
        "y_test": np.arange(6) % 3,
    }
    if choices.below(3) == 2:
        arrays = {"images": np.ones((count, 3, 2)), "labels": np.arange(count)}
    name = choices.pick(list(arrays))
    odd: list[Any] = [
        arrays[name], np.array([{}, 1], object), np.full((count, 5, 4, 3), np.nan),
        np.zeros((0, 0, 0)), np.arange(count) - 1, np.asfortranarray(arrays[name]),
        np.full(count, 10**9), np.ones((count, 5, 4, 3), ">f2"), np.array("text"),
    ]  # fmt: skip
    arrays[name] = choices.pick(odd)
    members = {f"{key}.npy": npy(array, choices) for key, array in arrays.items()}
    return zipped(members, choices)


def zipped(members: dict[str, bytes], choices: Choices) -> bytes:
    """An archive of these members, and of what nobody asked for; its directory may lie."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")  # of two members of one name
        for name, content in members.items():
            deed = choices.below(24)
            if deed == 1:
                name = choices.pick(["../../evil.npy", "/etc/passwd", "", "x" * 300, "a\0b"])
            if deed == 2:
                archive.writestr(name, content)
            if deed == 3:
                content = damaged(content, choices)
            if deed == 4:
                content += bytes(2_000_000)
            entry = zipfile.ZipInfo(name)
            if deed == 5:
                entry.external_attr = 0o120777 << 16  # a symbolic link
                content = b"/etc/passwd"
            methods = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, 14]
            entry.compress_type = methods[deed - 6] if 6 <= deed < 10 else zipfile.ZIP_STORED
            archive.writestr(entry, content)
    whole = bytearray(buffer.getvalue())
    if choices.more and choices.below(2) == 0:
        _lie(whole, choices)
    return either(bytes(whole), choices)


def _lie(archive: bytearray, choices: Choices) -> None:
    """Put odd numbers into the directory, or into the headers of members."""
    mark = choices.pick([b"PK\1\2", b"PK\3\4", b"PK\5\6"])
    places = []
    at = archive.find(mark)
    while at >= 0:
        places.append(at)
        at = archive.find(mark, at + 1)
    if not places:
        return
    at = choices.pick(places) + 4 + 2 * choices.below(20)
    width = choices.pick([2, 4])
    number = choices.pick(ODD_NUMBERS) % 256**width
    archive[at : at + width] = struct.pack("<H" if width == 2 else "<I", number)


ROW = {
    "schema_version": 1, "run_id": "20260101-000000-abcdef", "started_at": "2026-01-01T00:00:00",
    "status": "ok", "backend": "torch", "framework_version": "2.11", "versions": "{}",
    "model": "small", "model_hash": "m1", "dataset": "digits", "dataset_hash": "d1",
    "device": "cpu", "precision": "float32", "environment": "tuned", "threads": 2, "seed": 0,
    "epochs": 1, "batch_size": 8, "equivalent": True, "train_images_per_second": 100.5,
    "test_accuracy": 0.98, "peak_host_bytes": 500_000_000, "machine_key": "k1", "commit": "c" * 40,
    "dirty": False,
}  # fmt: skip
SAMPLE = {
    "run_id": ROW["run_id"], "backend": "torch", "device": "cpu", "seed": 0, "worker": 1,
    "round": 0, "phase": "train", "epoch": 1, "block": 0, "steps": 4, "images": 32,
    "seconds": 0.25, "loss": 1.5,
}  # fmt: skip


def table(columns: Any, rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


MOST_TEXT = 100_000  # characters of a table that is made still larger


def odd_table(content: bytes, choices: Choices) -> bytes:
    """A table with odd cells, rows too short or too long, and columns that should not be."""
    kind = choices.below(12)
    if kind == 11:
        return choices.rest()
    if kind == 10:
        return damaged(content, choices)
    rows = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(3):
        if not choices.more or sum(map(len, map(",".join, rows))) > MOST_TEXT:
            break
        row = choices.pick(rows)
        deed = choices.below(10)
        at = choices.below(len(row)) if row else 0
        if deed < 4 and row:
            cells = [*map(_cell, (*ODD_NUMBERS, *ODD_FLOATS)), *map(_cell, ODD_TEXTS), "--5", '"']
            row[at] = choices.pick(cells)
        elif deed == 4:
            del row[at:]
        elif deed == 5:
            row[at:at] = row[at : at + 1] * choices.pick([1, 300])
        elif deed == 6:
            rows += [list(row) for _ in range(choices.pick([1, 50]))]
        elif deed == 7:
            row[:] = [choices.pick(["", "x", '"a\nb"', '"' + "z" * 200_000, "\0", "\r"])]
        elif deed == 8:  # few bytes that many cells could be made of
            rows[0] += [f"c{number}" for number in range(choices.pick([10, 3000]))]
            rows += [["x"] for _ in range(choices.pick([1, 3000]))]
        else:
            rows.remove(row)
            rows = rows or [[]]
    ends = choices.pick(["\r\n", "\r\n", "\n", "\r"])
    text = ends.join(",".join(row) for row in rows) + choices.pick([ends, ""])
    return either(text.encode(), choices)


def _cell(value: object) -> str:
    text = str(value) if not isinstance(value, int) or abs(value) < 10**100 else "1" + "0" * 400
    return '"' + text.replace('"', '""') + '"' if {",", '"', "\r", "\n"} & set(text) else text


@cache
def sound_tables() -> tuple[bytes, bytes, bytes]:
    """A summary, its samples, and a history."""
    rows = [{**ROW, "seed": seed} for seed in range(2)]
    samples = [{**SAMPLE, "seed": seed, "round": n} for seed in range(2) for n in range(3)]
    calls = {"phase": "predict", "images": 8, "steps": ""}
    samples += [{**SAMPLE, **calls, "block": block} for block in range(2)]
    history = [
        {**{k: v for k, v in ROW.items() if k in HISTORY_COLUMNS}, "kind": "run", "verdict": "ok"}
    ]
    return (
        table(SUMMARY_COLUMNS, rows),
        table(SAMPLE_COLUMNS, samples),
        table(HISTORY_COLUMNS, history * 3),
    )


def results(choices: Choices) -> dict[str, bytes]:
    """A results folder, of which one file or another is odd."""
    summary, samples, _ = sound_tables()
    which = choices.below(6)
    files = {
        "summary.csv": odd_table(summary, choices) if which in (1, 2) else summary,
        "samples.csv": odd_table(samples, choices) if which in (3, 4) else samples,
        "machine.json": b'{"cpu": "x", "peaks": []}',
        "spec.json": network("first").model_dump_json().encode(),
    }
    if which == 5:
        name = choices.pick(["machine.json", "spec.json"])
        tree = twisted(json.loads(files[name]), choices)
        files[name] = either(deepened(json.dumps(tree), choices).encode(), choices)
    return files


def history(choices: Choices) -> bytes:
    return odd_table(sound_tables()[2], choices)


JOURNAL: list[dict[str, Any]] = [
    {"journal": 1, "run_id": "r", "identity": {"seeds": 1}, "request": {"model": "x"}},
    *(
        {"backend": "torch", "variant": "", "device": "cpu", "seed": seed, "worker": 0,
         "status": "planned"}
        for seed in range(2)
    ),
    {"event": "warmed up", "facts": {"block_steps": 4}},
    {"backend": "torch", "variant": "", "device": "cpu", "seed": 0, "worker": 1, "status": "ok"},
]  # fmt: skip


def journal(choices: Choices) -> bytes:
    if choices.below(8) == 7:
        return choices.rest()
    lines = twisted(tree_of(json.dumps(JOURNAL)), choices)
    if not isinstance(lines, list):
        lines = [lines]
    text = "\n".join(json.dumps(line) for line in lines) + choices.pick(["\n", ""])
    return either(deepened(text, choices).encode(), choices)


@cache
def onnx_content(name: str) -> bytes:
    from harness.exchange.onnx_export import onnx_model

    spec = network(name)
    return bytes(onnx_model(spec, initial_parameters(spec, 0)).SerializeToString())


def onnx_file(choices: Choices) -> bytes:
    """A model whose nodes, sizes, types and places of arrays are not what they were."""
    import onnx

    if choices.below(8) == 7:
        return choices.rest()
    model = onnx.load_model_from_string(onnx_content(choices.pick(["first", "blocks", "norms"])))
    graph = model.graph
    for _ in range(3):
        if not choices.more:
            break
        deed = choices.below(9)
        if not (graph.node and graph.initializer):
            break
        node, array = choices.pick(graph.node), choices.pick(graph.initializer)
        small = choices.pick(ODD_NUMBERS) % 2**63
        if deed == 0:
            node.op_type = choices.pick(["Conv", "Reshape", "Pad", "If", "Loop", "Evil", "Mul"])
        elif deed == 1 and node.attribute:
            attribute = choices.pick(node.attribute)
            attribute.i = small
            attribute.ints[:] = [small] * choices.pick([0, 1, 2, 4, 1000])
        elif deed == 2:
            array.dims[:] = [small % 2**40] * choices.pick([0, 1, 2, 4, 9])
        elif deed == 3:
            array.raw_data = array.raw_data[: choices.below(200)]
        elif deed == 4:
            array.data_type = choices.below(20)
        elif deed == 5:
            array.ClearField("raw_data")
            array.data_location = 1
            place = choices.pick(["../secret", "/etc/passwd", "link", "in.onnx", "", "\0"])
            for key, value in (("location", place), ("offset", small), ("length", small)):
                array.external_data.add(key=key, value=str(value))
        elif deed == 6:
            names = [name for other in graph.node for name in other.output]
            node.input[:] = [choices.pick(names) for _ in node.input]
        elif deed == 7:
            graph.node.extend([node] * choices.pick([1, 50]))
        else:
            value = choices.pick([*graph.input, *graph.output])
            for dim in value.type.tensor_type.shape.dim:
                dim.dim_value = small
    return either(model.SerializeToString(), choices)


KERAS: dict[str, Any] = {
    "class_name": "Sequential",
    "config": {
        "layers": [
            {"class_name": "InputLayer", "config": {"name": "in", "batch_shape": [None, 6, 6, 3]}},
            {"class_name": "Conv2D", "registered_name": None, "config": {
                "name": "conv", "filters": 4, "kernel_size": [3, 3], "strides": [1, 1],
                "padding": "same", "data_format": "channels_last", "dilation_rate": [1, 1],
                "groups": 1, "activation": "relu", "use_bias": True}},
            {"class_name": "MaxPooling2D", "config": {
                "name": "pool", "pool_size": [2, 2], "strides": [2, 2], "padding": "valid",
                "data_format": "channels_last"}},
            {"class_name": "Flatten", "config": {"name": "flat", "data_format": "channels_last"}},
            {"class_name": "Dense", "config": {
                "name": "out", "units": 2, "activation": "softmax", "use_bias": True}},
        ]
    },
}  # fmt: skip
KERAS_GROUPS = {
    "conv2d": [np.ones((3, 3, 3, 4), np.float32), np.zeros(4, np.float32)],
    "dense": [np.ones((36, 2), np.float32), np.zeros(2, np.float32)],
}
LAMBDA = {
    "class_name": "Lambda",
    "config": {
        "name": "code",
        "function": {"class_name": "__lambda__", "config": {"code": "4wA="}},
    },
}


@cache
def keras_weights() -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, arrays in KERAS_GROUPS.items():
            group = file.create_group(f"layers/{name}/vars")
            for number, array in enumerate(arrays):
                group[str(number)] = array
    return buffer.getvalue()


def keras_file(choices: Choices) -> bytes:
    """An archive whose configuration and directory are odd; its weights are taken as they are."""
    if choices.below(10) == 9:
        return choices.rest()
    config = twisted(tree_of(json.dumps(KERAS)), choices)
    deed = choices.below(12)
    if deed == 1 and isinstance(config, dict):
        config = tree_of(json.dumps(KERAS))
        config["config"]["layers"].insert(1, LAMBDA)
    text = deepened(json.dumps(config), choices)
    is_rare = deed in (2, 3) and choices.below(8) == 0  # as it takes long
    if deed == 2 and is_rare:
        text = " " * 5_000_000
    if deed == 3 and is_rare:
        text = "[" + ",".join(["[]"] * 500_000) + "]"
    return zipped({"config.json": text.encode(), "model.weights.h5": keras_weights()}, choices)


@cache
def weights_content() -> bytes:
    from safetensors.numpy import save

    spec = network("first")
    facts = {"format": "cnn-harness weights 1", "spec": spec.model_dump_json()}
    kept = {p.path: p for p in (*infer(spec).parameters, *infer(spec).statistics)}
    parameters = initial_parameters(spec, 0)
    return bytes(save({path: np.float32(parameters[path]) for path in kept}, facts))


def safetensors_file(choices: Choices) -> bytes:
    """Header and arrays, with lies about each."""
    if choices.below(8) == 7:
        return choices.rest()
    content = weights_content()
    (length,) = struct.unpack("<Q", content[:8])
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    if choices.below(3) == 1:
        spec = twisted(json.loads(header["__metadata__"]["spec"]), choices)
        header["__metadata__"]["spec"] = deepened(json.dumps(spec), choices)
    else:
        header = twisted(header, choices)
    text = deepened(json.dumps(header), choices).encode()
    length = len(text)
    if choices.more and choices.below(6) == 0:
        length = choices.pick(ODD_NUMBERS) % 2**64
    return either(struct.pack("<Q", length) + text + body, choices)


def hdf5_file(choices: Choices) -> bytes:
    if choices.below(8) == 7:
        return choices.rest()
    return damaged(keras_weights(), choices)


def put(folder: Path, content: bytes | dict[str, bytes], name: str) -> Path:
    """Write what was made into the folder; return what is to be read."""
    if isinstance(content, bytes):
        (folder / name).write_bytes(content)
        return folder / name
    for key, part in content.items():
        (folder / key).write_bytes(part)
    return folder
