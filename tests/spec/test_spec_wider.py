"""Norms, pools, groups, dilation, explicit padding: shapes, parameters, FLOPs and mistakes."""

from __future__ import annotations

import pytest
from spec_examples import FLATTEN, layer, parse, problem, toml

from harness.spec import infer, initial_parameters

POOLED = layer("global_avg_pool")


def node(text: str, size: list[int] | None = None):
    """Return a layer in its place, with what makes its output flat behind it."""
    return infer(parse(text, FLATTEN, size=size or [9, 12, 4])).nodes[0]


@pytest.mark.parametrize(
    ("written", "pads"),
    [
        (0, ((0, 0), (0, 0))),
        (2, ((2, 2), (2, 2))),
        ([1, 2], ((1, 1), (2, 2))),
        ([[1, 0], [0, 2]], ((1, 0), (0, 2))),
        ([1, [0, 2]], ((1, 1), (0, 2))),
    ],
)
def test_explicit_padding_is_read_for_all_sides_for_axes_or_for_each_side(written, pads):
    found = node(layer("conv2d", filters=2, kernel=3, padding=written))
    assert found.pads == pads
    height, width = (size + sum(pad) - 2 for size, pad in zip((9, 12), pads, strict=True))
    assert found.output_shape == (height, width, 2)


@pytest.mark.parametrize(
    "wrong", [-1, 1.5, True, [1], [1, 2, 3], [[1, 2], [3]], [[1, -1], [0, 0]], "full", 5000]
)
def test_any_other_padding_is_one_mistake(wrong):
    text = toml(layer("conv2d", filters=2, kernel=3, padding=wrong), FLATTEN)
    assert problem(text).startswith("layers[0].padding: ")


def test_a_dilated_kernel_reaches_further():
    found = node(layer("conv2d", filters=2, kernel=3, dilation=[2, 3]))
    assert found.output_shape == (9 - 4, 12 - 6, 2)
    same = node(layer("conv2d", filters=2, kernel=3, dilation=2, padding="same"))
    assert (same.output_shape, same.pads) == ((9, 12, 2), ((2, 2), (2, 2)))
    line = problem(toml(layer("conv2d", filters=2, kernel=3, dilation=4), FLATTEN, size=[8, 8, 1]))
    assert line.startswith(
        "layers[0] 'conv1': kernel = [3, 3], dilated to [9, 9], is larger than its input of 8x8"
    )


def test_groups_divide_parameters_and_operations():
    whole = node(layer("conv2d", filters=8, kernel=3))
    halves = node(layer("conv2d", filters=8, kernel=3, groups=2))
    depthwise = node(layer("conv2d", filters=8, kernel=3, groups=4))
    assert whole.parameters[0].shape == (3, 3, 4, 8)
    assert halves.parameters[0].shape == (3, 3, 2, 8)
    assert depthwise.parameters[0].shape == (3, 3, 1, 8)
    assert whole.flops == 2 * halves.flops == 4 * depthwise.flops == 2 * 7 * 10 * 9 * 4 * 8
    assert (depthwise.parameters[0].fan_in, depthwise.parameters[0].fan_out) == (9, 18)


@pytest.mark.parametrize(("filters", "groups"), [(8, 3), (6, 4), (2, 8)])
def test_groups_that_do_not_divide_channels_and_filters_are_refused(filters, groups):
    text = toml(layer("conv2d", filters=filters, kernel=3, groups=groups), FLATTEN, size=[8, 8, 4])
    assert problem(text).startswith(f"layers[0] 'conv1': groups = {groups} must divide its input's")


def test_a_pool_is_not_padded_by_a_whole_window():
    text = toml(layer("avg_pool", size=2, padding=[[2, 0], [0, 0]]), FLATTEN)
    assert problem(text).startswith("layers[0] 'pool1': padding = [[2, 0], [0, 0]] leaves windows")


def test_a_global_pool_leaves_the_channels():
    assert infer(parse(POOLED, size=[9, 12, 4])).output_shape == (4,)
    line = problem(toml(FLATTEN, POOLED))
    assert line.startswith("layers[1] 'pool1': needs an image")


