from __future__ import annotations

import pytest
from spec_examples import DENSE, FLATTEN, POOL, layer, parse, problem, toml

SOFTMAX = layer("activation", function="softmax")
RELU = layer("activation", function="relu")
LINEAR = layer("activation", function="linear")
DROPOUT = layer("dropout", rate=0.5)
DENSE_SOFTMAX = layer("dense", units=10, activation="softmax")
TWICE = {
    "one after the other": (FLATTEN, DENSE, SOFTMAX, SOFTMAX),
    "after a layer that ends in it": (FLATTEN, DENSE_SOFTMAX, SOFTMAX),
    "with dropout between": (FLATTEN, DENSE_SOFTMAX, DROPOUT, SOFTMAX),
    "with a linear activation between": (FLATTEN, DENSE, SOFTMAX, LINEAR, SOFTMAX),
    "with relu between, which leaves probabilities alone": (FLATTEN, DENSE_SOFTMAX, RELU, SOFTMAX),
    "with flatten between": (
        layer("conv2d", filters=4, kernel=3, activation="softmax"),
        FLATTEN,
        SOFTMAX,
    ),
}


@pytest.mark.parametrize("layers", TWICE.values(), ids=TWICE.keys())
def test_softmax_of_softmax_is_a_mistake_whatever_the_loss(layers):
    for loss in ("cross_entropy", "mean_squared_error"):
        line = problem(toml(*layers, training=f'[training]\nloss = "{loss}"\n'))
        assert line.startswith(f"layers[{len(layers) - 1}] 'activation")
        assert "applies softmax to what" in line
        assert line.endswith("has already passed through softmax; remove one of the two")


AGAIN = {
    "before dropout": (FLATTEN, DENSE_SOFTMAX, DROPOUT),
    "before relu": (FLATTEN, DENSE_SOFTMAX, RELU),
    "before a linear activation": (FLATTEN, DENSE, SOFTMAX, LINEAR),
    "before flatten": (layer("conv2d", filters=4, kernel=8, activation="softmax"), FLATTEN),
    "at the very beginning": (SOFTMAX, FLATTEN),
}


@pytest.mark.parametrize("layers", AGAIN.values(), ids=AGAIN.keys())
def test_a_softmax_that_cross_entropy_would_apply_again_is_a_mistake(layers):
    line = problem(toml(*layers))
    assert "cross_entropy applies softmax again to the output of" in line
    assert line.endswith("make the softmax the last thing")
    parse(*layers, training='[training]\nloss = "mean_squared_error"\n')


ONCE = {
    "at the end": (FLATTEN, DENSE_SOFTMAX),
    "at the end, as a layer": (FLATTEN, DENSE, SOFTMAX),
    "within, when weights follow": (FLATTEN, DENSE_SOFTMAX, DENSE),
    "within and at the end": (FLATTEN, DENSE_SOFTMAX, DENSE_SOFTMAX),
    "of an image that is then pooled": (SOFTMAX, POOL, FLATTEN),
}


@pytest.mark.parametrize("layers", ONCE.values(), ids=ONCE.keys())
def test_a_softmax_with_something_after_it_is_allowed(layers):
    parse(*layers)


SIGMOID = layer("activation", function="sigmoid")
DENSE_SIGMOID = layer("dense", units=3, activation="sigmoid")
INLINE = '{type = "dense", units = 3, activation = "sigmoid"}'
BLOCK = f'[[layers]]\ntype = "sequence"\nlayers = [{{type = "dense", units = 4}}, {INLINE}]\n'
RESIDUAL = '[[layers]]\ntype = "residual"\nbody = [{type = "dense", units = 64}]\n'
BINARY = '[training]\nloss = "binary_cross_entropy"\n'
SIGMOIDS = {
    "before dropout": (FLATTEN, DENSE_SIGMOID, DROPOUT),
    "before another": (FLATTEN, DENSE_SIGMOID, SIGMOID),
    "before a linear activation": (FLATTEN, DENSE, SIGMOID, LINEAR),
    "at the end of a block": (FLATTEN, BLOCK),
    "behind the sum of a block": (FLATTEN, RESIDUAL + 'activation = "sigmoid"\n'),
}


@pytest.mark.parametrize("layers", SIGMOIDS.values(), ids=SIGMOIDS.keys())
def test_a_sigmoid_that_binary_cross_entropy_would_apply_again_is_a_mistake(layers):
    line = problem(toml(*layers, training=BINARY))
    assert "has already passed through sigmoid, and binary_cross_entropy applies sigmoid" in line
    parse(*layers, training='[training]\nloss = "mean_squared_error"\n')


SIGMOID_ONCE = {
    "at the end": (FLATTEN, DENSE_SIGMOID),
    "at the end, as a layer": (FLATTEN, DENSE, SIGMOID),
    "within, when weights follow": (FLATTEN, DENSE_SIGMOID, DENSE),
    "within and at the end": (FLATTEN, DENSE_SIGMOID, DENSE_SIGMOID),
    "in a block, when weights follow": (FLATTEN, BLOCK, DENSE),
    "not at all": (FLATTEN, DENSE),
}


@pytest.mark.parametrize("layers", SIGMOID_ONCE.values(), ids=SIGMOID_ONCE.keys())
def test_a_sigmoid_that_is_the_last_thing_or_lies_within_is_allowed(layers):
    parse(*layers, training=BINARY)
