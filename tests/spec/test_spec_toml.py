from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_examples import FLATTEN, dense, problem, problems, toml

from harness.errors import SpecError
from harness.spec import parse_spec
from harness.spec.blocks import LAYER_TYPES

BROKEN = {
    "no value": "name =\n",
    "the same key twice": 'name = "a"\nname = "b"\n',
    "no TOML at all": "#!/bin/sh\necho $((1 + 1))\n",
    "JSON": '{"name": "a"}',
    "a NUL": "\0",
    "an unclosed string": 'name = "a\n',
    "a table over a value": 'name = "a"\n[name]\n',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_broken_toml_is_one_mistake_with_its_place(text):
    line = problem(text)
    assert line.startswith("not valid TOML: ")
    assert "(at line " in line or "(at end of document)" in line


@pytest.mark.parametrize("text", ["x = " + "[" * 5000 + "]" * 5000, "x" + ".x" * 5000 + " = 1"])
def test_deep_nesting_is_refused(text):
    assert problem(text) == "not valid TOML: nested too deeply"


@pytest.mark.parametrize("start", ["layers", "input", "training", "name"])
def test_nesting_of_any_depth_is_refused_in_a_short_line(start):
    for depth in range(1, 600, 29):
        for text in (f"{start} = {'[' * depth}{']' * depth}\n", f"{start}{'.a' * depth} = 1\n"):
            assert all(len(line) < 200 for line in problems(text))


def units(value: str) -> str:
    return toml(FLATTEN, f"[[layers]]\ntype = 'dense'\nunits = {value}\n")


@pytest.mark.parametrize(
    "value", ["9223372036854775808", "-9223372036854775809", "0x" + "f" * 5000]
)
def test_an_integer_beyond_what_toml_allows_is_refused_by_its_path(value):
    line = "an integer of more than 64 bits, which TOML has not"
    assert problem(units(value)) == f"layers[1].units: {line}"
    assert problems(f"x = [1, {value}]\n" + units(value)) == [
        f"x[1]: {line}",
        f"layers[1].units: {line}",
    ]


def test_an_integer_of_thousands_of_digits_is_refused():
    assert problem(units("9" * 5000)) == "not valid TOML: an integer of more than 64 bits"


def test_the_largest_integer_of_toml_is_only_out_of_range():
    line = problem(dense(units=2**63 - 1))
    assert line == "layers[1].units: 9223372036854775807 should be less than or equal to 1000000"


VALUES = st.recursive(
    st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5)
    | st.sampled_from([*LAYER_TYPES, "adam", "sgd", "relu", "same", "valid", "softmax"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        "type name filters kernel stride size padding units rate function activation bias x".split()
    ),
    VALUES,
    max_size=5,
)


def table(fields: dict[str, object]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())


@given(layers=st.lists(FIELDS, max_size=3), training=FIELDS, optimizer=FIELDS)
def test_whatever_a_file_says_it_is_read_or_refused_and_nothing_worse(layers, training, optimizer):
    text = toml(
        *(f"[[layers]]\n{table(fields)}" for fields in layers),
        training=f"[training]\n{table(training)}[training.optimizer]\n{table(optimizer)}",
    )
    try:
        parse_spec(text, "example.toml")
    except SpecError as error:
        assert error.problems
        assert all(line and "\n" not in line for line in error.problems)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_and_nothing_worse(text):
    with pytest.raises(SpecError):
        parse_spec(text, "example.toml")