def test_batch_norm_has_four_arrays_of_which_two_are_trained():
    text = layer("batch_norm", decay=0.9, epsilon=1e-3)
    found = node(text)
    assert [p.path for p in found.parameters] == ["bn1.scale", "bn1.offset"]
    assert [p.path for p in found.statistics] == ["bn1.mean", "bn1.variance"]
    assert {p.shape for p in (*found.parameters, *found.statistics)} == {(4,)}
    assert found.flops == 0
    assert infer(parse(text, FLATTEN, size=[2, 2, 4])).parameter_count == 8
    bare = node(layer("batch_norm", decay=0.9, epsilon=1e-3, scale=False, offset=False))
    assert bare.parameters == ()
    assert len(bare.statistics) == 2


def test_decay_and_epsilon_of_a_norm_must_be_given():
    assert problem(toml(layer("batch_norm", epsilon=1e-3), FLATTEN)) == (
        "layers[0].decay: is missing"
    )
    for kind, more in (("batch_norm", {"decay": 0.9}), ("layer_norm", {}), ("group_norm", {})):
        more = {"groups": 1} if kind == "group_norm" else more
        assert problem(toml(layer(kind, **more), FLATTEN)) == "layers[0].epsilon: is missing"


def test_groups_of_a_norm_divide_the_channels():
    text = toml(layer("group_norm", groups=3, epsilon=1e-3), FLATTEN, size=[8, 8, 4])
    assert problem(text) == "layers[0] 'norm1': groups = 3 must divide its input's 4 channels"


def test_scales_and_variances_begin_at_one_offsets_and_means_at_zero():
    spec = parse(layer("batch_norm", decay=0.9, epsilon=1e-3), FLATTEN, size=[2, 2, 4])
    drawn = initial_parameters(spec, 0)
    assert {path: set(value.tolist()) for path, value in drawn.items()} == {
        "bn1.scale": {1.0},
        "bn1.offset": {0.0},
        "bn1.mean": {0.0},
        "bn1.variance": {1.0},
    }


def test_truncated_weights_stay_within_two_deviations_and_have_the_variance():
    dense = layer("dense", units=500)
    spec = parse(FLATTEN, dense, size=[10, 10, 4], head='initializer = "lecun_truncated"')
    kernel = initial_parameters(spec, 0)["dense1.kernel"].astype(float)
    bound = 2 / 0.87962566 * 400**-0.5
    assert abs(kernel).max() <= bound * (1 + 1e-6)
    assert abs(kernel).max() > 0.98 * bound
    assert kernel.var() * 400 == pytest.approx(1, rel=0.02)


def test_a_last_sigmoid_is_folded_into_binary_cross_entropy():
    training = '[training]\nloss = "binary_cross_entropy"\n'
    spec = parse(FLATTEN, layer("dense", units=1, activation="sigmoid"), training=training)
    assert spec.folds_activation
    assert infer(spec).nodes[-1].activation == "linear"


def test_a_softmax_before_binary_cross_entropy_is_a_mistake():
    text = toml(
        FLATTEN,
        layer("dense", units=2, activation="softmax"),
        training='[training]\nloss = "binary_cross_entropy"\n',
    )
    assert "binary_cross_entropy applies sigmoid to its output" in problem(text)


def test_smoothing_needs_classes():
    text = toml(training='[training]\nloss = "huber"\nlabel_smoothing = 0.1\n')
    assert problem(text) == 'training.label_smoothing: 0.1 needs loss = "cross_entropy"'


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ("[6, 6, 1]", "layer_norm"),
        ("[1, 1, 4]", 'group_norm", groups = 4, name = "norm1'),
    ],
)
def test_a_norm_of_single_values_is_refused(shape, layer):
    text = f"""
name = "x"
input = {shape}
layers = [{{type = "{layer}", epsilon = 1e-3}}, {{type = "flatten"}}, {{type = "dense", units = 2}}]
"""
    assert "normalises every value by itself alone" in problem(text)
