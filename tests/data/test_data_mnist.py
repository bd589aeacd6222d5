from __future__ import annotations

import gzip
import os
from dataclasses import replace

import numpy as np
import pytest
from conftest import idx_bytes

from harness.data import catalog, load
from harness.data.mnist import locate
from harness.data.published import FASHION_MNIST, MNIST, SOURCES
from harness.errors import DataError

OWN = os.environ.get("HARNESS_DATA", "")  # before the fixtures hide it


def image_bytes(tiny) -> np.ndarray:
    return np.frombuffer(tiny.files["train-images-idx3-ubyte"][16:], np.uint8)


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("below", ["", "mnist"])
def test_files_are_found_in_harness_data(tiny, tmp_path, monkeypatch, below, compressed, dotted):
    tiny.put(tmp_path / "own" / below, compressed=compressed, dotted=dotted)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "own"))
    dataset = load("mnist")
    assert dataset.train_images.shape == (20, 28, 28, 1)
    assert dataset.test_images.shape == (10, 28, 28, 1)
    assert dataset.train_images.dtype == np.float32
    assert np.array_equal(dataset.train_images.ravel(), image_bytes(tiny) / np.float32(255))
    assert dataset.train_labels.dtype == np.int32
    assert (dataset.classes, dataset.name) == (10, "mnist")


def test_pixels_reach_exactly_zero_and_one(tiny, cache):
    tiny.put(cache / "mnist")
    images = load("mnist").train_images
    assert (images.min(), images.max()) == (0, 1)


def test_harness_data_without_the_files_falls_through_to_the_cache(
    tiny, cache, tmp_path, monkeypatch
):
    tiny.put(cache / "mnist")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "nowhere"))
    assert len(load("mnist").train_images) == 20


def test_a_damaged_file_in_harness_data_is_named_and_not_skipped(
    tiny, cache, tmp_path, monkeypatch
):
    tiny.put(cache / "mnist")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"half a file")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"{tmp_path}/train-images.*magic number.*unset HARNESS"):
        load("mnist")


def test_a_damaged_file_is_reported_before_anything_is_downloaded(tiny, tmp_path, web, monkeypatch):
    monkeypatch.setitem(SOURCES, "mnist", replace(tiny.source, mirrors=(web.address + "/",)))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"half a file")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    with pytest.raises(DataError, match="t10k-labels"):
        load("mnist")
    assert web.asked == []


def test_a_damaged_file_in_the_cache_is_named_and_may_be_deleted(tiny, cache):
    tiny.put(cache / "mnist")
    (cache / "mnist" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"t10k-labels.*Delete it to have it downloaded again"):
        load("mnist")


def test_a_whole_file_with_one_other_pixel_fails_the_checksum(tiny, tmp_path, monkeypatch):
    stem = "train-images-idx3-ubyte"
    expected = tiny.source.parts[0].content
    tiny.files[stem] = tiny.files[stem][:-1] + bytes([tiny.files[stem][-1] ^ 1])
    tiny.put(tmp_path)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"{tmp_path}/{stem}.gz.*expected {expected}, found "):
        load("mnist")


def test_a_label_outside_the_ten_classes_is_refused(tiny, cache, monkeypatch):
    unpinned = tuple(replace(part, content=None) for part in tiny.source.parts)
    monkeypatch.setitem(SOURCES, "mnist", replace(tiny.source, parts=unpinned))
    tiny.files["t10k-labels-idx1-ubyte"] = idx_bytes(np.full(10, 10))
    tiny.put(cache / "mnist")
    with pytest.raises(DataError, match=r"t10k-labels.*label 10; allowed: 0 to 9"):
        load("mnist")


def test_local_files_without_a_published_content_are_accepted_by_structure(
    tiny, tmp_path, monkeypatch
):
    parts = tuple(replace(part, content=None, archive="0" * 32) for part in tiny.source.parts)
    clothes = replace(FASHION_MNIST, parts=parts)
    monkeypatch.setitem(SOURCES, "fashion-mnist", clothes)
    monkeypatch.setitem(SOURCES, "mnist", MNIST)
    tiny.put(tmp_path / "fashion-mnist")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    assert load("fashion-mnist").name == "fashion-mnist"


def fashion_without_checksums(tiny, monkeypatch):
    parts = tuple(replace(part, content=None) for part in tiny.source.parts)
    monkeypatch.setitem(SOURCES, "fashion-mnist", replace(FASHION_MNIST, parts=parts, mirrors=()))


def test_the_files_of_mnist_are_not_taken_for_those_of_fashion_mnist(tiny, tmp_path, monkeypatch):
    fashion_without_checksums(tiny, monkeypatch)
    tiny.put(tmp_path / "own")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "own"))
    with pytest.raises(DataError, match=r"this is a file of 'mnist', not of 'fashion-mnist'"):
        load("fashion-mnist")


def test_a_folder_that_bears_another_datasets_name_is_not_searched(tiny, tmp_path, monkeypatch):
    fashion_without_checksums(tiny, monkeypatch)
    tiny.put(tmp_path / "mnist")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "mnist"))
    assert len(load("mnist").train_images) == 20
    with pytest.raises(DataError, match="could not be downloaded"):
        load("fashion-mnist")
    assert {info.name: info.where for info in catalog()}["fashion-mnist"].startswith("not here")


def test_an_unreadable_file_is_an_error_and_no_traceback(tiny, cache, monkeypatch):
    tiny.put(cache / "mnist")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "train-images-idx3-ubyte.gz")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(DataError, match=r"dataset 'mnist': .*Permission denied.*train-images"):
        load("mnist")


def test_the_published_checksums_are_of_the_right_kind():
    for source in (MNIST, FASHION_MNIST):
        for part in source.parts:
            assert part.content or part.archive
            assert part.content is None or len(bytes.fromhex(part.content)) == 32
            assert part.archive is None or len(bytes.fromhex(part.archive)) == 16


def test_the_real_mnist_is_the_published_one(monkeypatch):
    monkeypatch.setenv("HARNESS_DATA", OWN)
    if not OWN or not all(locate(MNIST, part) for part in MNIST.parts):
        pytest.skip("the four files of MNIST are not in $HARNESS_DATA")
    dataset = load("mnist")
    assert dataset.train_images.shape == (60_000, 28, 28, 1)
    assert dataset.test_images.shape == (10_000, 28, 28, 1)
    assert dataset.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(dataset.test_labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert dataset.train_images.mean() == pytest.approx(0.1307, abs=1e-4)
    assert dataset.train_images.std() == pytest.approx(0.3081, abs=1e-4)
    assert dataset.hash == "53aabc2d889cfb4c"


def test_a_file_compressed_as_one_gzip_or_as_many_is_the_same_file(tiny, cache):
    tiny.put(cache / "mnist")
    whole = load("mnist").hash
    stem = "train-images-idx3-ubyte"
    content = tiny.files[stem]
    pieces = gzip.compress(content[:100]) + gzip.compress(content[100:])
    (cache / "mnist" / f"{stem}.gz").write_bytes(pieces)
    assert load("mnist").hash == whole


def test_a_mapped_dataset_is_the_same_dataset(tiny, cache, monkeypatch):
    tiny.put(cache / "mnist")
    plain = load("mnist").hash
    monkeypatch.setattr("harness.data.store.MEMORY_LIMIT", 0)
    mapped = load("mnist")
    assert isinstance(mapped.train_images, np.memmap)
    assert mapped.hash == plain
