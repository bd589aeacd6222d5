from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from harness.data import Dataset, load
from harness.data.names import TEST, TRAIN
from harness.data.resize import bilinear


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def test_digits_are_28_by_28_grey_float32_in_the_unit_interval(digits):
    assert digits.image_shape == (28, 28, 1)
    assert digits.train_images.shape == (TRAIN, 28, 28, 1)
    assert digits.test_images.shape == (TEST, 28, 28, 1)
    for images in (digits.train_images, digits.test_images):
        assert images.dtype == np.float32
        assert images.min() == 0
        assert images.max() == 1


def test_digits_have_int32_labels_of_ten_classes(digits):
    assert digits.classes == 10
    for labels in (digits.train_labels, digits.test_labels):
        assert labels.dtype == np.int32
        assert set(labels.tolist()) == set(range(10))


def test_a_fifth_of_each_digit_is_for_testing(digits):
    train, test = (np.bincount(part) for part in (digits.train_labels, digits.test_labels))
    assert np.all(np.abs(test - (train + test) / 5) <= 1)


def test_training_and_test_digits_are_all_of_the_bundled_ones(digits):
    from sklearn.datasets import load_digits

    labels = np.concatenate([digits.train_labels, digits.test_labels])
    assert np.array_equal(np.bincount(labels), np.bincount(load_digits().target))


def test_digits_are_read_without_importing_what_brings_them():
    code = (
        "import sys; from harness.data import load; load('digits'); print('sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_digits_that_lie_elsewhere_are_asked_for(digits, monkeypatch):
    monkeypatch.setattr("harness.data.digits.find_spec", lambda name: None)
    assert load("digits").hash == digits.hash


def test_digits_are_the_same_everywhere(digits):
    assert digits.hash == "9144f852c0e07ebc"


def test_bilinear_uses_half_pixel_centres_and_clamps_at_the_edges():
    row = np.array([0.0, 1.0]).reshape(1, 1, 2, 1)
    assert bilinear(row, 1, 4).ravel().tolist() == [0, 0.25, 0.75, 1]


def test_bilinear_agrees_with_an_independent_implementation():
    from scipy.ndimage import map_coordinates

    image = np.random.default_rng(0).random((8, 5))
    grids = [(np.arange(t) + 0.5) * s / t - 0.5 for t, s in ((28, 8), (9, 5))]
    expected = map_coordinates(image, np.meshgrid(*grids, indexing="ij"), order=1, mode="nearest")
    found = bilinear(image[None, :, :, None], 28, 9)[0, :, :, 0]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_bilinear_keeps_images_and_channels_apart():
    images = np.zeros((2, 2, 2, 3))
    images[1, :, :, 2] = 1
    large = bilinear(images, 4, 4)
    assert large[1, :, :, 2].min() == 1
    assert large.sum() == 16
