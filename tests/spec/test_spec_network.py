from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_examples import CONV, DENSE, FLATTEN, POOL, layer, parse, problem, toml

from harness.errors import SpecError
from harness.spec import infer, parse_spec
from harness.spec.network import MAX_PARAMETERS
from harness.spec.placing import window_output, window_pads

sizes, windows, strides = st.integers(1, 40), st.integers(1, 12), st.integers(1, 9)


def starts(size: int, window: int, stride: int) -> list[int]:
    """Where a window can be put, counted one by one."""
    return [at for at in range(0, size, stride) if at + window <= size]


@given(size=sizes, window=windows, stride=strides)
def test_valid_puts_a_window_wherever_it_fits(size, window, stride):
    if window <= size:
        assert window_output(size, window, stride, "valid") == len(starts(size, window, stride))
        assert window_pads(size, window, stride, "valid") == (0, 0)


@given(size=sizes, window=windows, stride=strides)
def test_same_starts_a_window_at_every_stride_th_pixel(size, window, stride):
    output = window_output(size, window, stride, "same")
    assert output == len(range(0, size, stride))
    before, after = window_pads(size, window, stride, "same")
    padded = size + before + after
    assert len(starts(padded, window, stride)) == output


@given(size=sizes, window=windows, stride=strides)
def test_same_pads_no_more_than_it_must_and_the_odd_pixel_after(size, window, stride):
    output = window_output(size, window, stride, "same")
    before, after = window_pads(size, window, stride, "same")
    assert after - before in (0, 1)
    if before + after:
        assert len(starts(size + before + after - 1, window, stride)) == output - 1


@pytest.mark.parametrize(
    ("size", "window", "stride", "pads"),
    [
        (28, 5, 1, (2, 2)),
        (28, 2, 2, (0, 0)),
        (28, 3, 2, (0, 1)),  # where padding = 1 on both sides gives other pixels
        (27, 3, 2, (1, 1)),
        (28, 4, 1, (1, 2)),
        (28, 1, 2, (0, 0)),
        (1, 3, 1, (1, 1)),
    ],
)
def test_same_pads_as_tensorflow_does(size, window, stride, pads):
    assert window_pads(size, window, stride, "same") == pads


@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.sampled_from(["same", "valid"]),
    kind=st.sampled_from(["conv2d", "max_pool"]),
)
def test_height_and_width_are_inferred_apart(height, width, window, stride, padding, kind):
    fields = {"filters": 3, "kernel": window} if kind == "conv2d" else {"size": window}
    placed = layer(kind, **fields, stride=stride, padding=padding)
    text = toml(placed, FLATTEN, DENSE, size=[height, width, 2])
    if padding == "valid" and (window[0] > height or window[1] > width):
        assert "is larger than its input" in problem(text)
        return
    node = infer(parse_spec(text, "example.toml")).nodes[0]
    assert node.output_shape == (
        window_output(height, window[0], stride[0], padding),
        window_output(width, window[1], stride[1], padding),
        3 if kind == "conv2d" else 2,
    )
    assert node.pads == (
        window_pads(height, window[0], stride[0], padding),
        window_pads(width, window[1], stride[1], padding),
    )


def test_one_number_is_a_square_and_a_pool_strides_by_its_size():
    spec = parse(layer("conv2d", filters=4, kernel=3, stride=2), POOL, FLATTEN, DENSE)
    conv, pool = spec.layers[:2]
    assert (conv.kernel, conv.stride) == ((3, 3), (2, 2))
    assert (pool.size, pool.steps) == ((2, 2), (2, 2))
    assert parse(layer("max_pool", size=3, stride=[2, 1]), FLATTEN).layers[0].steps == (2, 1)


def test_shapes_are_passed_from_layer_to_layer():
    network = infer(
        parse(
            layer("conv2d", filters=4, kernel=[3, 2]),
            layer("activation", function="relu"),
            layer("max_pool", size=2, padding="same"),
            layer("dropout", rate=0.5),
            FLATTEN,
            layer("dense", units=5),
            layer("dropout", rate=0.5),
            DENSE,
            size=[10, 8, 3],
        )
    )
    assert network.input_shape == (10, 8, 3)
    assert [node.output_shape for node in network.nodes] == [
        (8, 7, 4),
        (8, 7, 4),
        (4, 4, 4),
        (4, 4, 4),
        (64,),
        (5,),
        (5,),
        (10,),
    ]
    assert [node.input_shape for node in network.nodes[1:]] == [
        node.output_shape for node in network.nodes[:-1]
    ]
    assert network.output_shape == (10,)
    assert [node.name for node in network.dropouts] == ["dropout1", "dropout2"]


