from __future__ import annotations

import pytest

from harness.spec import (
    Adam,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Training,
    infer,
    library,
    load_spec,
)


def test_the_library_is_listed_by_name_and_every_model_can_be_loaded():
    assert {"mnist-1conv", "mnist-2conv"} <= set(library())
    assert library() == sorted(library())
    for name in library():
        spec = load_spec(name)
        assert spec.name == name
        assert spec.description


def test_mnist_2conv_is_the_net_of_many_first_tutorials():
    spec = load_spec("mnist-2conv")
    assert spec.input == (28, 28, 1)
    assert spec.initializer == "glorot_uniform"
    assert spec.layers == (
        Conv2D(name="conv1", filters=32, kernel=(5, 5), padding="same", activation="relu"),
        MaxPool(name="pool1", size=(2, 2)),
        Conv2D(name="conv2", filters=64, kernel=(5, 5), padding="same", activation="relu"),
        MaxPool(name="pool2", size=(2, 2)),
        Flatten(name="flatten1"),
        Dense(name="dense1", units=1024, activation="relu"),
        Dropout(name="dropout1", rate=0.5),
        Dense(name="dense2", units=10, activation="softmax"),
    )
    assert spec.training == Training(
        loss="cross_entropy",
        optimizer=Adam(learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8),
        batch_size=128,
        epochs=10,
        validation_split=0.0,
        last_batch="drop",
    )


def test_mnist_1conv_is_the_smaller_net_and_keeps_a_fifth_for_validation():
    spec = load_spec("mnist-1conv")
    assert spec.input == (28, 28, 1)
    assert spec.layers == (
        Conv2D(name="conv1", filters=32, kernel=(3, 3), padding="valid", activation="relu"),
        MaxPool(name="pool1", size=(2, 2)),
        Flatten(name="flatten1"),
        Dense(name="dense1", units=128, activation="relu"),
        Dropout(name="dropout1", rate=0.5),
        Dense(name="dense2", units=10, activation="softmax"),
    )
    two = load_spec("mnist-2conv").training
    assert spec.training == two.model_copy(update={"validation_split": 0.2})


def test_mnist_2conv_has_3_274_634_parameters():
    network = infer(load_spec("mnist-2conv"))
    assert {p.path: p.size for p in network.parameters} == {
        "conv1.kernel": 800,  # 5 * 5 * 1 * 32
        "conv1.bias": 32,
        "conv2.kernel": 51_200,  # 5 * 5 * 32 * 64
        "conv2.bias": 64,
        "dense1.kernel": 3_211_264,  # 7 * 7 * 64 * 1024
        "dense1.bias": 1024,
        "dense2.kernel": 10_240,  # 1024 * 10
        "dense2.bias": 10,
    }
    assert network.parameter_count == 3_274_634


def test_mnist_1conv_has_693_962_parameters():
    network = infer(load_spec("mnist-1conv"))
    assert {p.path: p.size for p in network.parameters} == {
        "conv1.kernel": 288,  # 3 * 3 * 1 * 32
        "conv1.bias": 32,
        "dense1.kernel": 692_224,  # 13 * 13 * 32 * 128
        "dense1.bias": 128,
        "dense2.kernel": 1280,  # 128 * 10
        "dense2.bias": 10,
    }
    assert network.parameter_count == 693_962


def test_mnist_2conv_costs_27_767_808_operations_an_image():
    network = infer(load_spec("mnist-2conv"))
    assert {node.name: node.flops for node in network.nodes if node.flops} == {
        "conv1": 1_254_400,  # 2 * 28 * 28 pixels * 5 * 5 * 1 * 32
        "conv2": 20_070_400,  # 2 * 14 * 14 pixels * 5 * 5 * 32 * 64
        "dense1": 6_422_528,  # 2 * 3136 * 1024
        "dense2": 20_480,  # 2 * 1024 * 10
    }
    assert network.flops_per_image == 27_767_808


def test_mnist_1conv_costs_1_776_384_operations_an_image():
    network = infer(load_spec("mnist-1conv"))
    assert {node.name: node.flops for node in network.nodes if node.flops} == {
        "conv1": 389_376,  # 2 * 26 * 26 pixels * 3 * 3 * 1 * 32
        "dense1": 1_384_448,  # 2 * 5408 * 128
        "dense2": 2560,  # 2 * 128 * 10
    }
    assert network.flops_per_image == 1_776_384


def test_the_shapes_of_the_library_are_those_of_the_frameworks():
    shapes = {name: infer(load_spec(name)).nodes for name in ("mnist-1conv", "mnist-2conv")}
    assert [node.output_shape for node in shapes["mnist-1conv"]] == [
        (26, 26, 32),
        (13, 13, 32),
        (5408,),
        (128,),
        (128,),
        (10,),
    ]
    assert [node.output_shape for node in shapes["mnist-2conv"]] == [
        (28, 28, 32),
        (14, 14, 32),
        (14, 14, 64),
        (7, 7, 64),
        (3136,),
        (1024,),
        (1024,),
        (10,),
    ]
    assert shapes["mnist-2conv"][0].pads == ((2, 2), (2, 2))


def test_the_learning_rate_is_the_same_at_every_step():
    rates = load_spec("mnist-2conv").training.learning_rates(7)
    assert rates.shape == (70,)
    assert set(rates) == {1e-3}


# Parameters, and multiply-adds in millions, with the source of each figure. torchvision's are
# those on the pages of its models; they count a multiply-add as one operation.
PUBLISHED = {
    "lenet-5": (61_706, 0.4165, "figure 2 of LeCun et al., summed up with full tables"),
    "vgg-16-bn": (15_253_578, 313.73, "chenyaofo/pytorch-cifar-models, cifar10_vgg16_bn"),
    "resnet-20": (272_474, 40.81, "He et al.: 0.27 M; pytorch-cifar-models, cifar10_resnet20"),
    "wrn-16-4": (2_748_890, None, "Zagoruyko and Komodakis: 2.7 M"),
    "densenet-bc-100-12": (769_162, None, "Huang et al.: 0.8 M"),
    "m5": (559_114, None, "Dai et al.: 0.5 M"),
    "pilotnet": (252_219, 27.0, "Bojarski et al.: 250 thousand, and 27 million connections"),
    "resnet-18": (11_689_512, 1814, "torchvision"),
    "resnet-50": (25_557_032, 4089, "torchvision"),
    "mobilenet-v2": (3_504_872, 301, "torchvision"),
    "squeezenet": (1_235_496, 349, "torchvision, squeezenet1_1"),
    "googlenet": (6_624_904, 1498, "torchvision"),
    "convnext-tiny": (28_589_128, 4456, "torchvision"),
    "efficientnet-b0": (5_288_548, 386, "torchvision"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_operations_are_the_published_ones(name):
    parameters, multiply_adds, _ = PUBLISHED[name]
    network = infer(load_spec(name))
    assert network.parameter_count == parameters
    if multiply_adds:
        assert network.flops_per_image / 2e6 == pytest.approx(
            multiply_adds, rel=1e-2 if name == "pilotnet" else 2.5e-3
        )


def test_every_model_of_the_library_has_a_published_figure_or_one_that_is_counted_above():
    assert set(library()) == {*PUBLISHED, "mnist-1conv", "mnist-2conv"}
