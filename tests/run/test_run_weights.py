"""Files of weights: what is written is read again, and nothing else gets through."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from harness.errors import UsageError
from harness.run import weights
from harness.run.weights import read_weights, shapes, write_weights
from harness.spec import initial_parameters, parse_spec

SPEC = parse_spec(
    """
    name = "small"
    input = [6, 6, 1]
    layers = [
      { type = "conv2d", filters = 2, kernel = 3 },
      { type = "batch_norm", decay = 0.9, epsilon = 1e-3 },
      { type = "flatten" },
      { type = "dense", units = 3 },
    ]
    """,
    "small",
)
OTHER = parse_spec(
    """
    name = "other"
    input = [6, 6, 1]
    layers = [{ type = "flatten" }, { type = "dense", units = 3 }]
    """,
    "other",
)
ARRAYS = initial_parameters(SPEC, 7)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    write_weights(path, SPEC, ARRAYS, {"backend": "twin", "seed": "7"})
    return path


def refusal(path: Path, **options: Any) -> str:
    """The one message about a file that is refused."""
    with pytest.raises(UsageError) as caught:
        read_weights(path, **options)
    message = str(caught.value)
    assert str(path) in message
    assert len(message.splitlines()) == 1
    assert len(message) < 600
    return message


def test_what_is_written_is_read_again(path):
    found = read_weights(path)
    assert found.spec == SPEC
    assert list(found.arrays) == list(shapes(SPEC))
    for name, value in ARRAYS.items():
        assert np.array_equal(found.arrays[name], value), name
    assert found.facts["backend"] == "twin"
    assert found.facts["seed"] == "7"
    assert found.facts["spec_hash"] == SPEC.hash
    assert found.facts["harness_version"]


def test_statistics_are_in_it_and_names_are_paths(path):
    assert set(load_file(path)) == {
        *("conv1.kernel", "conv1.bias", "dense1.kernel", "dense1.bias"),
        *("bn1.scale", "bn1.offset", "bn1.mean", "bn1.variance"),
    }


def test_of_layers_within_layers_names_are_whole_paths(tmp_path):
    spec = parse_spec(
        """
        name = "deep"
        input = [4, 4, 1]
        layers = [
          { type = "sequence", name = "stage1", repeat = 2, layers = [
            { type = "residual", body = [{ type = "conv2d", filters = 1, kernel = 1 }] },
          ] },
          { type = "flatten" },
          { type = "dense", units = 3 },
        ]
        """,
        "deep",
    )
    arrays = initial_parameters(spec, 0)
    write_weights(tmp_path / "deep", spec, arrays, {})
    found = read_weights(tmp_path / "deep")
    assert found.spec == spec
    assert found.facts["spec_hash"] == found.spec.hash
    assert max(name.count(".") for name in found.arrays) > 2
    assert found.arrays.keys() == arrays.keys()


def test_float64_stays_float64(tmp_path):
    double = {name: value.astype(np.float64) / 3 for name, value in ARRAYS.items()}
    write_weights(tmp_path / "double", SPEC, double, {})
    found = read_weights(tmp_path / "double").arrays
    assert all(np.array_equal(found[name], value) for name, value in double.items())
    assert found["conv1.kernel"].dtype == np.float64


def test_an_array_that_is_a_view_is_written_in_its_order(tmp_path):
    views = {name: np.asfortranarray(value) for name, value in ARRAYS.items()}
    write_weights(tmp_path / "views", SPEC, views, {})
    kernel = read_weights(tmp_path / "views").arrays["dense1.kernel"]
    assert np.array_equal(kernel, ARRAYS["dense1.kernel"])


def test_a_file_is_replaced_whole_or_stays_as_it_was(path, monkeypatch):
    before = path.read_bytes()

    def full(arrays, name, metadata):
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(UsageError, match=r"cannot write .*No space left"):
        write_weights(path, SPEC, ARRAYS, {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_others_may_read_it_as_any_file(path):
    plain = path.with_name("plain")
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_the_spec_may_be_given_instead_of_the_files(path):
    changed = SPEC.model_copy(update={"name": "renamed"})
    assert read_weights(path, changed).spec is changed


def test_weights_of_another_network_are_refused_by_name(path):
    said = refusal(path, spec=OTHER)
    assert "does not fit model 'other', which has no 'bn1.mean', 'bn1.offset'" in said
    assert "and 3 more" in said


Header = dict[str, Any]


def altered(path: Path, change: Callable[[Header], object]) -> Path:
    """Change the header of a file, and leave its arrays."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    return raw(path, json.dumps(header).encode(), content[8 + length :])