def test_parameters_are_listed_in_order_with_canonical_shapes_and_fans():
    network = infer(
        parse(
            layer("conv2d", name="first", filters=4, kernel=[3, 2]),
            layer("conv2d", filters=5, kernel=1, bias=False),
            FLATTEN,
            DENSE,
            size=[3, 2, 7],
        )
    )
    assert [(p.path, p.shape, p.role, p.fan_in, p.fan_out) for p in network.parameters] == [
        ("first.kernel", (3, 2, 7, 4), "kernel", 3 * 2 * 7, 3 * 2 * 4),
        ("first.bias", (4,), "bias", 42, 24),
        ("conv2.kernel", (1, 1, 4, 5), "kernel", 4, 5),
        ("dense1.kernel", (5, 10), "kernel", 5, 10),
        ("dense1.bias", (10,), "bias", 5, 10),
    ]
    assert network.parameter_count == 3 * 2 * 7 * 4 + 4 + 4 * 5 + 5 * 10 + 10


def test_an_unnamed_layer_is_numbered_among_its_kind():
    spec = parse(CONV, layer("conv2d", name="middle", filters=2, kernel=1), CONV, FLATTEN, DENSE)
    assert [layer.name for layer in spec.layers] == [
        "conv1",
        "middle",
        "conv3",
        "flatten1",
        "dense1",
    ]


def test_a_last_softmax_belongs_to_cross_entropy_and_the_network_ends_in_logits():
    softmax = layer("dense", units=10, activation="softmax")
    assert infer(parse(FLATTEN, softmax)).nodes[-1].activation == "linear"
    squared = '[training]\nloss = "mean_squared_error"\n'
    assert infer(parse(FLATTEN, softmax, training=squared)).nodes[-1].activation == "softmax"
    apart = infer(parse(FLATTEN, DENSE, layer("activation", function="softmax")))
    assert [node.activation for node in apart.nodes] == ["linear"] * 3


IMPOSSIBLE = {
    "a kernel larger than its input": (
        toml(POOL, layer("conv2d", filters=2, kernel=[3, 5], name="wide"), FLATTEN),
        "layers[1] 'wide': kernel = [3, 5] is larger than its input of 4x4 pixels; "
        'use a smaller one, or padding = "same"',
    ),
    "a pool larger than its input": (
        toml(CONV, layer("max_pool", size=[7, 1]), FLATTEN),
        "layers[1] 'pool1': size = [7, 1] is larger than its input of 6x6 pixels; "
        'use a smaller one, or padding = "same"',
    ),
    "dense without flatten": (
        toml(CONV, DENSE),
        "layers[1] 'dense1': needs a flat input, but its input is (6, 6, 4); "
        'put a "flatten" or a "global_avg_pool" before it',
    ),
    "convolution after flatten": (
        toml(FLATTEN, CONV),
        "layers[1] 'conv1': needs an image (height, width, channels), but its input is (64,)",
    ),
    "pool after dense": (
        toml(FLATTEN, DENSE, POOL),
        "layers[2] 'pool1': needs an image (height, width, channels), but its input is (10,)",
    ),
    "an image as output": (
        toml(CONV, POOL),
        'layers: the last output is (3, 3, 4), not flat; add a "flatten" and a "dense"',
    ),
    "too many parameters in one layer": (
        toml(FLATTEN, layer("dense", units=1_000_000), size=[100, 100, 2]),
        "layers[1] 'dense1': more than 1e+10 parameters by this layer; make it smaller",
    ),
    "too many parameters in all": (
        toml(FLATTEN, *[layer("dense", units=90_000)] * 3),
        "layers[3] 'dense3': more than 1e+10 parameters by this layer; make it smaller",
    ),
}


@pytest.mark.parametrize(("text", "line"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_an_impossible_network_is_refused_with_the_name_of_the_layer(text, line):
    assert problem(text) == line


def test_ten_thousand_million_parameters_are_allowed_and_not_one_more():
    wide = layer("dense", units=1_000_000, bias=False)
    spec = parse(FLATTEN, wide, size=[100, 100, 1])
    assert infer(spec).parameter_count == MAX_PARAMETERS == 10**10
    with pytest.raises(SpecError, match="more than"):
        parse(FLATTEN, wide, layer("dense", units=1), size=[100, 100, 1])


def test_flatten_of_what_is_flat_and_a_kernel_as_large_as_its_input_are_fine():
    spec = parse(layer("conv2d", filters=3, kernel=8), FLATTEN, FLATTEN, DENSE)
    assert infer(spec).nodes[0].output_shape == (1, 1, 3)
    assert infer(spec).nodes[2].output_shape == (3,)
