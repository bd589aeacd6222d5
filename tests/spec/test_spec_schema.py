"""The JSON Schema accepts what the reader accepts, and refuses with it what it can express."""

from __future__ import annotations

import json
import tomllib
from importlib import resources

import jsonschema
import pytest
from spec_examples import ADAM, CONV, DENSE, FLATTEN, POOL, SGD, conv, dense, layer, problems, toml

from harness.cli import main
from harness.spec import library, parse_spec
from harness.spec.schema import spec_schema
from harness.testing.networks import FOLDER

SCHEMA = jsonschema.Draft202012Validator(spec_schema())
NETWORKS = sorted(FOLDER.glob("*.toml"))


def accepts(text: str) -> bool:
    return SCHEMA.is_valid(tomllib.loads(text))


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(spec_schema())


@pytest.mark.parametrize("name", library())
def test_every_model_of_the_library_is_valid(name):
    text = (resources.files("harness.spec") / "library" / f"{name}.toml").read_text()
    SCHEMA.validate(tomllib.loads(text))


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_every_network_of_the_backends_tests_is_valid(path):
    SCHEMA.validate(tomllib.loads(path.read_text()))


GOOD = {
    "no name, no padding": conv(),
    "a name": conv(name="first"),
    "a kernel of two": conv(kernel=[3, 5]),
    "padding as a word": conv(padding="same"),
    "padding in pixels": conv(padding=1),
    "padding by axis": conv(padding=[1, 0]),
    "padding by side": conv(padding=[[1, 0], [0, 1]]),
    "padding by axis and side": conv(padding=[[1, 0], 2]),
    "a stride of one number": toml(layer("max_pool", size=2, stride=1), FLATTEN, DENSE),
    "a pool without a stride": toml(CONV, POOL, FLATTEN, DENSE),
    "an integer where a number may be": toml(training=SGD.replace("0.1", "1")),
    "a schedule": toml(training='[training.schedule]\ntype = "step"\nepochs = [1, 2.5]\n'),
    "clipped gradients": toml(training="[training]\nclip_norm = 1.0\n"),
    "a description": toml(head='description = "An example"'),
    "an optimizer without fields": toml(training=ADAM),
    "kernels of zeros": toml(head='initializer = "zeros"'),
    "kernels of a constant": toml(head='initializer = {type = "constant", value = 0.5}'),
    "biases of a constant": toml(head='bias_initializer = {type = "constant", value = 1}'),
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_every_form_that_the_reader_takes_is_valid(text):
    parse_spec(text, "example.toml")
    SCHEMA.validate(tomllib.loads(text))


BAD = {
    "an unknown field": conv(filter=3),
    "an unknown field of the spec": toml(head="epochs = 3"),
    "an unknown field of the training": toml(training="[training]\nepoch = 3\n"),
    "a missing field": toml(layer("conv2d", filters=3), FLATTEN, DENSE),
    "a layer without a type": toml("[[layers]]\nunits = 10\n"),
    "an optimizer without a type": toml(training="[training.optimizer]\nlearning_rate = 0.1\n"),
    "a schedule without a type": toml(training="[training.schedule]\nfinal = 0.1\n"),
    "an unknown layer": toml(layer("conv4d", filters=3, kernel=3), FLATTEN, DENSE),
    "an unknown optimizer": toml(training='[training.optimizer]\ntype = "adagrad"\n'),
    "an unknown activation": dense(activation="swish"),
    "an unknown loss": toml(training='[training]\nloss = "hinge"\n'),
    "an unknown initializer": toml(head='initializer = "ones"'),
    "a constant without its value": toml(head='initializer = {type = "constant"}'),
    "a constant without its type": toml(head="initializer = {value = 1.0}"),
    "drawn biases": toml(head='bias_initializer = "he_normal"'),
    "no layers": 'name = "example"\ninput = [8, 8, 1]\nlayers = []\n',
    "no input": 'name = "example"\n' + FLATTEN + DENSE,
    "an input of one size": toml(size=[8]),
    "an input of size zero": toml(size=[0, 8, 1]),
    "a number below its range": conv(filters=0),
    "a number above its range": conv(filters=1_000_001),
    "a share of one": toml(FLATTEN, layer("dropout", rate=1.0), DENSE),
    "a rate of zero": toml(training=SGD.replace("0.1", "0.0")),
    "a string for a number": dense(units="10"),
    "true for a number": dense(units=True),
    "a fraction for an integer": dense(units=10.5),
    "a number for true": dense(bias=1),
    "a number for a string": toml(name=3),
    "a kernel of three": conv(kernel=[3, 3, 3]),
    "a kernel of zero": conv(kernel=0),
    "a kernel in words": conv(kernel="3x3"),
    "an unknown padding": conv(padding="full"),
    "a negative padding": conv(padding=-1),
    "a padding of three": conv(padding=[1, 1, 1]),
    "a padding nested too deeply": conv(padding=[[[1, 1], [1, 1]], [1, 1]]),
    "a name with capitals": conv(name="First"),
    "a reserved name": conv(name="forward"),
    "a keyword for a name": conv(name="class"),
    "a name that ends in a role": conv(name="my_kernel"),
    "a name that begins as a branch's": conv(name="branch1_conv"),
    "a name that begins as a shortcut's": conv(name="shortcut"),
    "a spec's name with spaces": toml(name="my net"),
    "a long description": toml(head=f'description = "{"x" * 501}"'),
    "a schedule without epochs": toml(training='[training.schedule]\ntype = "step"\nepochs = []\n'),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_mistake_that_a_schema_can_express_is_refused_by_schema_and_reader(text):
    assert problems(text)
    assert not accepts(text)


def test_a_mistake_is_found_where_it_is():
    inner = '{ type = "conv2d", filters = 2, kernel = 0, padding = 1 }'
    (error,) = SCHEMA.iter_errors(tomllib.loads(blocks(inner)))
    place = ["layers", 0, "layers", 0, "body", 0, "branches", 1, 0, "kernel"]
    assert list(error.absolute_path) == place
    (error,) = SCHEMA.iter_errors(tomllib.loads(conv().replace("conv2d", "conv4d")))
    assert list(error.absolute_path) == ["layers", 0, "type"]


def test_docstrings_are_its_descriptions():
    assert SCHEMA.schema["$defs"]["MaxPool"]["description"].startswith("Maximum over windows")
    assert SCHEMA.schema["description"].startswith("One network and its training")
    lacking = [
        name
        for name, part in SCHEMA.schema["$defs"].items()
        if part.get("type") == "object" and not part.get("description")
    ]
    assert lacking == []


def test_what_it_gives_as_a_default_is_valid():
    schema = spec_schema()
    found = 0
    for part in (schema, *schema["$defs"].values()):
        for field in part.get("properties", {}).values():
            if "default" in field:
                found += 1
                whole = {**field, "$defs": schema["$defs"]}
                jsonschema.Draft202012Validator(whole).validate(field["default"])
    assert found > 20


def blocks(inner: str) -> str:
    """A file with a block of each kind around one layer, given as an inline table."""
    return toml(f"""
[[layers]]
type = "sequence"
repeat = 2
layers = [{{ type = "residual", body = [
  {{ type = "concat", branches = [[], [{inner}]] }},
  {{ type = "conv2d", filters = 1, kernel = 1 }},
] }}]
""", FLATTEN, DENSE)  # fmt: skip


def test_layers_within_layers_are_described_to_any_depth():
    good = blocks('{ type = "conv2d", filters = 2, kernel = 3, padding = 1 }')
    parse_spec(good, "example.toml")
    SCHEMA.validate(tomllib.loads(good))
    for wrong in (
        '{ type = "conv2d", kernel = 3, padding = 1 }',
        '{ type = "conv2d", filters = 2, kernel = [3], padding = 1 }',
        '{ type = "conv2d", filters = 2, kernel = 3, padding = 1, stide = 1 }',
        '{ type = "sequence", layers = [] }',
        "{ filters = 2, kernel = 3, padding = 1 }",
    ):
        assert problems(blocks(wrong))
        assert not accepts(blocks(wrong)), wrong


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["schema", *arguments])
    return int(end.value.code or 0)


def test_the_command_prints_it_or_writes_it(tmp_path, capsys):
    assert run() == 0
    assert json.loads(capsys.readouterr().out) == spec_schema()
    assert run("-o", str(tmp_path / "spec.schema.json")) == 0
    assert json.loads((tmp_path / "spec.schema.json").read_text()) == spec_schema()


def test_a_place_that_cannot_be_written_to_is_one_clear_error(tmp_path, capsys):
    assert run("-o", str(tmp_path / "nowhere" / "spec.schema.json")) == 2
    assert capsys.readouterr().err.startswith("error: cannot write ")
