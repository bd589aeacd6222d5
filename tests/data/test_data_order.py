from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data import OrderHash, epoch_batches, split
from harness.data.streams import RawBits, Stream
from harness.errors import DataError


def flat(batches: list[np.ndarray]) -> list[int]:
    return [int(index) for batch in batches for index in batch.ravel()]


@given(
    n=st.integers(1, 300),
    batch=st.integers(1, 64),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 1000),
)
def test_keeping_the_last_batch_uses_every_index_exactly_once(n, batch, seed, epoch):
    indices = np.arange(n) * 3 + 7
    batches = epoch_batches(indices, batch, seed, epoch, "keep")
    assert sorted(flat(batches)) == indices.tolist()
    assert all(rows.dtype == np.int64 and rows.ndim == 2 for rows in batches)


@given(n=st.integers(1, 300), batch=st.integers(1, 64), seed=st.integers(0, 99))
def test_dropping_the_last_batch_leaves_full_batches_and_no_index_twice(n, batch, seed):
    if n < batch:
        return
    (rows,) = epoch_batches(np.arange(n), batch, seed, 0, "drop")
    assert rows.shape == (n // batch, batch)
    assert len(set(flat([rows]))) == rows.size


def test_the_remainder_is_a_second_array_of_one_row():
    full, rest = epoch_batches(np.arange(10), 4, 0, 0, "keep")
    assert (full.shape, rest.shape) == ((2, 4), (1, 2))


def test_fewer_images_than_a_batch_are_one_short_row_if_kept():
    (rest,) = epoch_batches(np.arange(3), 4, 0, 0, "keep")
    assert rest.shape == (1, 3)


def test_no_remainder_means_one_array():
    (rows,) = epoch_batches(np.arange(8), 4, 0, 0, "keep")
    assert rows.shape == (2, 4)


def test_the_same_seed_and_epoch_give_the_same_rows():
    first, again = (epoch_batches(np.arange(100), 10, 5, 2, "drop") for _ in range(2))
    assert np.array_equal(first[0], again[0])


def test_other_seeds_and_epochs_give_unrelated_orders():
    orders = [
        flat(epoch_batches(np.arange(1000), 10, seed, epoch, "drop"))
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1), (2**32, 0), (0, 2**20)]
    ]
    for i, one in enumerate(orders):
        for other in orders[i + 1 :]:
            # Unrelated permutations agree in one place on average (Poisson).
            assert sum(a == b for a, b in zip(one, other, strict=True)) < 10


def test_the_order_does_not_depend_on_the_batch_size():
    small, large = (flat(epoch_batches(np.arange(60), b, 3, 1, "drop")) for b in (4, 20))
    assert small == large


def test_the_order_is_the_same_under_every_numpy_and_on_every_platform():
    assert flat(epoch_batches(np.arange(8), 4, 7, 3, "drop")) == [3, 5, 0, 6, 7, 4, 1, 2]


def test_a_batch_larger_than_the_training_set_is_refused_with_what_to_type():
    with pytest.raises(DataError, match=r"batch_size 128 .* 100 training images.*--batch-size 100"):
        epoch_batches(np.arange(100), 128, 0, 0, "drop")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.arange(9), 0, 0, 0, "drop"), "batch_size 0"),
        ((np.arange(9), 3, -1, 0, "drop"), "seed -1"),
        ((np.arange(9), 3, 0, -1, "drop"), "epoch -1"),
        ((np.arange(9), 3, 0, 0, "pad"), "last_batch 'pad'; allowed: 'drop', 'keep'"),
        ((np.arange(0), 3, 0, 0, "keep"), "0 training images"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        epoch_batches(*arguments)


@given(n=st.integers(2, 500), fraction=st.floats(0, 0.9), seed=st.integers(0, 2**64))
def test_a_split_is_disjoint_and_complete(n, fraction, seed):
    try:
        train, validation = split(n, fraction, seed)
    except DataError:
        assert round(n * fraction) in (0, n)
        return
    assert len(validation) == round(n * fraction)
    assert sorted([*train.tolist(), *validation.tolist()]) == list(range(n))
    assert train.dtype == validation.dtype == np.int64


def test_a_split_depends_on_the_seed_alone():
    assert np.array_equal(split(100, 0.2, 1)[1], split(100, 0.2, 1)[1])
    assert not np.array_equal(split(100, 0.2, 1)[1], split(100, 0.2, 2)[1])


def test_a_split_of_nothing_leaves_validation_empty():
    train, validation = split(10, 0.0, 0)
    assert train.tolist() == list(range(10))
    assert validation.shape == (0,)


@pytest.mark.parametrize(
    ("n", "fraction", "message"),
    [
        (10, -0.1, "allowed: 0 <= fraction < 1"),
        (10, 1.0, "allowed: 0 <= fraction < 1"),
        (10, float("nan"), "allowed: 0 <= fraction < 1"),
        (10, 0.01, "none for validation"),
        (10, 0.99, "none for training"),
        (0, 0.0, "none for training"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(n, fraction, message):
    with pytest.raises(DataError, match=message):
        split(n, fraction, 0)


def hashed(*batches: np.ndarray) -> str:
    order_hash = OrderHash()
    for batch in batches:
        order_hash.update(batch)
    return order_hash.hexdigest()


ROWS = np.arange(12).reshape(4, 3)


def test_the_order_hash_does_not_depend_on_how_many_rows_are_added_at_a_time():
    assert hashed(ROWS) == hashed(ROWS[:1], ROWS[1:]) == "e219f06e1d99e843"


def test_the_order_hash_sees_the_order_the_batch_size_and_every_index():
    other = ROWS.copy()
    other[3, 2] += 1
    variants = [hashed(ROWS), hashed(ROWS[::-1]), hashed(ROWS.reshape(3, 4)), hashed(other)]
    assert len(set(variants)) == len(variants)


def test_streams_for_different_purposes_are_different():
    words = [RawBits(stream, 0).words(1)[0] for stream in Stream]
    assert len(set(words)) == len(words)


def test_uniform_numbers_fill_the_unit_interval_and_never_reach_one():
    drawn = RawBits(Stream.TRAIN_NOISE, 0).uniform((100, 100))
    assert drawn.dtype == np.float32
    assert 0 <= drawn.min() < 0.001
    assert 0.999 < drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.01
