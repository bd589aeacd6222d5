"""Families: which blocks become one class, and what its constructor is given."""

from __future__ import annotations

import pytest
from test_spec_blocks import BN, CONV, concat, net, residual, sequence

from harness.spec import Run, families, infer, library, load_spec, parse_spec, stage_items
from harness.spec.symbols import Symbol, hints, slots


def network(*layers: dict):
    return infer(parse_spec(net(*layers), "net"))


def conv(filters: int, **fields: object) -> dict:
    return {**CONV, "filters": filters, **fields}


def everything(found) -> dict[str, str]:
    """A text for every family that names all of its symbols."""
    return {f.name: " ".join(symbol.name for symbol, _ in f.symbols) for f in found.all}


def test_a_symbol_prints_its_name_and_is_equal_to_itself_only():
    stride = Symbol(2, "stride")
    assert f"{stride} {stride!r} {(stride, 3)} {stride:>9}" == "stride stride (stride, 3) stride"
    assert stride == Symbol(1, "stride")
    assert stride != 2
    assert stride != 2
    assert (stride, stride) != (2, 2)
    assert Symbol(0, "padding")
    assert len({stride, Symbol(7, "stride"), 2}) == 2


COMPUTED = [lambda s: s + 1, lambda s: 2 * s, lambda s: s // 2, lambda s: s > 1, lambda s: s > 1]


@pytest.mark.parametrize("compute", COMPUTED)
def test_there_is_no_arithmetic_with_a_symbol_and_no_order(compute):
    with pytest.raises(TypeError, match="stride stands for several numbers"):
        compute(Symbol(2, "stride"))


def test_blocks_that_differ_in_numbers_only_are_one_family():
    found = families(
        network(
            residual(conv(4), BN),
            conv(6),
            residual(conv(6), BN),
            residual(conv(6), BN, BN),
            residual(conv(6), BN, activation="relu"),
        )
    )
    assert [(f.name, [b.path for b in f.members]) for f in found.all] == [
        ("Residual", ["block1", "block2"]),
        ("Residual2", ["block3"]),
        ("Residual3", ["block4"]),
    ]


def test_inner_families_come_before_those_that_use_them():
    gate = {"type": "squeeze_excite", "units": 2}
    found = families(network(residual(conv(4), gate), sequence(residual(conv(4)), CONV)))
    assert [f.name for f in found.all] == ["SqueezeExcite", "Residual", "Residual2", "Block"]


def test_a_family_is_called_as_the_spec_says_and_never_as_what_is_there_anyway():
    found = families(network(residual(family="model"), residual(CONV, BN, family="basic_block")))
    assert [f.name for f in found.all] == ["Model2", "BasicBlock"]


def test_numbers_that_go_together_are_one_argument_and_those_alike_in_all_are_none():
    found = families(
        network(
            residual(conv(8, stride=2), BN, conv(8), shortcut=[conv(8, stride=2)]),
            residual(conv(6, stride=1), BN, conv(6), shortcut=[conv(6, stride=1)]),
        )
    )
    # `same` pads (0, 1) at the stride 2 and (1, 1) at 1, which torch writes otherwise.
    assert [f.name for f in found.all] == ["Residual", "Residual2"]
    found = families(
        network(
            residual(conv(8, stride=2, padding=1), BN, shortcut=[conv(8, kernel=1, stride=2)]),
            residual(conv(6, stride=1, padding=1), BN, shortcut=[conv(6, kernel=1, stride=1)]),
        )
    )
    (family,) = found.all
    words = "in_channels out_channels stride"
    assert family.arguments(family.members[0], words) == {
        "in_channels": 4,
        "out_channels": 8,
        "stride": 2,
    }
    assert list(family.arguments(family.members[1], "stride in_channels out_channels")) == [
        "in_channels",
        "out_channels",
        "stride",
    ]
    body = family.pattern.branches[0]
    assert str(body[0].layer.stride) == "(stride, stride)"
    assert str(body[0].layer.kernel) == "(3, 3)"
    assert str(body[0].parameters[0].shape) == "(3, 3, in_channels, out_channels)"
    assert str(body[1].input_shape[-1]) == "out_channels"


def test_arguments_that_a_class_does_not_name_are_not_given():
    found = families(network(residual(conv(4)), conv(6), residual(conv(6))))
    (family,) = found.all
    assert family.arguments(family.members[1], "nn.Conv2d(channels, channels, 3)") == {
        "channels": 6
    }
    assert family.arguments(family.members[1], "layers.Conv2D(4, 3)") == {}


def test_a_block_inside_another_is_given_the_outer_one_s_arguments():
    gate = {"type": "squeeze_excite", "units": 2}
    found = families(
        network(residual(conv(4), gate), conv(6), residual(conv(6), {**gate, "units": 3}))
    )
    inner, outer = found.all
    block = outer.pattern.branches[0][1]
    assert found.of(block) is inner
    assert inner.arguments(block, "channels") == {"channels": outer.symbols[0][0]}
    assert all(
        isinstance(value, Symbol)
        for value in inner.arguments(block, everything(found)[inner.name]).values()
    )


def items(*blocks: dict):
    whole = network(sequence(*blocks, name="stage1"))
    found = families(whole)
    return stage_items(whole.parts[0], found, everything(found))


def test_equal_blocks_in_a_row_are_one_run():
    down = residual(conv(6, stride=2), shortcut=[conv(6, kernel=1, stride=2)])
    found = items(down, residual(conv(6), repeat=3))
    assert [(run.family.name, len(run.blocks), run.growth) for run in found] == [
        ("Residual", 1, {}),
        ("Residual2", 3, {}),
    ]


def test_blocks_whose_channels_grow_evenly_are_one_run():
    whole = network(concat([], [conv(2)], name="dense", repeat=4))
    found = families(whole)
    (run,) = stage_items(whole.parts[0], found, {"Concat": "in_channels"})
    assert isinstance(run, Run)
    assert len(run.blocks) == 4
    assert run.arguments == {"in_channels": 4}
    assert run.growth == {"in_channels": 2}


def test_two_blocks_that_differ_are_written_out():
    whole = network(concat([], [conv(2)], name="dense", repeat=2))
    found = stage_items(whole.parts[0], families(whole), {"Concat": "in_channels"})
    assert [(len(run.blocks), run.arguments) for run in found] == [
        (1, {"in_channels": 4}),
        (1, {"in_channels": 6}),
    ]


def test_a_stage_within_a_stage_is_an_item_of_its_own():
    inner = sequence(residual(conv(4)), residual(conv(4)))
    run, stage, last = items(residual(conv(4)), inner, residual(conv(4)))
    assert isinstance(run, Run)
    assert stage.path == "stage1.1"
    assert isinstance(last, Run)


@pytest.mark.parametrize("name", library())
def test_every_member_of_a_family_is_its_pattern_with_the_arguments_put_in(name):
    found = families(infer(load_spec(name)))
    for family in found.all:
        words = " ".join(symbol.name for symbol, _ in family.symbols)
        assert len({symbol.name for symbol, _ in family.symbols}) == len(family.symbols)
        assert all(symbol.name.isidentifier() for symbol, _ in family.symbols)
        for member in family.members:
            given = family.arguments(member, words)
            made = [given[s.name] if isinstance(s, Symbol) else s for s in slots(family.pattern)]
            assert tuple(made) == slots(member)
            assert len(hints(member)) == len(made)


def test_the_classes_of_mobilenet_are_three_with_the_arguments_of_its_paper():
    found = families(infer(load_spec("mobilenet-v2")))
    assert {
        f.name: [s.name for s, _ in f.symbols if s.name.endswith(("channels", "stride"))]
        for f in found.all
    } == {
        "SeparableBlock": [],
        "Bottleneck": ["in_channels", "hidden_channels", "out_channels", "stride"],
        "InvertedResidual": ["channels", "hidden_channels"],
    }