def raw(path: Path, header: bytes, rest: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + rest)
    return path


HEADERS = {
    "does not fit model 'small': it lacks 'conv1.bias'": lambda h: h.update(
        {"conv9.bias": h.pop("conv1.bias")}
    ),
    "conv1.bias has the shape [1, 2], the model's has [2]": lambda h: h["conv1.bias"].update(
        shape=[1, 2]
    ),
    "conv1.bias is of type I32; allowed: F32, F64": lambda h: h["conv1.bias"].update(dtype="I32"),
    "damaged, or no safetensors file": lambda h: h["conv1.bias"].update(shape=[2**62, 2**62]),
    "unknown variant": lambda h: h["conv1.bias"].update(dtype="X\n" * 1000),
    "holds no spec of its network": lambda h: h.pop("__metadata__"),
    "no JSON of a spec": lambda h: h["__metadata__"].update(spec="{"),
    "its spec is not valid: no JSON": lambda h: h["__metadata__"].update(spec="[" * 100_000),
    "its spec is not valid: name: is missing": lambda h: h["__metadata__"].update(spec="{}"),
    "its spec is longer": lambda h: h["__metadata__"].update(spec=" " * 5_000_000),
    "input[0]: 0 should be": lambda h: h["__metadata__"].update(
        spec=h["__metadata__"]["spec"].replace("[6,6,1]", "[0,6,1]")
    ),
    "is larger than its input": lambda h: h["__metadata__"].update(
        spec=h["__metadata__"]["spec"].replace("[6,6,1]", "[2,2,1]")
    ),
}


@pytest.mark.parametrize("message", HEADERS)
def test_a_header_that_does_not_fit_gives_one_clear_error(path, message):
    assert message in refusal(altered(path, HEADERS[message]))


def test_a_name_too_many_gives_one_clear_error(path):
    arrays = {**load_file(path), "evil\nname" + "x" * 500: np.zeros(3, np.float32)}
    save_file(arrays, path, {"spec": SPEC.model_dump_json()})
    assert "which has no 'evil\\nname" in refusal(path)


BYTES = {
    "nothing": b"",
    "a word": b"hello",
    "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00" + bytes(50),
    "a header longer than the file": struct.pack("<Q", 10**9) + b"{}",
    "a header longer than all memory": struct.pack("<Q", 2**63 + 1) + b"{}",
    "a header that is no JSON": struct.pack("<Q", 5) + b"NaN{}",
    "a NaN in the header": struct.pack("<Q", 9) + b'{"a":NaN}',
    "a header nested without end": struct.pack("<Q", 99_999) + b"[" * 99_999,
    "a header that is no text": struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc",
}


@pytest.mark.parametrize("content", BYTES.values(), ids=BYTES)
def test_bytes_that_are_no_weights_give_one_clear_error(tmp_path, content):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    assert "damaged, or no safetensors file" in refusal(path)


def test_a_file_cut_short_anywhere_gives_one_clear_error(path):
    content = path.read_bytes()
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        assert "damaged" in refusal(path)


def test_a_file_with_a_tail_gives_one_clear_error(path):
    path.write_bytes(path.read_bytes() + b"more")
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(path, value):
    broken = {**ARRAYS, "bn1.mean": np.full(2, value, np.float32)}
    write_weights(path, SPEC, broken, {})
    assert "bn1.mean holds values that are not finite" in refusal(path)


def test_what_is_no_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("nowhere", "pipe", "."):
        assert "no such file of weights" in refusal(tmp_path / name)
    assert "no such file of weights" in refusal(Path("/dev/zero"))


def test_random_damage_to_a_header_is_refused_or_harmless(path):
    """What is read in spite of it has the names, shapes and finite values that the spec wants."""
    content, random = path.read_bytes(), np.random.default_rng(0)
    (length,) = struct.unpack("<Q", content[:8])
    for _ in range(500):
        damaged = bytearray(content)
        for place in random.integers(0, 8 + length, 2):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        try:
            found = read_weights(path)
        except UsageError:
            continue
        assert {name: array.shape for name, array in found.arrays.items()} == shapes(found.spec)
