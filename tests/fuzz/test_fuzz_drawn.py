"""What is drawn is valid, is everything there is, and survives being written as TOML."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings

from harness.exchange.toml import spec_toml
from harness.fuzz.drawn import read_fields, spec_fields, specs
from harness.fuzz.search import draw_round, key
from harness.fuzz.training import LOSSES
from harness.spec import infer, parse_spec
from harness.spec.blocks import BLOCK_TYPES, LAYER_TYPES
from harness.spec.initializers import Scheme
from harness.spec.layers import Activation
from harness.spec.training import OPTIMIZER_TYPES, SCHEDULE_TYPES, LossName

ACTIVATIONS = get_args(Activation)


@pytest.fixture(scope="module")
def drawn():
    return [fields for number in range(5) for fields in draw_round(number, 300)]


@pytest.fixture(scope="module")
def nodes(drawn):
    return [node for fields in drawn for node in infer(read_fields(fields)).nodes]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(spec_fields())
def test_a_drawn_spec_is_valid_and_the_same_when_read_from_its_toml(fields):
    spec = read_fields(fields)
    assert infer(spec).parameter_count < 100_000
    assert parse_spec(spec_toml(fields), "drawn") == spec


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(specs())
def test_specs_are_drawn_as_such_too(spec):
    assert infer(spec).output_shape


def test_a_round_is_drawn_again_from_its_number():
    first, again, other = (draw_round(number, 20) for number in (4, 4, 5))
    assert first == again
    assert first != other
    assert len({key(fields) for fields in first}) == len(first)


def tables(value):
    """All tables within a spec's fields, itself among them."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from tables(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tables(item)


def counted(drawn, field):
    return Counter(t[field] for fields in drawn for t in tables(fields) if field in t)


@pytest.mark.parametrize("kind", [*LAYER_TYPES, *OPTIMIZER_TYPES, *SCHEDULE_TYPES])
def test_every_layer_block_optimizer_and_schedule_is_drawn(drawn, kind):
    assert counted(drawn, "type")[kind] >= 5


@pytest.mark.parametrize("field", ["activation", "function"])
def test_every_activation_is_drawn_in_a_layer_and_as_one(drawn, field):
    for name in ACTIVATIONS:
        # Of a layer without an activation the field is left out.
        assert counted(drawn, field)[name] or (field, name) == ("activation", "linear"), name


def test_every_loss_and_initializer_is_drawn(drawn):
    assert set(counted(drawn, "loss")) == set(LOSSES) == set(get_args(LossName))
    assert {*counted(drawn, "initializer"), "glorot_uniform"} == set(get_args(Scheme))


def test_every_field_that_a_network_or_its_training_has_is_drawn(drawn):
    """But for those that are the harness's own, the same for all backends."""
    from harness.spec import blocks, layers, training

    models = [*vars(layers).values(), *vars(blocks).values(), *vars(training).values()]
    is_part = lambda kind: isinstance(kind, type) and issubclass(kind, layers.Model)  # noqa: E731
    wanted = {field for kind in filter(is_part, models) for field in kind.model_fields}
    wanted -= {"augment", "validation_split", *training.Augment.model_fields}
    found = {field for fields in drawn for table in tables(fields) for field in table}
    assert found >= wanted


WINDOWS = {
    "in groups": lambda n: getattr(n.layer, "groups", 1) > 1,
    "depthwise": lambda n: 1 < n.input_shape[-1] == getattr(n.layer, "groups", 1),
    "dilated": lambda n: max(n.layer.dilation) > 1,
    "strided": lambda n: max(n.layer.stride) > 1,
    "strided otherwise along one axis": lambda n: (
        len(n.layer.stride) == 1 or len(set(n.layer.stride)) > 1
    ),
    "same": lambda n: n.layer.padding == "same",
    "valid": lambda n: n.layer.padding == "valid",
    "padded": lambda n: not isinstance(n.layer.padding, str),
    "padded more on one side": lambda n: any(a != b for a, b in n.pads),
    "without a bias": lambda n: not n.layer.bias,
}


@pytest.mark.parametrize("kind", ["conv1d", "conv2d", "conv3d"])
@pytest.mark.parametrize("what", WINDOWS)
def test_convolutions_are_drawn_with_all_they_may_have(nodes, kind, what):
    found = [node for node in nodes if node.layer.type == kind]
    assert any(map(WINDOWS[what], found))


@pytest.mark.parametrize("kind", ["max_pool", "avg_pool"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_pools_are_drawn_that_overlap_and_that_are_padded(nodes, kind, axes):
    found = [n for n in nodes if n.layer.type == kind and len(n.layer.size) == axes]
    assert any(any(s < k for s, k in zip(n.layer.steps, n.layer.size, strict=True)) for n in found)
    assert any(any(map(sum, n.pads)) for n in found)


def test_blocks_are_drawn_within_blocks_repeated_and_with_shortcuts_of_both_kinds(drawn):
    found = [t for fields in drawn for t in tables(fields) if t.get("type") in BLOCK_TYPES]
    inner = [t for block in found for t in list(tables(block))[1:] if t["type"] in BLOCK_TYPES]
    assert {block["type"] for block in inner} == set(BLOCK_TYPES)
    assert {block["type"] for block in found if block.get("repeat", 1) > 1} == set(BLOCK_TYPES)
    residuals = [block for block in found if block["type"] == "residual"]
    assert {bool(block.get("shortcut")) for block in residuals} == {True, False}
    assert any(() in block["branches"] for block in found if "branches" in block)
