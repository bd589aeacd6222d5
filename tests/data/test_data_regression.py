from __future__ import annotations

import numpy as np
import pytest

from harness.data import load, regression
from harness.errors import DataError

NAME = "synthetic-regression:8x8x1:2:500"


def test_the_name_gives_shape_outputs_and_sizes():
    dataset = load("synthetic-regression:6x5x3:4:101")
    assert dataset.image_shape == (6, 5, 3)
    assert dataset.classes is None
    assert dataset.train_labels.shape == (101, 4)
    assert dataset.test_labels.shape == (20, 4)
    assert dataset.test_images.shape == (20, 6, 5, 3)
    assert dataset.train_images.dtype == dataset.train_labels.dtype == np.float32


def test_images_lie_in_the_unit_interval_and_targets_between_minus_one_and_one():
    dataset = load(NAME)
    assert 0 <= dataset.train_images.min() < 0.1
    assert 0.9 < dataset.train_images.max() < 1
    assert -1 <= dataset.train_labels.min() < -0.8
    assert 0.8 < dataset.train_labels.max() <= 1


def test_the_same_name_gives_the_same_bits_everywhere():
    assert load("synthetic-regression:8x8x3:2:64").hash == "92034e21c24774b2"


def test_the_values_do_not_depend_on_how_many_are_made_at_a_time(monkeypatch):
    whole = load(NAME).hash
    monkeypatch.setattr(regression, "_BLOCK", 150)
    assert load(NAME).hash == whole


def test_a_straight_line_through_the_pixels_predicts_most_of_unseen_targets():
    """What remains is the curve of the function, and the noise."""
    dataset = load("synthetic-regression:8x8x1:3:2000")

    def pixels(images):
        return np.hstack([images.reshape(len(images), -1), np.ones((len(images), 1))])

    line, *_ = np.linalg.lstsq(pixels(dataset.train_images), dataset.train_labels, rcond=None)
    error = pixels(dataset.test_images) @ line - dataset.test_labels
    left = error.var(axis=0) / dataset.test_labels.var(axis=0)
    assert (left < 0.1).all()
    assert (left > 0.001).all(), "it is no straight line"


def test_targets_differ_from_each_other_and_training_from_test():
    dataset = load(NAME)
    correlation = np.corrcoef(dataset.train_labels.T)[0, 1]
    assert abs(correlation) < 0.9
    assert not np.isin(dataset.test_labels, dataset.train_labels).any()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("synthetic-regression", "not of the form synthetic-regression:HxWxC:outputs:n. Try: "),
        ("synthetic-regression:8x8:1:9", "not of the form"),
        ("synthetic-regression:8x8x1:1:-9", "not of the form"),
        ("synthetic-regression:3x8x1:1:9", "height is 3; allowed: 4 to 4096"),
        ("synthetic-regression:8x8x1:0:9", "outputs is 0; allowed: 1 to 10000"),
        ("synthetic-regression:8x8x1:1:1", "n is 1; allowed: 2 to"),
        ("synthetic-regression:4096x4096x9:1:1000000", "bytes as float32"),
    ],
)
def test_a_name_out_of_range_is_refused_before_anything_is_allocated(name, message):
    with pytest.raises(DataError, match=message):
        load(name)
