from __future__ import annotations

import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_examples import DENSE, FLATTEN, dense, layer, parse, problem, problems, toml

from harness.spec.names import RESERVED


@pytest.mark.parametrize(
    "name", ["Dense", "1st", "a-b", "a b", "", "_x", "é", "a\n", "a" * 65, "x;y"]
)
def test_a_layer_is_named_in_small_letters_digits_and_underscores(name):
    line = problem(dense(name=name))
    assert line.startswith("layers[1].name: ")
    assert line.endswith("should match pattern '^[a-z][a-z0-9_]{0,63}$'")


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789_", max_size=63).map("a".__add__))
def test_any_other_name_is_accepted_unless_it_is_reserved(name):
    taken = name in RESERVED or keyword.iskeyword(name) or name.endswith(("_kernel", "_bias"))
    if not taken:
        assert parse(FLATTEN, layer("dense", units=2, name=name)).layers[1].name == name


WORDS = sorted(RESERVED | {word for word in keyword.kwlist if word.islower()})


def test_a_name_that_generated_source_needs_is_reserved():
    for name in [*WORDS, "match", "case"]:
        assert problem(dense(name=name)) == (
            f"layers[1].name: {name!r} is a reserved word; "
            "any other lower-case identifier is allowed"
        )


@pytest.mark.parametrize("role", ["kernel", "bias", "scale", "offset", "mean", "variance"])
def test_a_name_is_not_that_of_a_parameter_in_generated_source(role):
    name = f"a_{role}"
    assert problem(dense(name=name)) == (
        f"layers[1].name: {name!r} ends like the name of a parameter; allowed: not in _{role}"
    )
    assert parse(FLATTEN, layer("dense", units=2, name=f"{name}ed")).layers[1].name == f"{name}ed"


@pytest.mark.parametrize("name", ["Example", "my model", "../x", "-x", "", "a_b", "a" * 65, "a\n"])
def test_a_spec_is_named_in_small_letters_digits_and_hyphens(name):
    line = problem(toml(name=name))
    assert line.startswith("name: ")
    assert line.endswith("should match pattern '^[a-z0-9][a-z0-9-]{0,63}$'")


def test_each_layer_that_takes_anothers_name_is_a_mistake():
    named = [layer("dense", units=2, name=name) for name in ("a", "b", "a", "b", "a")]
    assert problems(toml(FLATTEN, *named)) == [
        "layers[3].name: 'a' is the name of layers[1] too; names must be unique",
        "layers[4].name: 'b' is the name of layers[2] too; names must be unique",
        "layers[5].name: 'a' is the name of layers[1] too; names must be unique",
    ]


def test_a_name_that_an_unnamed_layer_gets_is_taken():
    assert problem(toml(FLATTEN, layer("dense", units=2, name="dense2"), DENSE)) == (
        "layers[2].name: 'dense2' is the name of layers[1] too; names must be unique"
    )
