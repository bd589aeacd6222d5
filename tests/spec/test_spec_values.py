from __future__ import annotations

import pytest
from spec_examples import ADAM, DENSE, FLATTEN, SGD, conv, dense, layer, parse, problem, toml

ONE_OR_TWO = "should be an integer from 1 to 1024, or an array of two"
WRONG = {
    "a string for a number": (dense(units="10"), "layers[1].units: '10' should be an integer"),
    "a boolean for a number": (dense(units=True), "layers[1].units: true should be an integer"),
    "a float for an integer": (dense(units=10.0), "layers[1].units: 10.0 should be an integer"),
    "an array for a number": (dense(units=[10]), "layers[1].units: [10] should be an integer"),
    "a date for a number": (
        toml(FLATTEN, "[[layers]]\ntype = 'dense'\nunits = 2020-01-31\n"),
        "layers[1].units: 2020-01-31 should be an integer",
    ),
    "a number for a boolean": (dense(bias=1), "layers[1].bias: 1 should be true or false"),
    "a string for a boolean": (dense(bias="no"), "layers[1].bias: 'no' should be true or false"),
    "a boolean for a kernel": (conv(kernel=True), f"layers[0].kernel: true {ONE_OR_TWO}"),
    "a string for a kernel": (conv(kernel="3x3"), f"layers[0].kernel: '3x3' {ONE_OR_TWO}"),
    "three numbers for a kernel": (
        conv(kernel=[3, 3, 3]),
        f"layers[0].kernel: [3, 3, 3] {ONE_OR_TWO}",
    ),
    "one number in an array": (conv(kernel=[3]), f"layers[0].kernel: [3] {ONE_OR_TWO}"),
    "a string in a kernel": (
        conv(kernel=[3, "3"]),
        "layers[0].kernel[1]: '3' should be an integer",
    ),
    "a boolean in a kernel": (
        conv(kernel=[True, 3]),
        "layers[0].kernel[0]: true should be an integer",
    ),
    "a string for a fraction": (
        toml(FLATTEN, layer("dropout", rate="half"), DENSE),
        "layers[1].rate: 'half' should be a number",
    ),
    "a boolean for a fraction": (
        toml(FLATTEN, layer("dropout", rate=False), DENSE),
        "layers[1].rate: false should be a number",
    ),
    "a number for a name": (dense(name=3), "layers[1].name: 3 should be a string"),
    "a number for the spec's name": (toml(name=3), "name: 3 should be a string"),
    "five sizes": (
        toml(size=[8, 8, 1, 1, 1]),
        "input: [8, 8, 1, 1, 1] should have three values: height, width, channels; or two, or four",
    ),
    "a string of sizes": (toml(size="8x8x1"), "input: '8x8x1' should be an array"),
    "an unknown padding": (
        conv(padding="SAME"),
        "layers[0].padding: 'SAME' should be 'same', 'valid', a number of pixels from 0 to 1024, "
        "[rows, columns] or [[top, bottom], [left, right]]",
    ),
    "an unknown activation": (
        dense(activation="mish"),
        "layers[1].activation: 'mish' should be 'linear', 'relu', 'relu6', 'leaky_relu', 'elu', "
        "'gelu', 'gelu_tanh', 'silu', 'tanh', 'sigmoid', 'hard_swish' or 'softmax'",
    ),
    "an unknown loss": (
        toml(training='[training]\nloss = "mse"\n'),
        "training.loss: 'mse' should be 'cross_entropy', 'binary_cross_entropy', "
        "'mean_squared_error' or 'huber'",
    ),
    "a number for a layer": (
        'layers = [3]\nname = "example"\ninput = [8, 8, 1]\n',
        "layers[0]: 3 should be a table",
    ),
    "a table for the layers": (
        toml('[layers]\ntype = "dense"\n'),
        "layers: {type = 'dense'} should be an array of tables, each begun by [[layers]]",
    ),
    "an array for the training": (
        toml(training="[[training]]\nepochs = 1\n"),
        "training: [{epochs = 1}] should be a table",
    ),
    "a string for the optimizer": (
        toml(training='[training]\noptimizer = "adam"\n'),
        "training.optimizer: 'adam' should be a table",
    ),
}


@pytest.mark.parametrize(("text", "line"), WRONG.values(), ids=WRONG.keys())
def test_a_value_of_the_wrong_type_is_quoted_as_it_was_written(text, line):
    assert problem(text) == line


