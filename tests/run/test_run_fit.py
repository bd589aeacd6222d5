"""Model and dataset that do not fit are one error, before any worker starts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.data.dataset import build
from harness.errors import UsageError
from harness.run.plan import check_fit, check_images, fit
from harness.spec import Augment, infer, load_spec, parse_spec

RNG = np.random.default_rng(0)
IMAGES = RNG.random((8, 4, 4, 1), np.float32)


def spec(loss: str, units: int = 2):
    text = 'name = "small"\ninput = [4, 4, 1]\n'
    layers = f'layers = [{{ type = "flatten" }}, {{ type = "dense", units = {units} }}]\n'
    return parse_spec(f'{text}{layers}[training]\nloss = "{loss}"\nbatch_size = 4\n', "small")


def dataset(labels, classes=None):
    return build("own", (IMAGES, labels), (IMAGES, labels), classes)


VALUES = dataset(RNG.normal(size=(8, 2)).astype(np.float32))
SHARES = dataset(RNG.random((8, 2), np.float32))
CLASSES = dataset(np.arange(8, dtype=np.int32) % 2, 2)


@pytest.mark.parametrize("loss", ["mean_squared_error", "huber"])
def test_real_targets_fit_losses_on_values(loss):
    check_fit(spec(loss), 2, VALUES)


def test_shares_fit_binary_cross_entropy_and_other_values_do_not():
    check_fit(spec("binary_cross_entropy"), 2, SHARES)
    for values in (1.5 * SHARES.train_labels, SHARES.train_labels - 0.5):
        with pytest.raises(UsageError, match="needs targets from 0 to 1, dataset 'own' has them"):
            check_fit(spec("binary_cross_entropy"), 2, dataset(values.astype(np.float32)))


def test_real_targets_do_not_fit_a_loss_on_classes():
    with pytest.raises(UsageError, match=r'cross_entropy needs class labels, .* or "huber"'):
        check_fit(spec("cross_entropy"), 2, VALUES)


@pytest.mark.parametrize("loss", ["mean_squared_error", "huber", "binary_cross_entropy"])
def test_there_must_be_as_many_outputs_as_targets(loss):
    with pytest.raises(UsageError, match="has 3 outputs, dataset 'own' has 2 targets"):
        check_fit(spec(loss, 3), 3, SHARES)


@pytest.mark.parametrize(
    "loss", ["cross_entropy", "mean_squared_error", "huber", "binary_cross_entropy"]
)
def test_class_labels_fit_every_loss(loss):
    check_fit(spec(loss), 2, CLASSES)


def test_how_an_array_file_is_to_be_read_is_said_where_that_would_help():
    text = 'name = "s"\ninput = [4, 4]\nlayers = [{ type = "flatten" }, '
    signals = parse_spec(text + '{ type = "dense", units = 2 }]\n', "s")
    with pytest.raises(UsageError, match=r"Try: --fit, or a model with input = \[4, 4, 1\]"):
        check_images(signals, 2, CLASSES)
    own = replace(CLASSES, name="npz:own.npz")
    with pytest.raises(UsageError, match=r"has 4x4x1\. Try: --dataset npz:FILE:4x4, which"):
        check_images(signals, 2, own)


def test_fitted_a_model_has_the_image_size_and_the_outputs_of_the_data_set():
    fitted = fit(load_spec("resnet-20"), CLASSES)
    assert fitted.input == (4, 4, 1)
    assert infer(fitted).output_shape == (2,)
    assert fitted.layers[:-1] == load_spec("resnet-20").layers[:-1]
    assert fitted.hash != load_spec("resnet-20").hash
    check_images(fitted, 2, CLASSES)


def test_fitted_to_real_targets_a_model_has_as_many_outputs():
    assert infer(fit(spec("huber", 7), VALUES)).output_shape == (2,)


def test_the_outputs_may_be_those_of_a_convolution_behind_which_comes_a_pool():
    text = (
        'name = "small"\ninput = [8, 8, 1]\n'
        'layers = [{ type = "conv2d", filters = 9, kernel = 1 }, '
        '{ type = "global_avg_pool" }, { type = "activation", function = "softmax" }]\n'
    )
    assert infer(fit(parse_spec(text, "small"), CLASSES)).output_shape == (2,)


def test_augmentation_that_can_leave_nothing_of_such_images_is_one_clear_error():
    large = spec("cross_entropy").model_copy(update={"input": (8, 8, 1)})
    training = large.training.model_copy(update={"augment": Augment(crop_padding=4)})
    with pytest.raises(UsageError, match=r"--fit: training\.augment\.crop_padding: 4 can"):
        fit(large.model_copy(update={"training": training}), CLASSES)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('layers = [{ type = "flatten" }]', "no last layer whose units could be 2"),
        (
            'layers = [{ type = "conv2d", filters = 1, kernel = 5 }, { type = "flatten" }]',
            "larger than its input of 4x4",
        ),
    ],
)
def test_a_model_that_cannot_be_fitted_is_one_clear_error(text, reason):
    spec = parse_spec(f'name = "small"\ninput = [8, 8, 1]\n{text}\n', "small")
    with pytest.raises(UsageError, match=f"--fit: .*{reason}"):
        fit(spec, CLASSES)
