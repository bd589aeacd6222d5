from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from harness.data.augment import augment
from harness.data.streams import RawBits, Stream


@dataclass(frozen=True)
class Change:
    crop_padding: int = 0
    flip: bool = False
    cutout: int = 0


ALL = Change(2, True, 3)
IMAGES = np.random.default_rng(0).uniform(0.1, 1, (40, 7, 9, 3)).astype(np.float32)
GOLDEN = [
    [
        [0, 0, 42, 0, 0, 39],
        [0, 0, 48, 0, 0, 45],
        [0, 0, 54, 53, 52, 51],
        [0, 0, 60, 59, 58, 57],
        [0, 0, 66, 65, 64, 63],
        [0, 0, 72, 71, 70, 69],
    ],
    [
        [0, 1, 2, 3, 4, 5],
        [0, 7, 8, 9, 10, 11],
        [0, 13, 14, 15, 16, 17],
        [0, 19, 20, 21, 22, 23],
        [0, 25, 26, 27, 28, 29],
        [0, 31, 32, 33, 34, 35],
    ],
]
ROWS = np.random.default_rng(1).permutation(40).astype(np.int64)


def change(change=ALL, seed=0, epoch=0, first=0, rows=ROWS, images=IMAGES):
    return augment(images, rows, change, seed, epoch, first)


def test_the_same_seed_epoch_and_position_give_the_same_pixels():
    assert np.array_equal(change(), change())


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"first": 1}])
def test_another_seed_epoch_or_position_gives_others(other):
    assert not np.array_equal(change(), change(**other))


@pytest.mark.parametrize("size", [1, 7, 39])
def test_an_epoch_may_be_made_in_pieces(size):
    pieces = [change(first=at, rows=ROWS[at : at + size]) for at in range(0, 40, size)]
    assert np.array_equal(np.concatenate(pieces), change())


def test_the_result_does_not_depend_on_how_many_images_are_gathered_at_a_time(monkeypatch):
    whole = change()
    monkeypatch.setattr("harness.data.augment._CHUNK", 7 * 9 * 3 * 3)
    assert np.array_equal(change(), whole)


def test_the_bits_are_those_of_all_versions_and_machines():
    images = (np.arange(2 * 6 * 6, dtype=np.float32) + 1).reshape(2, 6, 6, 1)
    changed = augment(images, np.array([1, 0]), Change(2, True, 2), 3, 1, 5)
    assert changed[..., 0].astype(int).tolist() == GOLDEN


def by_hand(draws, image, change):
    """The same, written as one would say it: pad, cut, mirror, cover."""
    height, width, _ = image.shape
    p = change.crop_padding
    below = [int(word >> np.uint64(32)) for word in draws]
    pick = lambda k, limit: (below[k] * limit) >> 32  # noqa: E731
    padded = np.pad(image, ((p, p), (p, p), (0, 0)))
    top, left = pick(0, 2 * p + 1), pick(1, 2 * p + 1)
    result = padded[top : top + height, left : left + width].copy()
    if change.flip and pick(2, 2):
        result = result[:, ::-1].copy()
    if change.cutout:
        y, x = pick(3, height) - change.cutout // 2, pick(4, width) - change.cutout // 2
        result[max(y, 0) : max(y + change.cutout, 0), max(x, 0) : max(x + change.cutout, 0)] = 0
    return result


@pytest.mark.parametrize(
    "asked",
    [Change(2), Change(flip=True), Change(cutout=1), Change(cutout=4), Change(cutout=50), ALL,
     Change(8, False, 2)],
    ids=str,
)  # fmt: skip
def test_it_is_what_padding_cutting_mirroring_and_covering_by_hand_give(asked):
    draws = RawBits(Stream.AUGMENT, 5, 2).words(8 * 40).reshape(40, 8)
    expected = [by_hand(d, IMAGES[row], asked) for d, row in zip(draws, ROWS, strict=True)]
    assert np.array_equal(change(asked, seed=5, epoch=2), expected)


def test_half_of_the_images_are_mirrored_and_nothing_else_is_done_to_them():
    changed = change(Change(flip=True))
    same = [np.array_equal(a, b) for a, b in zip(changed, IMAGES[ROWS], strict=True)]
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(changed, IMAGES[ROWS], strict=True)]
    assert all(a != b for a, b in zip(same, mirrored, strict=True))
    assert 10 <= sum(mirrored) <= 30


def test_every_offset_of_a_crop_and_every_centre_of_a_hole_occurs():
    rows = np.zeros(4000, np.int64)
    image = np.ones((1, 3, 3, 1), np.float32)
    for asked in (Change(1), Change(cutout=1)):
        assert len(np.unique(change(asked, rows=rows, images=image), axis=0)) == 9


def test_a_hole_is_clipped_at_the_border():
    rows = np.zeros(500, np.int64)
    holes = change(Change(cutout=3), rows=rows, images=np.ones((1, 5, 5, 1), np.float32)) == 0
    assert {int(hole.sum()) for hole in holes} == {4, 6, 9}


def test_the_images_themselves_stay_as_they_are():
    before = IMAGES.copy()
    change()
    assert np.array_equal(IMAGES, before)


def test_a_memory_mapped_set_works_too(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert np.array_equal(change(images=mapped), change())


def test_nothing_to_change_is_no_error():
    assert change(rows=ROWS[:0]).shape == (0, 7, 9, 3)


def test_skipped_words_are_those_that_would_have_come():
    whole, later = RawBits(Stream.AUGMENT, 1), RawBits(Stream.AUGMENT, 1)
    later.skip(24)
    assert np.array_equal(later.words(8), whole.words(32)[24:])
    with pytest.raises(ValueError, match="only multiples of 4"):
        RawBits(Stream.AUGMENT, 1).skip(3)