OUT_OF_RANGE = {
    "no filters": (conv(filters=0), "layers[0].filters: 0 should be greater than or equal to 1"),
    "too many units": (
        dense(units=1_000_001),
        "layers[1].units: 1000001 should be less than or equal to 1000000",
    ),
    "a kernel of nothing": (conv(kernel=0), f"layers[0].kernel: 0 {ONE_OR_TWO}"),
    "a kernel of half nothing": (
        conv(kernel=[3, 0]),
        "layers[0].kernel[1]: 0 should be greater than or equal to 1",
    ),
    "a huge kernel": (conv(kernel=1025), f"layers[0].kernel: 1025 {ONE_OR_TWO}"),
    "a stride backwards": (conv(stride=-1), f"layers[0].stride: -1 {ONE_OR_TWO}"),
    "a pool's stride of nothing": (
        toml(layer("max_pool", size=2, stride=0), FLATTEN, DENSE),
        "layers[0].stride: 0 should be an integer from 1 to 1024, or an array of one for each axis",
    ),
    "no width": (toml(size=[8, 0, 1]), "input[1]: 0 should be greater than or equal to 1"),
    "too many channels": (
        toml(size=[8, 8, 65537]),
        "input[2]: 65537 should be less than or equal to 65536",
    ),
    "everything dropped": (
        toml(FLATTEN, layer("dropout", rate=1.0), DENSE),
        "layers[1].rate: 1.0 should be less than 1",
    ),
    "a negative rate": (
        toml(FLATTEN, layer("dropout", rate=-0.1), DENSE),
        "layers[1].rate: -0.1 should be greater than or equal to 0",
    ),
    "no epochs": (
        toml(training="[training]\nepochs = 0\n"),
        "training.epochs: 0 should be greater than or equal to 1",
    ),
    "a huge batch": (
        toml(training="[training]\nbatch_size = 65537\n"),
        "training.batch_size: 65537 should be less than or equal to 65536",
    ),
    "nothing but validation": (
        toml(training="[training]\nvalidation_split = 1\n"),
        "training.validation_split: 1 should be less than 1",
    ),
    "no learning rate": (
        toml(training=ADAM + "learning_rate = 0\n"),
        "training.optimizer.learning_rate: 0 should be greater than 0",
    ),
    "no epsilon": (
        toml(training=ADAM + "epsilon = 0.0\n"),
        "training.optimizer.epsilon: 0.0 should be greater than 0",
    ),
    "a long description": (
        toml(head=f'description = "{"a" * 501}"'),
        f"description: '{'a' * 56}... should have at most 500 characters",
    ),
    "no layers": (
        'layers = []\nname = "example"\ninput = [8, 8, 1]\n',
        "layers: there are 0; allowed: 1 to 2000",
    ),
    "too many layers": (toml(*[FLATTEN] * 2001), "layers: there are 2001; allowed: 1 to 2000"),
}


@pytest.mark.parametrize(("text", "line"), OUT_OF_RANGE.values(), ids=OUT_OF_RANGE.keys())
def test_a_value_out_of_range_is_refused_with_the_limit(text, line):
    assert problem(text) == line


FRACTIONS = {
    "training.optimizer.learning_rate": ADAM + "learning_rate = {}\n",
    "training.optimizer.beta1": ADAM + "beta1 = {}\n",
    "training.optimizer.epsilon": ADAM + "epsilon = {}\n",
    "training.optimizer.momentum": SGD + "momentum = {}\n",
    "training.validation_split": "[training]\nvalidation_split = {}\n",
}


@pytest.mark.parametrize("value", ["nan", "+nan", "-nan", "inf", "-inf"])
@pytest.mark.parametrize("path", FRACTIONS)
def test_a_number_that_is_none_or_infinite_is_refused(path, value):
    line = problem(toml(training=FRACTIONS[path].format(value)))
    assert line.startswith(f"{path}: {value.lstrip('+').replace('-nan', 'nan')} should be ")


def test_nesterov_needs_momentum():
    line = "training.optimizer.nesterov: true needs a momentum above 0, for example momentum = 0.9"
    assert problem(toml(training=SGD + "nesterov = true\n")) == line
    assert problem(toml(training=SGD + "nesterov = true\nmomentum = 0\n")) == line
    parse(training=SGD + "nesterov = true\nmomentum = 0.9\n")
    parse(training=SGD + "nesterov = false\n")


def test_nesterov_is_not_blamed_for_a_momentum_out_of_range():
    assert problem(toml(training=SGD + "nesterov = true\nmomentum = 1.0\n")) == (
        "training.optimizer.momentum: 1.0 should be less than 1"
    )
