"""Arrays larger than memory lie in files; what is made of them is the same."""

from __future__ import annotations

import os
import pickle

import numpy as np
import psutil
import pytest

from harness.data import load, store
from harness.errors import DataError
from harness.run.arrays import write_arrays

FORMS = {"images": ((6, 2, 2, 1), np.float32), "labels": ((6,), np.int32)}


def fill(arrays) -> None:
    arrays["images"][...] = np.arange(24).reshape(6, 2, 2, 1)
    arrays["labels"][...] = 7


def refuse(arrays) -> None:
    raise AssertionError("they were there already")


@pytest.fixture
def no_memory(monkeypatch):
    monkeypatch.setattr(store, "MEMORY_LIMIT", 0)


def test_small_arrays_stay_in_memory_and_leave_no_file(cache):
    made = store.make_arrays("key", FORMS, fill)
    assert not isinstance(made["images"], np.memmap)
    assert made["images"].sum() == 276
    assert not cache.exists()


def test_the_limit_is_half_of_the_memory_available_and_counts_all_arrays(monkeypatch, cache):
    assert 0.2 < store.memory_limit() / psutil.virtual_memory().available < 0.8
    size = 6 * 4 * 4 + 6 * 4
    monkeypatch.setattr(store, "MEMORY_LIMIT", size)
    assert not isinstance(store.make_arrays("key", FORMS, fill)["images"], np.memmap)
    monkeypatch.setattr(store, "MEMORY_LIMIT", size - 1)
    assert isinstance(store.make_arrays("key", FORMS, fill)["images"], np.memmap)


def test_large_ones_are_mapped_read_only_and_made_once(no_memory, cache):
    made = store.make_arrays("key", FORMS, fill)
    again = store.make_arrays("key", FORMS, refuse)
    for arrays in (made, again):
        assert {type(array) for array in arrays.values()} == {np.memmap}
        assert np.array_equal(arrays["images"].ravel(), np.arange(24))
        with pytest.raises(ValueError, match="read-only"):
            arrays["images"][0] = 1
    assert sorted(path.name for path in (cache / "arrays" / "key").iterdir()) == [
        "images.npy",
        "labels.npy",
    ]


def test_what_is_to_be_kept_is_kept_whatever_its_size(cache):
    store.make_arrays("key", FORMS, fill, keep=True)
    assert store.make_arrays("key", FORMS, refuse, keep=True)["labels"].tolist() == [7] * 6


@pytest.mark.parametrize("harm", ["cut", "other form", "missing", "a pickle"])
def test_a_damaged_file_of_the_cache_is_made_anew(no_memory, cache, harm):
    store.make_arrays("key", FORMS, fill)
    path = cache / "arrays" / "key" / "images.npy"
    match harm:
        case "cut":
            path.write_bytes(path.read_bytes()[:140])
        case "other form":
            np.save(path, np.zeros((6, 2, 2, 3), np.float32))
        case "missing":
            path.unlink()
        case "a pickle":
            path.write_bytes(pickle.dumps(os.getpid))
    assert store.make_arrays("key", FORMS, fill)["images"].sum() == 276


def test_what_could_not_be_finished_is_never_seen(no_memory, cache):
    def fail(arrays) -> None:
        arrays["images"][...] = 1
        raise DataError("a broken image")

    with pytest.raises(DataError, match="a broken image"):
        store.make_arrays("key", FORMS, fail)
    assert list((cache / "arrays").iterdir()) == []


def test_more_than_the_disk_has_is_refused_before_anything_is_written(
    no_memory, cache, monkeypatch
):
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: FullDisk)
    with pytest.raises(DataError, match=r"has 9 free\. Try: .* XDG_CACHE_HOME"):
        store.make_arrays("key", FORMS, refuse)


class FullDisk:
    free = 9


def test_two_who_make_the_same_do_not_disturb_each_other(no_memory, cache):
    def slow(arrays) -> None:
        fill(arrays)
        store.make_arrays("key", FORMS, fill)

    assert store.make_arrays("key", FORMS, slow)["images"].sum() == 276


def test_keys_differ_with_what_they_are_made_of(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"a")
    os.utime(path, ns=(1, 1))
    keys = {store.key_of(store.file_state(path)), store.key_of("a", 1), store.key_of("a1")}
    path.write_bytes(b"ab")
    os.utime(path, ns=(1, 1))
    keys.add(store.key_of(store.file_state(path)))
    os.utime(path, ns=(1, 2))
    keys.add(store.key_of(store.file_state(path)))
    assert len(keys) == 5


def npz_name(folder) -> str:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 5, 4, 3)).astype(np.uint8)
    np.savez(folder / "own.npz", images=images, labels=np.arange(30) % 3)
    return f"npz:{folder}/own.npz"


@pytest.mark.parametrize(
    "name", ["synthetic:8x8x3:4:64", "synthetic-regression:8x8x1:2:64", "npz:own"]
)
def test_a_mapped_dataset_is_the_same_dataset(tmp_path, monkeypatch, name):
    name = npz_name(tmp_path) if name == "npz:own" else name
    plain = load(name)
    monkeypatch.setattr(store, "MEMORY_LIMIT", 0)
    for mapped in (load(name), load(name)):
        assert isinstance(mapped.train_images, np.memmap)
        assert (mapped.hash, mapped.classes) == (plain.hash, plain.classes)
        assert mapped.image_shape == plain.image_shape


def test_a_changed_npz_file_is_read_anew(tmp_path, no_memory):
    first = load(npz_name(tmp_path)).hash
    np.savez(tmp_path / "own.npz", images=np.ones((30, 2, 2)), labels=np.arange(30) % 2)
    assert load(f"npz:{tmp_path}/own.npz").hash != first


def test_a_run_links_to_mapped_arrays_and_copies_all_others(no_memory, tmp_path):
    made = store.make_arrays("key", FORMS, fill)
    write_arrays(tmp_path, {**made, "part": made["images"][2:], "plain": np.ones(3)})
    links = {path.stem for path in tmp_path.glob("*.npy") if path.is_symlink()}
    assert links == {"images", "labels"}
    for name, expected in {**made, "part": made["images"][2:], "plain": np.ones(3)}.items():
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), expected)
