from __future__ import annotations

import math

import numpy as np
import pytest
from spec_examples import CONV, DENSE, FLATTEN, layer, parse, problem, toml

from harness.spec import infer, initial_parameters, load_spec, parameters_hash

SPEC = parse(CONV, layer("conv2d", filters=5, kernel=3), FLATTEN, DENSE)


def test_there_is_a_float32_array_for_each_parameter_in_its_shape_and_order():
    parameters = initial_parameters(SPEC, 0)
    expected = infer(SPEC).parameters
    assert list(parameters) == [p.path for p in expected]
    assert [array.shape for array in parameters.values()] == [p.shape for p in expected]
    assert {array.dtype for array in parameters.values()} == {np.dtype(np.float32)}


def test_biases_are_zero_and_kernels_are_not():
    for path, array in initial_parameters(SPEC, 0).items():
        assert path.endswith(".bias") == (not array.any())


def test_the_same_seed_gives_the_same_values():
    first, again = (initial_parameters(SPEC, 3) for _ in range(2))
    assert all(np.array_equal(first[path], again[path]) for path in first)


def test_other_seeds_give_other_values():
    kernels = [initial_parameters(SPEC, seed)["conv1.kernel"].tobytes() for seed in range(20)]
    assert len(set(kernels)) == 20


def test_kernels_of_the_same_shape_have_different_values():
    spec = parse(FLATTEN, *[layer("dense", units=64, bias=False)] * 3)
    kernels = initial_parameters(spec, 0).values()
    assert len({kernel.tobytes() for kernel in kernels}) == 3


NEIGHBOURS = {
    "a wider layer after it": (CONV, layer("conv2d", filters=9, kernel=3), FLATTEN, DENSE),
    "no layer after it": (CONV, FLATTEN, DENSE),
    "a bias less before it": (layer("conv2d", filters=4, kernel=3, bias=False), FLATTEN, DENSE),
    "dropout before it": (layer("dropout", rate=0.5), CONV, FLATTEN, DENSE),
}


@pytest.mark.parametrize("layers", NEIGHBOURS.values(), ids=NEIGHBOURS.keys())
def test_the_values_of_a_kernel_do_not_depend_on_its_neighbours(layers):
    plain, other = initial_parameters(SPEC, 7), initial_parameters(parse(*layers), 7)
    assert np.array_equal(plain["conv1.kernel"], other["conv1.kernel"])


def test_the_second_kernel_does_not_depend_on_the_bias_of_the_first():
    bare = layer("conv2d", filters=4, kernel=3, bias=False)
    other = initial_parameters(parse(bare, layer("conv2d", filters=5, kernel=3), FLATTEN, DENSE), 7)
    plain = initial_parameters(SPEC, 7)
    assert np.array_equal(plain["conv2.kernel"], other["conv2.kernel"])
    assert np.array_equal(plain["dense1.kernel"], other["dense1.kernel"])


# Variances by the papers: Glorot 2 / (fan_in + fan_out), He 2 / fan_in, LeCun 1 / fan_in.
FAN_IN, FAN_OUT = 5 * 5 * 16, 5 * 5 * 48
VARIANCE = {
    "glorot": 2 / (FAN_IN + FAN_OUT),
    "he": 2 / FAN_IN,
    "lecun": 1 / FAN_IN,
}


@pytest.mark.parametrize("scheme", VARIANCE)
@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_the_values_have_the_mean_variance_and_bounds_of_their_scheme(scheme, distribution):
    spec = parse(
        layer("conv2d", filters=48, kernel=5),
        FLATTEN,
        size=[5, 5, 16],
        head=f'initializer = "{scheme}_{distribution}"',
    )
    kernel = initial_parameters(spec, 0)["conv1.kernel"].astype(np.float64)
    deviation = math.sqrt(VARIANCE[scheme])
    # 19,200 values: six standard errors of their mean, and of their standard deviation.
    assert abs(kernel.mean()) < 6 * deviation / math.sqrt(kernel.size)
    assert kernel.std() == pytest.approx(deviation, rel=6 / math.sqrt(2 * kernel.size))
    bound = math.sqrt(3) * deviation
    largest = np.abs(kernel).max()
    if distribution == "uniform":
        assert 0.999 * bound < largest <= bound * (1 + 1e-6)
    else:
        assert largest > 3.5 * deviation


