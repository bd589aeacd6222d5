"""`harness init`: what it writes is valid, says all that is allowed, and replaces nothing."""

from __future__ import annotations

import re
import shlex
import tomllib
from importlib import resources
from pathlib import Path
from typing import get_args

import pytest

from harness import data
from harness.run.plan import check_images
from harness.spec import infer, library, load_spec, parse_spec
from harness.spec.blocks import LAYER_TYPES
from harness.spec.initializers import Scheme
from harness.spec.layers import Activation
from harness.spec.start import name_from, starting_spec, typed_as
from harness.spec.training import OPTIMIZER_TYPES, SCHEDULE_TYPES, LossName

TEXT = starting_spec("my-net")
OFF = re.compile(r"#([a-z]\w* = .*|\[[a-z.]+\].*)")  # a field or a table behind a # without a space
EXAMPLES = re.findall(r"^#   (\{type = .*\})$", TEXT, re.MULTILINE)
WORDS = {*LAYER_TYPES, *OPTIMIZER_TYPES, *SCHEDULE_TYPES, *get_args(LossName)}
WORDS |= {*get_args(Activation), *get_args(Scheme)}


def switches() -> list[list[int]]:
    """Lines that can be switched on: one field each, or a whole table."""
    found: list[list[int]] = []
    in_table = False
    for number, line in enumerate(TEXT.splitlines()):
        is_off = OFF.fullmatch(line)
        if is_off and in_table:
            found[-1].append(number)
        elif is_off:
            found.append([number])
        in_table = bool(is_off) and (in_table or line.startswith("#["))
    return found


def test_what_is_written_is_a_valid_network_and_the_next_command_is_said(harness, here):
    said = harness("init", "my-net.toml")
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        "Wrote my-net.toml. Next: python -m harness run --model my-net.toml --dataset digits\n"
    )
    spec = load_spec("my-net.toml")
    assert spec.name == "my-net"
    check_images(spec, infer(spec).output_shape[0], data.load("digits"))


@pytest.mark.parametrize("lines", switches(), ids=lambda lines: TEXT.splitlines()[lines[0]][:30])
def test_each_field_that_is_left_out_can_be_switched_on(lines):
    written = TEXT.splitlines()
    for number in lines:
        written[number] = written[number].removeprefix("#")
    changed = parse_spec("\n".join(written), "changed")
    assert changed
    assert tomllib.loads("\n".join(written)) != tomllib.loads(TEXT)


def test_there_are_fields_to_switch_on():
    assert len(switches()) >= 20


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_in_it_is_valid_where_it_belongs(example):
    kind = tomllib.loads(f"x = {example}")["x"]["type"]
    if kind in LAYER_TYPES:
        is_flat = "dense" in example
        before = '{type = "flatten"}, {type = "dense", units = 64},' if is_flat else ""
        after = "" if is_flat or "global" in kind else '{type = "flatten"},'
        layers = f'layers = [{before} {example}, {after} {{type = "dense", units = 2}}]'
        assert parse_spec(f'name = "x"\ninput = [8, 8, 4]\n{layers}', example)
    else:
        field = "optimizer" if kind in OPTIMIZER_TYPES else "schedule"
        layers = 'layers = [{type = "flatten"}, {type = "dense", units = 2}]'
        text = f'name = "x"\ninput = [8, 8, 1]\n{layers}\n[training]\n{field} = {example}'
        assert getattr(parse_spec(text, example).training, field).type == kind


def test_every_word_that_is_allowed_is_in_it():
    assert len(EXAMPLES) >= 14
    assert [word for word in sorted(WORDS) if not re.search(rf"\b{word}\b", TEXT)] == []


def test_every_field_of_a_spec_is_in_it():
    from harness.spec import blocks, layers, model, training

    kinds = [training.Training, training.Augment, model.Spec]
    for module in (layers, blocks, training):
        kinds += [k for k in vars(module).values() if "type" in getattr(k, "model_fields", ())]
    fields = {field for kind in kinds for field in kind.model_fields}
    assert [name for name in sorted(fields) if not re.search(rf"\b{name}\b", TEXT)] == []


@pytest.mark.parametrize("model", library())
def test_a_model_of_the_library_is_written_under_the_name_of_the_file(harness, here, model):
    said = harness("init", "Mine_2.toml", "--model", model)
    assert said.code == 0
    mine, theirs = load_spec("Mine_2.toml"), load_spec(model)
    assert mine.name == "mine-2"
    assert mine.model_copy(update={"name": model}) == theirs
    command = shlex.split(said.out.partition("Next: ")[2])
    assert command[:3] == ["python", "-m", "harness"]
    if "--dataset" in command:
        assert tuple(mine.input) in [(28, 28, 1), shape_of(command[-1])]


def shape_of(dataset: str) -> tuple[int, ...]:
    return tuple(map(int, dataset.split(":")[1].split("x"))) if ":" in dataset else ()


@pytest.mark.parametrize(
    ("model", "dataset"),
    [("resnet-20", "synthetic:32x32x3:10:2048"), ("m5", "synthetic:32000x1:10:2048")],
)
def test_the_data_that_are_named_for_another_shape_fit_it(harness, model, dataset):
    command = shlex.split(harness("init", "r.toml", "--model", model).out)
    assert command[-1] == dataset
    spec, (start, _, _) = load_spec("r.toml"), command[-1].rpartition(":")
    check_images(spec, infer(spec).output_shape[0], data.load(f"{start}:10"))  # of fewer


def test_a_file_that_is_there_is_replaced_by_force_only(harness, here):
    Path("my-net.toml").write_text("mine")
    said = harness("init")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "error: my-net.toml is there already. Try: another name, or --force to replace it\n"
    )
    assert Path("my-net.toml").read_text() == "mine"
    assert harness("init", "--force").code == 0
    assert load_spec("my-net.toml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("net",), "error: net: allowed: a file that ends in .toml. Try: python -m harness init"),
        (("nowhere/net.toml",), "cannot write nowhere/net.toml: no folder to write to: nowhere"),
        (("--model", "resnet-21"), "unknown model 'resnet-21'"),
        (("--model", "resnet-21"), "Did you mean 'resnet-20'?"),
        (("--model", "resnet-20", "--config"), "--config and --model: give one of the two"),
    ],
)
def test_what_cannot_be_written_is_one_message_and_leaves_nothing(
    harness, here, arguments, message
):
    said = harness("init", *arguments)
    assert said.code == 2
    assert message in said.err
    assert list(here.glob("**/*.toml")) == []


@pytest.mark.parametrize(
    ("stem", "name"), [("my-net", "my-net"), ("My Net", "my-net"), ("__", "my-net"), ("9", "9")]
)
def test_a_name_is_made_of_any_file_s(stem, name):
    assert name_from(stem) == name
    assert parse_spec(starting_spec(name), "x").name == name


def test_what_is_typed_for_a_name_is_the_library_s_model_or_the_file_that_init_wrote(here, harness):
    harness("init", "first-net.toml")
    for typed in ("first-net.toml", "resnet-20"):
        assert typed_as(load_spec(typed).name) == typed


def test_the_file_ships_with_the_package():
    assert (resources.files("harness.spec") / "start.toml").is_file()
