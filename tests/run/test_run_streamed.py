"""A session that is given its training set in windows trains as one that holds it whole."""

from __future__ import annotations

import mmap
import time
from types import SimpleNamespace

import numpy as np
import pytest

from harness.run.streamed import Ahead, StreamedSession

IMAGES = np.random.default_rng(1).normal(size=(50, 3, 3, 1)).astype(np.float32)
TARGETS = np.arange(50, dtype=np.int32)
BATCH = 4
ROW_BYTES = IMAGES[:1].nbytes


class Summing:
    """Its loss is what the rows of a step, its rate and its mask add up to."""

    def __init__(self) -> None:
        self.loaded: list[tuple[int, ...]] = []
        self.trained: list[int] = []
        self.closed = False

    def load(self, images, targets):
        self.images, self.targets = images, targets
        self.loaded.append(images.shape)

    def train(self, order, learning_rates, masks=None):
        self.trained.append(len(order))
        factors = np.ones(len(order)) if masks is None else [mask["d"] for mask in masks]
        parts = zip(order, learning_rates, factors, strict=True)
        return np.array(
            [
                (self.images[rows].sum(dtype=float) + self.targets[rows].sum()) * rate * factor
                for rows, rate, factor in parts
            ]
        )

    def predict(self, images):
        return images + 1

    def close(self):
        self.closed = True


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    return np.load(tmp_path / "images.npy", mmap_mode="r")


def order_of(steps: int, batch: int = BATCH) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 50, (steps, batch))


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("windows", [0.1, 1, 3])
@pytest.mark.parametrize("masked", [False, True])
def test_losses_are_those_of_the_whole_set(mapped, steps, windows, masked):
    whole, inner = Summing(), Summing()
    session = StreamedSession(inner, round(windows * BATCH * ROW_BYTES))
    whole.load(IMAGES, TARGETS)
    session.load(mapped, TARGETS)
    order, rates = order_of(steps), np.linspace(0.1, 0.7, steps)
    masks = [{"d": step + 2.0} for step in range(steps)] if masked else None
    for _ in range(2):
        found = session.train(order, rates, masks)
        assert np.array_equal(found, whole.train(order, rates, masks))
    each = max(1, int(windows))
    assert inner.trained == [min(each, steps - first) for first in range(0, steps, each)] * 2
    session.close()


def test_every_window_has_the_same_shape_even_for_a_last_batch_of_fewer_rows(mapped):
    session = StreamedSession(inner := Summing(), 2 * BATCH * ROW_BYTES)
    session.load(mapped, TARGETS)
    session.train(order_of(5), np.ones(5))
    rest = order_of(1, batch=3)
    (loss,) = session.train(rest, np.ones(1))
    assert loss == pytest.approx(IMAGES[rest].sum(dtype=float) + TARGETS[rest].sum())
    assert set(inner.loaded) == {(2 * BATCH, 3, 3, 1)}
    session.close()


class Holding(Summing):
    """It keeps what it was given, and looks whether that changes before it gets other."""

    def load(self, images, targets):
        self.check()
        super().load(images, targets)
        self.before = images.copy(), targets.copy()

    def train(self, order, learning_rates, masks=None):
        time.sleep(0.005)  # for a thread that might write to it
        found = super().train(order, learning_rates, masks)
        self.check()
        return found

    def check(self):
        if hasattr(self, "before"):
            assert np.array_equal(self.images, self.before[0])
            assert np.array_equal(self.targets, self.before[1])


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_window_stays_as_it_is_until_the_next_is_given(mapped, steps):
    session = StreamedSession(inner := Holding(), BATCH * ROW_BYTES)
    session.load(mapped, TARGETS)
    for _ in range(3):
        session.train(order_of(steps), np.ones(steps))
        inner.check()
    session.close()


def test_a_set_that_replaces_the_first_is_what_is_trained_on(mapped):
    session = StreamedSession(Summing(), BATCH * ROW_BYTES)
    order = order_of(3)
    losses = []
    for images in (mapped, -2 * IMAGES):
        session.load(images, np.zeros_like(TARGETS))
        losses.append(session.train(order, np.ones(3)))
    assert np.allclose(losses[1], -2 * losses[0])
    session.close()


def test_all_else_is_the_session_s_own(mapped):
    session = StreamedSession(inner := Summing(), BATCH * ROW_BYTES)
    session.load(mapped, TARGETS)
    assert session.predict(1) == 2
    assert not inner.loaded, "nothing is handed over before it is trained on"
    with pytest.raises(AttributeError, match="nonsense"):
        session.nonsense()
    session.close()
    assert inner.closed


def test_what_is_wrong_with_the_file_ends_the_block(mapped):
    session = StreamedSession(Summing(), BATCH * ROW_BYTES)
    session.load(mapped, TARGETS)
    session.images = np.zeros((50, 2, 2, 1), np.float32)  # another file by now
    session.train(order_of(1), np.ones(1))
    session.images = IMAGES
    with pytest.raises(ValueError, match="does not match"):
        session.train(order_of(1), np.ones(1))
    session.close()


# Reading ahead of a file that memory does not hold


class Mapping:
    def __init__(self, length):
        self.length, self.asked = length, []

    def __len__(self):
        return self.length

    def madvise(self, what, start=0, length=None):
        if what == mmap.MADV_WILLNEED:
            assert start % mmap.PAGESIZE == 0
            self.asked.append((start, start + length))


class Mapped:
    """So much of a mapped array as is looked at."""

    def __init__(self, mapping, row_bytes, count):
        self._mmap, self.row_bytes, self.nbytes = mapping, row_bytes, row_bytes * count

    def __getitem__(self, rows):
        return Mapped(self._mmap, self.row_bytes, len(range(*rows.indices(1000))))


def available(monkeypatch, count):
    found = SimpleNamespace(available=count)
    monkeypatch.setattr("psutil.virtual_memory", lambda: found)


@pytest.mark.parametrize("row", [100, 5000, 3 * mmap.PAGESIZE])
def test_pages_of_all_rows_are_asked_for(monkeypatch, row):
    available(monkeypatch, 1000)
    mapping = Mapping(128 + 1000 * row)
    ahead = Ahead(Mapped(mapping, row, 1000))
    ahead.read(np.array([[7, 999], [0, 7]]))
    for wanted in (0, 7, 999):
        begin = 128 + wanted * row
        assert any(a <= begin and begin + row <= b for a, b in mapping.asked)
    assert sum(b - a for a, b in mapping.asked) <= 4 * (row + mmap.PAGESIZE)


def test_a_real_file_is_read_so_as_well(monkeypatch, mapped):
    available(monkeypatch, 10)
    whole = Summing()
    whole.load(IMAGES, TARGETS)
    session = StreamedSession(Summing(), BATCH * ROW_BYTES)
    session.load(mapped, TARGETS)
    assert session.ahead.mapping is not None
    order = order_of(6)
    assert np.array_equal(session.train(order, np.ones(6)), whole.train(order, np.ones(6)))
    session.close()


def test_what_fits_into_memory_or_is_no_file_is_not_asked_for(monkeypatch, mapped):
    available(monkeypatch, 10**12)
    assert Ahead(mapped).mapping is None
    available(monkeypatch, 10)
    assert Ahead(IMAGES).mapping is None
