"""Blocks: what they are called, what they hold, and what is refused."""

from __future__ import annotations

import json

import pytest
from spec_examples import DENSE, FLATTEN, parse, problem, problems, toml

from harness.spec import infer, parse_spec, spec_from_json
from harness.spec.blocks import MAX_DEPTH

CONV = {"type": "conv2d", "filters": 4, "kernel": 3, "padding": "same"}
BN = {"type": "batch_norm", "decay": 0.9, "epsilon": 1e-5}
POOL = {"type": "global_avg_pool"}
LAST = {"type": "dense", "units": 3}


def inline(value: object) -> str:
    """A value as TOML writes it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    return json.dumps(value)


def net(*layers: dict) -> str:
    return f'name = "net"\ninput = [8, 8, 4]\nlayers = {inline([*layers, POOL, LAST])}\n'


def paths(*layers: dict) -> list[str]:
    """Those of all nodes but the pool and the dense layer at the end."""
    return [node.path for node in infer(parse_spec(net(*layers), "net")).nodes][:-2]


def residual(*body: dict, **fields: object) -> dict:
    return {"type": "residual", **fields, "body": list(body) or [CONV]}


def sequence(*layers: dict, **fields: object) -> dict:
    return {"type": "sequence", **fields, "layers": list(layers)}


def concat(*branches: list, **fields: object) -> dict:
    return {"type": "concat", **fields, "branches": list(branches)}


def test_layers_inside_a_block_are_named_within_it():
    assert paths(residual(CONV, BN, CONV), residual(CONV)) == [
        "block1.conv1",
        "block1.bn1",
        "block1.conv2",
        "block2.conv1",
    ]


def test_a_shortcut_s_layers_and_a_branch_s_have_its_name_in_their_paths():
    assert paths(residual(CONV, shortcut=[CONV, BN])) == [
        "block1.conv1",
        "block1.shortcut.conv1",
        "block1.shortcut.bn1",
    ]
    assert paths(concat([], [CONV], [BN, CONV], name="wide")) == [
        "wide.branch2.conv1",
        "wide.branch3.bn1",
        "wide.branch3.conv1",
    ]


def test_a_squeeze_excite_is_a_pool_and_two_dense_layers():
    text = net({"type": "squeeze_excite", "units": 2, "activation": "silu"})
    nodes = infer(parse_spec(text, "net")).nodes[:-2]
    assert [(n.path, n.output_shape, n.activation) for n in nodes] == [
        ("se1.pool", (4,), "linear"),
        ("se1.reduce", (2,), "silu"),
        ("se1.expand", (4,), "sigmoid"),
    ]


def test_a_named_block_that_is_repeated_is_a_sequence_of_that_name():
    assert paths(residual(CONV, BN, name="stage1", repeat=2)) == [
        "stage1.0.conv1",
        "stage1.0.bn1",
        "stage1.1.conv1",
        "stage1.1.bn1",
    ]


def test_in_a_sequence_of_blocks_those_without_a_name_are_numbered_repeats_and_all():
    down = residual({**CONV, "stride": 2}, shortcut=[{**CONV, "stride": 2}])
    stage = sequence(down, residual(CONV, repeat=2), residual(CONV), name="stage2")
    assert paths(stage) == [
        "stage2.0.conv1",
        "stage2.0.shortcut.conv1",
        "stage2.1.conv1",
        "stage2.2.conv1",
        "stage2.3.conv1",
    ]


def test_each_copy_of_a_repeated_block_takes_what_the_one_before_returns():
    text = net(concat([], [CONV], name="dense", repeat=3))
    network = infer(parse_spec(text, "net"))
    kernels = [p.shape for p in network.parameters if p.path.startswith("dense.")][::2]
    assert kernels == [(3, 3, 4, 4), (3, 3, 8, 4), (3, 3, 12, 4)]
    assert network.output_shape == (3,)
    assert network.parameters[-2].shape == (16, 3)


def test_a_spec_survives_being_written_as_json_names_and_hash_alike():
    stage = sequence(residual(CONV), residual(CONV, repeat=2), name="stage1")
    spec = parse_spec(net(stage, concat([], [CONV])), "net")
    again = spec_from_json(spec.model_dump_json())
    assert again == spec
    assert again.hash == spec.hash
    assert [n.path for n in infer(again).nodes] == [n.path for n in infer(spec).nodes]


MISTAKES = {
    "a field deep inside": (
        net(residual(CONV, {**CONV, "filters": 0})),
        "layers[0].body[1].filters: 0 should be greater than or equal to 1",
    ),
    "a field in a branch": (
        net(concat([], [CONV, {**CONV, "padding": "full"}])),
        "layers[0].branches[1][1].padding: 'full' should be 'same', 'valid', a number of pixels "
        "from 0 to 1024, [rows, columns] or [[top, bottom], [left, right]]",
    ),
    "an unknown field of a block": (
        net(residual(CONV, short=[])),
        "layers[0].short: unknown field; allowed: activation, body, family, name, repeat, "
        "shortcut, type. Did you mean 'shortcut'?",
    ),
    "a shortcut of another shape": (
        net(residual({**CONV, "filters": 5})),
        "layers[0] 'block1': its body ends in (8, 8, 5), its shortcut in (8, 8, 4); "
        'add a "shortcut" of its own layers',
    ),
    "a shortcut of its own of another shape": (
        net(residual({**CONV, "filters": 5}, shortcut=[{**CONV, "stride": 2, "filters": 5}])),
        "layers[0] 'block1': its body ends in (8, 8, 5), its shortcut in (4, 4, 5); "
        "give them the same shape",
    ),
    "branches of other sizes": (
        net(concat([CONV], [{**CONV, "stride": 2}])),
        "layers[0] 'block1': its branches end in (8, 8, 4), (4, 4, 4); all but the channels "
        "must agree",
    ),
    "a kernel too large in the second copy": (
        net(sequence({**CONV, "padding": "valid", "kernel": 5}, name="stage1", repeat=3)),
        "layers[0].layers[0] 'stage1.1.conv1': kernel = [5, 5] is larger than its input of 4x4 "
        'pixels; use a smaller one, or padding = "same"',
    ),
    "a name twice in one list": (
        net(residual({**CONV, "name": "a"}, {**CONV, "name": "a"})),
        "layers[0].body[1].name: 'a' is the name of layers[0].body[0] too; names must be unique",
    ),
    "a name of a branch": (
        net(residual({**CONV, "name": "shortcut_conv1"})),
        "layers[0].body[0].name: 'shortcut_conv1' begins like the name of a branch; allowed: not "
        "shortcut..., branch1...",
    ),
    "a softmax inside": (
        net(residual({**CONV, "activation": "softmax"})),
        "layers[0].body[0] 'conv1': softmax does not belong inside a block; allowed: as the last "
        "layer of all",
    ),
    "a softmax after the sum": (
        net(residual(activation="softmax")),
        "layers[0].activation: 'softmax' does not belong inside a block; allowed: as the last "
        "layer of all",
    ),
    "no body": (
        net({"type": "residual", "body": []}),
        "layers[0].body: [] is empty; allowed: one layer or more",
    ),
    "one branch": (
        net(concat([CONV])),
        "layers[0].branches: [[{name = 'conv1', type = 'conv2d', filters = 4, kernel =... "
        "has fewer than two branches; allowed: two or more",
    ),
    "a repeat of none": (
        net(residual(repeat=0)),
        "layers[0].repeat: 0 should be greater than or equal to 1",
    ),
}


@pytest.mark.parametrize(("text", "line"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_inside_a_block_is_one_line_with_its_place(text, line):
    assert problem(text) == line


def test_every_mistake_of_a_file_is_reported_at_once_at_any_depth():
    bad = residual({**CONV, "filters": 0}, {"type": "conv"}, shortcut=[{**BN, "decay": 2.0}])
    assert [line.partition(":")[0] for line in problems(net(bad, {**CONV, "kernel": 0}))] == [
        "layers[0].body[0].filters",
        "layers[0].body[1].type",
        "layers[0].shortcut[0].decay",
        "layers[1].kernel",
    ]


def test_repeats_within_repeats_that_would_never_end_are_refused_at_once():
    layer = CONV
    for _ in range(6):
        layer = sequence(layer, repeat=1000)
    (line,) = problems(net(layer))
    assert line.startswith("layers: there are 2001001001001001002")
    assert line.endswith("allowed: 1 to 2000")


def test_blocks_nested_beyond_the_limit_are_refused():
    layer = CONV
    for _ in range(MAX_DEPTH + 1):
        layer = sequence(layer)
    assert problem(net(layer)) == (
        f"layers: blocks within blocks, more than {MAX_DEPTH} deep; nest less"
    )
    hundreds = "[{type = 'sequence', layers = " * 300 + "[]" + "}]" * 300
    assert len(problems(f'name = "net"\ninput = [8, 8, 4]\nlayers = {hundreds}\n')) == 1


def test_the_array_of_tables_form_of_toml_nests_too():
    text = toml(
        '[[layers]]\ntype = "residual"\n'
        '[[layers.body]]\ntype = "conv2d"\nfilters = 1\nkernel = 3\npadding = "same"\n',
        FLATTEN,
        DENSE,
    )
    assert infer(parse_spec(text, "net")).nodes[0].path == "block1.conv1"


def test_a_channel_scale_begins_at_its_initial_value():
    from harness.spec import initial_parameters

    text = net({"type": "channel_scale", "initial": 0.25})
    assert (initial_parameters(parse_spec(text, "net"), 0)["scale1.scale"] == 0.25).all()


def test_a_flat_network_has_no_blocks():
    assert infer(parse(FLATTEN, DENSE)).blocks == ()
