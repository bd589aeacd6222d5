from __future__ import annotations

import pytest
from spec_examples import ADAM, CONV, DENSE, FLATTEN, SGD, layer, parse

from harness.spec import library, load_spec, spec_from_json

PLAIN = parse(CONV, FLATTEN, DENSE)


def test_the_hash_is_sixteen_hex_digits_and_the_same_every_time():
    assert len(bytes.fromhex(PLAIN.hash)) == 8
    assert parse(CONV, FLATTEN, DENSE).hash == PLAIN.hash


def test_a_spec_from_before_there_were_initializers_of_biases_keeps_its_hash():
    assert load_spec("mnist-1conv").hash == "d0aaae34d22aeeb1"
    assert load_spec("resnet-20").hash == "0002f8a6c6bf2e2f"


def test_the_description_does_not_matter_to_the_hash():
    described = parse(CONV, FLATTEN, DENSE, head='description = "words"')
    assert described != PLAIN
    assert described.hash == PLAIN.hash


def test_writing_a_default_out_does_not_matter_to_the_hash():
    conv = layer(
        "conv2d",
        name="conv1",
        filters=4,
        kernel=[3, 3],
        stride=1,
        padding="valid",
        bias=True,
        activation="linear",
    )
    training = (
        '[training]\nloss = "cross_entropy"\nbatch_size = 128\nepochs = 10\n'
        'validation_split = 0\nlast_batch = "drop"\n'
        f"{ADAM}learning_rate = 1e-3\nbeta1 = 0.90\nbeta2 = 0.999\nepsilon = 1e-8\n"
    )
    head = 'initializer = "glorot_uniform"\nbias_initializer = "zeros"'
    assert parse(conv, FLATTEN, DENSE, head=head, training=training).hash == PLAIN.hash


def test_the_default_stride_of_a_pool_written_out_does_not_matter_to_the_hash():
    plain = parse(layer("max_pool", size=[2, 3]), FLATTEN, DENSE)
    explicit = parse(layer("max_pool", size=[2, 3], stride=[2, 3]), FLATTEN, DENSE)
    assert explicit.hash == plain.hash
    assert parse(layer("max_pool", size=[2, 3], stride=2), FLATTEN, DENSE).hash != plain.hash


HALF = '{type = "constant", value = 0.5}'
OTHERS = {
    "name": parse(CONV, FLATTEN, DENSE, name="other"),
    "input": parse(CONV, FLATTEN, DENSE, size=[8, 9, 1]),
    "initializer": parse(CONV, FLATTEN, DENSE, head='initializer = "he_normal"'),
    "constant kernels": parse(CONV, FLATTEN, DENSE, head=f"initializer = {HALF}"),
    "constant biases": parse(CONV, FLATTEN, DENSE, head=f"bias_initializer = {HALF}"),
    "filters": parse(layer("conv2d", filters=5, kernel=3), FLATTEN, DENSE),
    "kernel": parse(layer("conv2d", filters=4, kernel=[3, 2]), FLATTEN, DENSE),
    "stride": parse(layer("conv2d", filters=4, kernel=3, stride=2), FLATTEN, DENSE),
    "padding": parse(layer("conv2d", filters=4, kernel=3, padding="same"), FLATTEN, DENSE),
    "bias": parse(layer("conv2d", filters=4, kernel=3, bias=False), FLATTEN, DENSE),
    "activation": parse(layer("conv2d", filters=4, kernel=3, activation="relu"), FLATTEN, DENSE),
    "a layer's name": parse(CONV, FLATTEN, layer("dense", name="last", units=10)),
    "one layer more": parse(CONV, FLATTEN, layer("dropout", rate=0.5), DENSE),
    "the rate of dropout": parse(CONV, FLATTEN, layer("dropout", rate=0.25), DENSE),
    "order": parse(layer("dropout", rate=0.5), CONV, FLATTEN, DENSE),
    "loss": parse(CONV, FLATTEN, DENSE, training='[training]\nloss = "mean_squared_error"\n'),
    "batch size": parse(CONV, FLATTEN, DENSE, training="[training]\nbatch_size = 64\n"),
    "epochs": parse(CONV, FLATTEN, DENSE, training="[training]\nepochs = 1\n"),
    "validation": parse(CONV, FLATTEN, DENSE, training="[training]\nvalidation_split = 0.2\n"),
    "last batch": parse(CONV, FLATTEN, DENSE, training='[training]\nlast_batch = "keep"\n'),
    "learning rate": parse(CONV, FLATTEN, DENSE, training=ADAM + "learning_rate = 0.01\n"),
    "epsilon": parse(CONV, FLATTEN, DENSE, training=ADAM + "epsilon = 1e-7\n"),
    "optimizer": parse(CONV, FLATTEN, DENSE, training=SGD),
    "momentum": parse(CONV, FLATTEN, DENSE, training=SGD + "momentum = 0.9\n"),
    "nesterov": parse(CONV, FLATTEN, DENSE, training=SGD + "momentum = 0.9\nnesterov = true\n"),
}


def test_everything_else_changes_the_hash():
    hashes = {PLAIN.hash, *(spec.hash for spec in OTHERS.values())}
    assert len(hashes) == 1 + len(OTHERS)


@pytest.mark.parametrize("name", library())
def test_a_spec_that_goes_to_a_worker_as_json_is_the_same_spec_there(name):
    spec = load_spec(name)
    sent = spec_from_json(spec.model_dump_json())
    assert sent == spec
    assert sent.hash == spec.hash


@pytest.mark.parametrize("spec", OTHERS.values(), ids=OTHERS.keys())
def test_so_is_every_other_one(spec):
    assert spec_from_json(spec.model_dump_json()) == spec


def test_a_spec_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        PLAIN.name = "other"
    with pytest.raises(ValueError, match="frozen"):
        PLAIN.layers[0].filters = 3
