"""Signals and volumes, and transposed convolutions: shapes, parameters, operations, mistakes."""

from __future__ import annotations

import pytest
from spec_examples import DENSE, FLATTEN, layer, parse, problem, toml

from harness.spec import infer, load_spec


def first(text: str, size: list[int]):
    return infer(parse(text, FLATTEN, DENSE, size=size)).nodes[0]


@pytest.mark.parametrize(
    ("fields", "length", "pads"),
    [
        ({"kernel": 5}, 19, ((0, 0),)),
        ({"kernel": 5, "stride": 2, "padding": "same"}, 12, ((2, 2),)),
        ({"kernel": [4], "stride": [2], "padding": "same"}, 12, ((1, 2),)),
        ({"kernel": 3, "padding": 2, "dilation": 2}, 23, ((2, 2),)),
        ({"kernel": 3, "padding": [[2, 0]]}, 23, ((2, 0),)),
    ],
)
def test_a_conv1d_goes_along_a_signal(fields, length, pads):
    node = first(layer("conv1d", filters=6, **fields), [23, 3])
    kernel = node.layer.kernel[0]
    assert node.output_shape == (length, 6)
    assert node.pads == pads
    assert [p.shape for p in node.parameters] == [(kernel, 3, 6), (6,)]
    assert node.flops == 2 * length * kernel * 3 * 6


def test_a_conv3d_goes_over_a_volume():
    text = layer("conv3d", filters=8, kernel=[3, 2, 1], stride=2, padding="same", groups=2)
    node = first(text, [7, 6, 5, 4])
    assert node.output_shape == (4, 3, 3, 8)
    assert node.pads == ((1, 1), (0, 0), (0, 0))
    assert node.parameters[0].shape == (3, 2, 1, 2, 8)
    assert node.flops == 2 * 4 * 3 * 3 * 6 * 2 * 8


@pytest.mark.parametrize("size", [[9, 2], [9, 8, 2], [9, 8, 7, 2]])
def test_one_number_of_a_pool_means_all_axes_of_its_input(size):
    node = first(layer("max_pool", size=3, stride=2, padding=1), size)
    axes = len(size) - 1
    assert node.layer.size == (3,) * axes
    assert node.layer.stride == (2,) * axes
    assert node.pads == ((1, 1),) * axes
    assert node.output_shape == (*((n + 2 - 3) // 2 + 1 for n in size[:-1]), 2)
    assert first(layer("global_avg_pool"), size).output_shape == (2,)


def test_the_default_stride_of_a_pool_is_its_window_along_any_axes():
    assert first(layer("avg_pool", size=2), [8, 1]).layer.steps == (2,)
    assert first(layer("avg_pool", size=[2, 3, 1]), [8, 6, 2, 1]).layer.steps == (2, 3, 1)


@pytest.mark.parametrize(
    ("fields", "output", "pads"),
    [
        ({"kernel": 3}, (7, 6), ((0, 0), (0, 0))),
        ({"kernel": 3, "stride": 2}, (11, 9), ((0, 0), (0, 0))),
        ({"kernel": 3, "stride": 2, "padding": "same"}, (10, 8), ((0, 1), (0, 1))),
        ({"kernel": 4, "stride": 2, "padding": "same"}, (10, 8), ((1, 1), (1, 1))),
        ({"kernel": 4, "stride": 2, "padding": 1}, (10, 8), ((1, 1), (1, 1))),
        ({"kernel": 2, "stride": 3, "padding": "same"}, (15, 12), ((0, -1), (0, -1))),
    ],
)
def test_a_transposed_convolution_undoes_the_shape_of_a_strided_one(fields, output, pads):
    node = first(layer("conv2d_transpose", filters=7, **fields), [5, 4, 3])
    kernel = node.layer.kernel[0]
    assert node.output_shape == (*output, 7)
    assert node.pads == pads
    assert node.parameters[0].shape == (kernel, kernel, 3, 7)
    assert node.flops == 2 * 5 * 4 * kernel * kernel * 3 * 7


MISTAKES = {
    "conv2d of a signal": (
        toml(layer("conv2d", filters=1, kernel=3), FLATTEN, DENSE, size=[9, 2]),
        "layers[0] 'conv1': needs an image (height, width, channels), but its input is (9, 2); "
        'use "conv1d"',
    ),
    "conv1d of an image": (
        toml(layer("conv1d", filters=1, kernel=3), FLATTEN, DENSE),
        "layers[0] 'conv1': needs a signal (length, channels), but its input is (8, 8, 1); "
        'use "conv2d"',
    ),
    "a kernel of two axes for a signal": (
        toml(layer("conv1d", filters=1, kernel=[3, 3]), FLATTEN, DENSE, size=[9, 2]),
        "layers[0].kernel: [3, 3] should be an integer from 1 to 1024, or an array of one",
    ),
    "a pool of two axes for a signal": (
        toml(layer("max_pool", size=[2, 2]), FLATTEN, DENSE, size=[9, 2]),
        "layers[0] 'pool1': needs an image (height, width, channels), but its input is (9, 2); "
        "use a window of its axes",
    ),
    "a pool's stride of other axes than its size": (
        toml(layer("max_pool", size=[2], stride=[2, 2]), FLATTEN, DENSE, size=[9, 2]),
        "layers[0] 'pool1': size and stride must have 1 numbers, one for each axis",
    ),
    "a pool's padding of other axes": (
        toml(layer("max_pool", size=[2], padding=[[1, 1], [1, 1]]), FLATTEN, DENSE, size=[9, 2]),
        "layers[0] 'pool1': padding must be of 1 axes",
    ),
    "a kernel larger than its signal": (
        toml(layer("conv1d", filters=1, kernel=10), FLATTEN, DENSE, size=[9, 2]),
        "layers[0] 'conv1': kernel = [10] is larger than its input of 9 pixels; use a smaller "
        'one, or padding = "same"',
    ),
    "a transposed convolution cut to nothing": (
        toml(layer("conv2d_transpose", filters=1, kernel=3, padding=9), FLATTEN, DENSE),
        "layers[0] 'conv1': padding = [[9, 9], [9, 9]] leaves no pixel; pad less",
    ),
    "a global pool of what is flat": (
        toml(FLATTEN, layer("global_avg_pool"), DENSE),
        "layers[1] 'pool1': needs an image (height, width, channels), but its input is (64,)",
    ),
}


@pytest.mark.parametrize(("text", "line"), MISTAKES.values(), ids=MISTAKES.keys())
def test_what_does_not_fit_its_input_is_refused_with_what_would(text, line):
    assert problem(text) == line


def test_m5_takes_four_seconds_of_sound():
    shapes = [n.output_shape for n in infer(load_spec("m5")).nodes if n.layer.type == "max_pool"]
    assert shapes == [(2000, 128), (500, 128), (125, 256), (31, 512)]
