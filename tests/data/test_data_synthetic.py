from __future__ import annotations

import numpy as np
import pytest

from harness.data import load, synthetic
from harness.errors import DataError


def test_the_name_gives_shape_classes_and_sizes():
    dataset = load("synthetic:6x5x3:4:101")
    assert dataset.image_shape == (6, 5, 3)
    assert dataset.classes == 4
    assert len(dataset.train_images) == len(dataset.train_labels) == 101
    assert len(dataset.test_images) == len(dataset.test_labels) == 20


@pytest.mark.parametrize("shape", [(40, 2), (5, 6, 7, 2)])
def test_with_two_sizes_they_are_signals_with_four_volumes(shape):
    dataset = load(f"synthetic:{'x'.join(map(str, shape))}:3:300")
    assert dataset.image_shape == shape
    assert dataset.train_images.shape == (300, *shape)
    means = np.stack([dataset.train_images[dataset.train_labels == k].mean(0) for k in range(3)])
    gaps = ((dataset.test_images[:, None] - means) ** 2).sum(tuple(range(2, 2 + len(shape))))
    assert (gaps.argmin(1) == dataset.test_labels).mean() > 0.9


def test_there_are_at_least_as_many_test_images_as_classes():
    dataset = load("synthetic:4x4x1:10:10")
    assert sorted(dataset.test_labels.tolist()) == list(range(10))


def test_images_are_float32_in_the_unit_interval_and_classes_balanced():
    dataset = load("synthetic:8x8x1:3:300")
    assert dataset.train_images.dtype == np.float32
    assert dataset.train_images.min() >= 0
    assert dataset.train_images.max() < 1
    assert np.bincount(dataset.train_labels).tolist() == [100, 100, 100]
    assert dataset.train_labels[:3].tolist() != [0, 1, 2]


def test_the_same_name_gives_the_same_images_everywhere():
    assert load("synthetic:8x8x3:10:64").hash == "8af711d31f9f6dc5"


def test_the_images_do_not_depend_on_how_many_are_drawn_at_a_time(monkeypatch):
    whole = load("synthetic:8x8x1:3:50").hash
    monkeypatch.setattr(synthetic, "_BLOCK", 150)
    assert load("synthetic:8x8x1:3:50").hash == whole


def test_training_and_test_images_are_different():
    dataset = load("synthetic:8x8x1:2:20")
    assert not np.isin(dataset.test_images, dataset.train_images).all()


def test_the_nearest_class_mean_recognises_unseen_images():
    dataset = load("synthetic:16x16x1:10:500")
    means = np.stack([dataset.train_images[dataset.train_labels == k].mean(0) for k in range(10)])
    gaps = ((dataset.test_images[:, None] - means) ** 2).sum((2, 3, 4))
    assert (gaps.argmin(1) == dataset.test_labels).mean() > 0.9


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("synthetic", "not of the form synthetic:HxWxC:classes:n. Try: synthetic:32x32x3:10:2048"),
        ("synthetic:32:10:2048", "not of the form"),
        ("synthetic:4x4x4x4x1:10:2048", "not of the form"),
        ("synthetic:32x32x3:10:-5", "not of the form"),
        ("synthetic:32x32x3:10:1e3", "not of the form"),
        ("synthetic:32x32x3:10:٣٣", "not of the form"),
        ("synthetic:32x32x3:10:" + "9" * 5000, "not of the form"),
        ("synthetic:0x32x3:10:100", "height is 0; allowed: 1 to 4096"),
        ("synthetic:32x4097x3:10:100", "width is 4097"),
        ("synthetic:32x32x1025:10:100", "channels is 1025"),
        ("synthetic:65537x1:10:100", "length is 65537; allowed: 1 to 65536"),
        ("synthetic:0x8x8x1:10:100", "depth is 0; allowed: 1 to 4096"),
        ("synthetic:32x32x3:1:100", "classes is 1; allowed: 2 to"),
        ("synthetic:32x32x3:10:100000001", "n is 100000001"),
        ("synthetic:32x32x3:10:9", "at least the number of classes, 10"),
        ("synthetic:4096x4096x3:10:20480", r"bytes as float32; allowed: up to .* \(256 GiB\)"),
    ],
)
def test_a_number_missing_or_out_of_range_is_refused(name, message):
    with pytest.raises(DataError, match=message) as caught:
        load(name)
    assert "dataset 'synthetic" in str(caught.value)