def test_glorot_uniform_is_the_default_and_bounded_as_in_the_paper():
    spec = parse(FLATTEN, layer("dense", units=100), size=[10, 10, 5])
    kernel = initial_parameters(spec, 0)["dense1.kernel"]
    bound = math.sqrt(6 / (500 + 100))
    assert 0.999 * bound < np.abs(kernel).max() <= np.float32(bound)


def test_constants_are_what_kernels_and_biases_begin_at():
    head = 'initializer = "zeros"\nbias_initializer = {type = "constant", value = 0.25}'
    spec = parse(CONV, FLATTEN, DENSE, head=head)
    for path, array in initial_parameters(spec, 0).items():
        assert np.all(array == (0.25 if path.endswith(".bias") else 0.0))
        assert array.dtype == np.float32
    spec = parse(CONV, FLATTEN, DENSE, head='initializer = {type = "constant", value = -2}')
    assert np.all(initial_parameters(spec, 0)["conv1.kernel"] == -2)
    assert not initial_parameters(spec, 0)["conv1.bias"].any()


def test_a_constant_bias_leaves_the_kernels_as_they_were():
    head = 'bias_initializer = {type = "constant", value = 1}'
    plain, other = (initial_parameters(parse(CONV, FLATTEN, DENSE, head=h), 3) for h in ("", head))
    assert np.array_equal(plain["dense1.kernel"], other["dense1.kernel"])


WRONG = {
    'initializer = "constant"': "initializer: 'constant' should be 'glorot_uniform', ",
    "initializer = 0.1": "initializer: 0.1 should be 'glorot_uniform', ",
    'initializer = {type = "constant"}': "initializer.value: is missing",
    "initializer = {value = 0.1}": "initializer.type: is missing",
    'initializer = {type = "zeros", value = 0}': "initializer.type: 'zeros' should be 'constant'",
    'initializer = {type = "constant", value = 0, values = 1}': (
        "initializer.values: unknown field; allowed: type, value. Did you mean 'value'?"
    ),
    'bias_initializer = {type = "constant", value = "a"}': (
        "bias_initializer.value: 'a' should be a number"
    ),
    'bias_initializer = "he_normal"': (
        "bias_initializer: 'he_normal' should be 'zeros' or {type = \"constant\", value = ...}"
    ),
}


@pytest.mark.parametrize(("head", "line"), WRONG.items(), ids=WRONG)
def test_another_initializer_is_one_mistake_with_its_place(head, line):
    assert problem(toml(head=head)).startswith(line)


def test_the_hash_is_sixteen_hex_digits_and_does_not_depend_on_the_order():
    parameters = initial_parameters(SPEC, 0)
    digest = parameters_hash(parameters)
    assert len(bytes.fromhex(digest)) == 8
    assert parameters_hash(dict(reversed(parameters.items()))) == digest
    assert parameters_hash(initial_parameters(SPEC, 0)) == digest


def test_the_hash_does_not_depend_on_memory_layout():
    parameters = initial_parameters(SPEC, 0)
    other = {path: np.asfortranarray(array) for path, array in parameters.items()}
    assert parameters_hash(other) == parameters_hash(parameters)


def test_the_hash_sees_every_name_value_shape_and_type():
    array = np.arange(6, dtype=np.float32)
    changed = array.copy()
    changed[5] = -1
    hashes = [
        parameters_hash({"a": array}),
        parameters_hash({"b": array}),
        parameters_hash({"a": changed}),
        parameters_hash({"a": array.reshape(2, 3)}),
        parameters_hash({"a": array.view(np.int32)}),
        parameters_hash({"a": array, "b": array}),
        parameters_hash({}),
    ]
    assert len(set(hashes)) == len(hashes)


def test_the_weights_of_a_seed_stay_what_they_are():
    parameters = initial_parameters(load_spec("mnist-2conv"), 0)
    first = {path: array.ravel()[:3].tolist() for path, array in parameters.items()}
    assert first["conv1.kernel"] == pytest.approx([-0.02988113, 0.07086814, 0.06163628], rel=1e-6)
    assert first["dense2.kernel"] == pytest.approx([0.02478053, -0.04126715, -0.05259509], rel=1e-6)
