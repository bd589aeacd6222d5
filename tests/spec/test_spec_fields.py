from __future__ import annotations

import json

import pytest
from spec_examples import ADAM, CONV, DENSE, FLATTEN, POOL, layer, parse, problem, problems, toml


def test_the_examples_are_sound():
    spec = parse(CONV, POOL, FLATTEN, DENSE, training=ADAM)
    assert [layer.name for layer in spec.layers] == ["conv1", "pool1", "flatten1", "dense1"]


UNKNOWN = {
    "of the spec": (
        toml(head="color = 1"),
        "color: unknown field; allowed: bias_initializer, description, initializer, input, layers, "
        "name, training.",
    ),
    "of the spec, nearly right": (
        toml(head='initialiser = "he_normal"'),
        "initialiser: unknown field; allowed: bias_initializer, description, initializer, input, "
        "layers, name, training. Did you mean 'initializer'?",
    ),
    "of a layer": (
        toml(FLATTEN, layer("dense", units=10, unit=3)),
        "layers[1].unit: unknown field; allowed: activation, bias, name, type, units. "
        "Did you mean 'units'?",
    ),
    "of another layer's kind": (
        toml(layer("flatten", size=2), DENSE),
        "layers[0].size: unknown field; allowed: name, type.",
    ),
    "of the training": (
        toml(training="[training]\nbatchsize = 3\n"),
        "training.batchsize: unknown field; allowed: augment, batch_size, clip_norm, epochs, "
        "label_smoothing, last_batch, loss, optimizer, schedule, validation_split. "
        "Did you mean 'batch_size'?",
    ),
    "of the optimizer": (
        toml(training=ADAM + "beta_1 = 0.9\n"),
        "training.optimizer.beta_1: unknown field; allowed: beta1, beta2, epsilon, "
        "learning_rate, type. Did you mean 'beta1'?",
    ),
    "of the other optimizer": (
        toml(training=ADAM + "momentum = 0.9\n"),
        "training.optimizer.momentum: unknown field; allowed: beta1, beta2, epsilon, "
        "learning_rate, type.",
    ),
}


@pytest.mark.parametrize(("text", "line"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_an_unknown_field_is_refused_with_the_known_ones(text, line):
    assert problem(text) == line


@pytest.mark.parametrize("name", ["a\nb", "a.b", "", "layers[0]", "é", "a" * 100_000])
def test_a_field_that_needs_quotes_is_quoted_and_stays_on_its_line(name):
    line = problem(toml(head=f"{json.dumps(name)} = 1"))
    assert line.startswith(repr(name)[:57])
    assert line.splitlines() == [line]
    assert len(line) < 200


MISSING = {
    "name": ("input = [8, 8, 1]\n" + FLATTEN + DENSE, "name: is missing"),
    "input": ('name = "example"\n' + FLATTEN + DENSE, "input: is missing"),
    "layers": ('name = "example"\ninput = [8, 8, 1]\n', "layers: is missing"),
    "height, width": (
        toml(size=[8]),
        "input: [8] should have three values: height, width, channels; or two, or four",
    ),
    "filters": (toml(layer("conv2d", kernel=3), FLATTEN, DENSE), "layers[0].filters: is missing"),
    "size": (toml(layer("max_pool"), FLATTEN, DENSE), "layers[0].size: is missing"),
    "rate": (toml(FLATTEN, layer("dropout"), DENSE), "layers[1].rate: is missing"),
    "function": (toml(FLATTEN, DENSE, layer("activation")), "layers[2].function: is missing"),
    "learning rate of SGD": (
        toml(training='[training.optimizer]\ntype = "sgd"\n'),
        "training.optimizer.learning_rate: is missing",
    ),
}


@pytest.mark.parametrize(("text", "line"), MISSING.values(), ids=MISSING.keys())
def test_a_missing_field_is_named(text, line):
    assert problem(text) == line


def test_an_empty_file_misses_everything():
    assert problems("") == ["name: is missing", "input: is missing", "layers: is missing"]


KINDS = (
    "conv1d, conv2d, conv3d, conv2d_transpose, max_pool, avg_pool, global_avg_pool, "
    "global_max_pool, batch_norm, layer_norm, "
    "group_norm, channel_scale, flatten, dense, dropout, activation, sequence, residual, concat, "
    "squeeze_excite"
)
TAGS = {
    "unknown": (
        toml(FLATTEN, layer("dence", units=3)),
        f"layers[1].type: 'dence'; allowed: {KINDS}. Did you mean 'dense'?",
    ),
    "in capitals": (
        toml(FLATTEN, layer("Dense", units=3)),
        f"layers[1].type: 'Dense'; allowed: {KINDS}. Did you mean 'dense'?",
    ),
    "far off": (
        toml(FLATTEN, layer("transformer", units=3)),
        f"layers[1].type: 'transformer'; allowed: {KINDS}.",
    ),
    "missing": (
        toml(FLATTEN, "[[layers]]\nunits = 3\n"),
        f"layers[1].type: is missing; allowed: {KINDS}.",
    ),
    "a number": (toml(FLATTEN, "[[layers]]\ntype = 3\n"), f"layers[1].type: 3; allowed: {KINDS}."),
    "a table": (
        toml(FLATTEN, "[[layers]]\ntype = {a = [1]}\n"),
        f"layers[1].type: {{a = [1]}}; allowed: {KINDS}.",
    ),
    "of an optimizer": (
        toml(training='[training.optimizer]\ntype = "adams"\n'),
        "training.optimizer.type: 'adams'; allowed: sgd, adam, adamw, rmsprop. "
        "Did you mean 'adam'?",
    ),
    "of a schedule": (
        toml(training='[training.schedule]\ntype = "cosin"\n'),
        "training.schedule.type: 'cosin'; allowed: constant, step, cosine, one_cycle. "
        "Did you mean 'cosine'?",
    ),
    "of no optimizer": (
        toml(training="[training.optimizer]\nlearning_rate = 0.1\n"),
        "training.optimizer.type: is missing; allowed: sgd, adam, adamw, rmsprop.",
    ),
}


@pytest.mark.parametrize(("text", "line"), TAGS.values(), ids=TAGS.keys())
def test_a_wrong_type_of_layer_or_optimizer_is_refused_with_the_known_ones(text, line):
    assert problem(text) == line


def test_all_mistakes_of_a_file_are_reported_at_once():
    text = toml(
        layer("conv2d", kernel=0, filter=3, padding="full"),
        layer("dense", units="3", name="self"),
        layer("pool"),
        name="Mine",
        size=[8],
        head="colour = 3",
        training='[training]\nepochs = 0\n[training.optimizer]\ntype = "adm"\n',
    )
    assert sorted(line.partition(": ")[0] for line in problems(text)) == [
        "colour",
        "input",
        "layers[0].filter",
        "layers[0].filters",
        "layers[0].kernel",
        "layers[0].padding",
        "layers[1].name",
        "layers[1].units",
        "layers[2].type",
        "name",
        "training.epochs",
        "training.optimizer.type",
    ]


def test_mistakes_between_layers_are_reported_at_once_too():
    same = layer("activation", function="softmax", name="same")
    lines = problems(toml(FLATTEN, DENSE, same, same, layer("dropout", rate=0.5)))
    assert [line.partition(":")[0] for line in lines] == [
        "layers[3].name",
        "layers[3] 'same'",
        "layers",
    ]


def test_of_very_many_mistakes_the_rest_is_counted():
    lines = problems("\n".join(f"k{i} = 1" for i in range(1000)))
    assert len(lines) == 101
    assert lines[-1] == "and 903 more"
