from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from spec_examples import DENSE, toml

from harness.errors import SpecError, UsageError
from harness.spec import library, load_spec


def written(folder: Path, content: bytes, name: str = "own.toml") -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


def test_a_file_is_read_by_its_path(tmp_path):
    assert load_spec(written(tmp_path, toml().encode())).name == "example"
    assert load_spec(written(tmp_path, toml().encode(), "no-suffix")).name == "example"


def test_line_ends_and_a_byte_order_mark_as_editors_write_them_do_not_matter(tmp_path):
    plain = load_spec(written(tmp_path, toml().encode()))
    windows = toml().replace("\n", "\r\n").encode("utf-8-sig")
    assert load_spec(written(tmp_path, windows)) == plain


def test_mistakes_of_any_kind_name_the_file(tmp_path):
    for text in ("name =", "", toml(DENSE)):
        path = written(tmp_path, text.encode())
        with pytest.raises(SpecError) as caught:
            load_spec(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert caught.value.source == path


def test_an_unknown_model_is_answered_with_the_known_ones_and_the_nearest():
    with pytest.raises(UsageError) as caught:
        load_spec("mnist-3conv")
    assert str(caught.value) == (
        f"unknown model 'mnist-3conv'; known: {', '.join(library())}, "
        "a .toml file, or a run's spec.json. "
        "Did you mean 'mnist-2conv'? Try: python -m harness models"
    )


def test_what_a_run_wrote_of_its_model_is_a_model_again(tmp_path):
    path, spec = tmp_path / "spec.json", load_spec("mnist-1conv")
    path.write_text(spec.model_dump_json(), encoding="utf-8")
    assert load_spec(str(path)) == spec
    path.write_text("{", encoding="utf-8")
    with pytest.raises(SpecError, match="no JSON of a spec"):
        load_spec(str(path))


@pytest.mark.parametrize("name", ["", "mnist", "no/such/folder", "a\0", "x" * 5000, "library"])
def test_what_is_neither_a_model_nor_a_file_is_unknown(name):
    with pytest.raises(UsageError, match="unknown model") as caught:
        load_spec(name)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no.toml", "No such file or directory"),
        (".", "Is a directory"),
        ("a\0.toml", "embedded null"),
        ("x" * 5000 + ".toml", "File name too long"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_plainly(name, reason):
    with pytest.raises(UsageError) as caught:
        load_spec(name)
    assert str(caught.value).startswith("cannot read the model file '")
    assert f": {reason}" in str(caught.value)
    assert str(caught.value).endswith(". Try: python -m harness models")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "content", [bytes(range(256)), b"\x89PNG\r\n\x1a\n\xff", toml().encode("utf-16")]
)
def test_a_binary_file_is_no_text(tmp_path, content):
    path = written(tmp_path, content)
    with pytest.raises(UsageError, match="is not text") as caught:
        load_spec(path)
    assert path in str(caught.value)


def test_a_file_of_a_megabyte_is_read_and_not_a_byte_more(tmp_path):
    text = toml().encode()
    fitting = text + b"#" * (1_000_000 - len(text))
    assert load_spec(written(tmp_path, fitting)).name == "example"
    with pytest.raises(UsageError, match="larger than 1000000 bytes"):
        load_spec(written(tmp_path, fitting + b"#"))


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero")
def test_a_device_without_end_is_not_read_to_its_end():
    with pytest.raises(UsageError, match="larger than 1000000 bytes"):
        load_spec("/dev/zero")


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /dev/fd")
def test_a_pipe_is_read():
    reader, writer = os.pipe()
    os.write(writer, toml().encode())
    os.close(writer)
    assert load_spec(f"/dev/fd/{reader}").name == "example"
    os.close(reader)
