"""Model and dataset that do not fit are one error, before any worker starts."""

from __future__ import annotations

import numpy as np
import pytest

from harness.data.dataset import build
from harness.errors import UsageError
from harness.run.plan import check_fit
from harness.spec import parse_spec

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
