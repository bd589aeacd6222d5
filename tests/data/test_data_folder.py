"""Folders of pictures, written by Pillow for the tests."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from harness.data import load, pictures
from harness.errors import DataError

Image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(0)


def put(path: Path, *, size=(4, 6), channels=3, value: int | None = None) -> np.ndarray:
    """Write a picture of random pixels, or of one value; return its pixels."""
    shape = (*size, channels) if channels > 1 else size
    array = RNG.integers(0, 256, shape).astype(np.uint8)
    if value is not None:
        array = np.full(shape, value, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return array


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder without the cache, which the test has beside it."""
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


@pytest.fixture
def animals(root) -> Path:
    """Ten cats of values 0 .. 9 and fifteen dogs of 100 .. 114, all 4x6 and RGB."""
    for name, count, first in (("dog", 15, 100), ("cat", 10, 0)):
        for number in range(count):
            put(root / "animals" / name / f"{number:02}.png", value=first + number)
    return root / "animals"


def values(images: np.ndarray) -> list[int]:
    """The value of each picture of one value."""
    return np.rint(images[:, 0, 0, 0] * 255).astype(int).tolist()


def test_a_class_is_a_folder_in_the_order_of_names(animals):
    dataset = load(f"image-folder:{animals}")
    assert dataset.classes == 2
    assert dataset.image_shape == (4, 6, 3)
    assert (dataset.train_images.dtype, dataset.train_labels.dtype) == (np.float32, np.int32)
    for images, labels in (
        (dataset.train_images, dataset.train_labels),
        (dataset.test_images, dataset.test_labels),
    ):
        assert [int(value >= 100) for value in values(images)] == labels.tolist()


def test_a_fifth_of_each_class_is_for_testing_always_the_same(animals, cache):
    dataset = load(f"image-folder:{animals}")
    assert np.bincount(dataset.test_labels).tolist() == [2, 3]
    both = values(dataset.train_images) + values(dataset.test_images)
    assert sorted(both) == [*range(10), *range(100, 115)]
    (cache / "arrays").rename(cache / "forgotten")
    assert load(f"image-folder:{animals}").hash == dataset.hash


def test_pixels_are_those_of_the_picture(root):
    array = put(root / "a" / "x.png")
    for name in ("a/y.png", "b/x.png", "b/y.png"):
        put(root / name, value=3)
    dataset = load(f"image-folder:{root}")
    found = np.concatenate([dataset.train_images, dataset.test_images])
    assert any(np.array_equal(image, array / np.float32(255)) for image in found)


@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_train_and_test_folders_are_the_two_sets(root, test):
    for part, count in (("train", 4), (test, 2)):
        for name in ("a", "b"):
            for number in range(count):
                put(root / part / name / f"{number}.jpg", value=50 * count + number)
    dataset = load(f"image-folder:{root}")
    assert dataset.train_labels.tolist() == [0] * 4 + [1] * 4
    assert dataset.test_labels.tolist() == [0, 0, 1, 1]
    assert values(dataset.train_images) == [200, 201, 202, 203] * 2
    assert values(dataset.test_images) == [100, 101] * 2


def test_a_class_may_be_absent_from_the_test_set_but_not_be_new_there(root):
    for name in ("train/a/1.png", "train/b/1.png", "test/b/1.png"):
        put(root / name)
    assert load(f"image-folder:{root}").test_labels.tolist() == [1]
    put(root / "test/c/1.png")
    with pytest.raises(DataError, match=rf"{root}/test/c: there is no such class in"):
        load(f"image-folder:{root}")


def test_hidden_files_and_other_kinds_are_passed_over(animals):
    before = load(f"image-folder:{animals}").hash
    (animals / "cat" / ".hidden.png").write_bytes(b"no picture")
    (animals / "cat" / "notes.txt").write_text("no picture")
    (animals / ".git").mkdir()
    (animals / "readme.png").write_bytes(b"in no class")
    assert load(f"image-folder:{animals}").hash == before


@pytest.mark.parametrize("suffix", ["png", "PNG", "jpg", "JPEG"])
def test_png_and_jpeg_are_read_whatever_the_case_of_their_names(root, suffix):
    for name in ("a/1", "a/2", "b/1", "b/2"):
        put(root / f"{name}.{suffix}", value=80)
    assert values(load(f"image-folder:{root}").train_images) == [80, 80]


def test_all_grey_is_one_channel_and_any_colour_makes_three(root):
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        put(root / name, channels=1, value=9)
    assert load(f"image-folder:{root}").image_shape == (4, 6, 1)
    put(root / "b" / "2.png", value=9)
    assert load(f"image-folder:{root}").image_shape == (4, 6, 3)


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("LA", 1), ("P", 3), ("RGBA", 3)])
def test_palettes_transparency_and_single_bits_are_understood(root, mode, channels):
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (6, 4), (255, 255, 255)).convert(mode).save(path)
    dataset = load(f"image-folder:{root}")
    assert dataset.image_shape == (4, 6, channels)
    assert (dataset.train_images == 1).all()


def test_the_first_picture_of_another_size_is_named(animals):
    put(animals / "dog" / "03.png", size=(6, 4))
    put(animals / "dog" / "07.png", size=(9, 9))
    with pytest.raises(DataError) as caught:
        load(f"image-folder:{animals}")
    message = str(caught.value)
    assert message.startswith(f"{animals}/")
    other = [name for name in ("03", "07") if f"dog/{name}.png: " in message]
    assert len(other) == 1
    assert "has 4x6" in message
    assert "image-folder:DIR:4x6" in message


def test_with_a_size_all_are_resized(animals):
    put(animals / "dog" / "03.png", size=(20, 30), value=103)
    dataset = load(f"image-folder:{animals}:8x5")
    assert dataset.image_shape == (8, 5, 3)
    assert sorted(values(dataset.train_images) + values(dataset.test_images)) == [
        *range(10),
        *range(100, 115),
    ]


def test_resizing_to_the_same_size_changes_nothing(animals):
    assert load(f"image-folder:{animals}:4x6").hash == load(f"image-folder:{animals}").hash


def test_pictures_are_decoded_once_and_mapped_afterwards(animals, monkeypatch):
    first = load(f"image-folder:{animals}")
    monkeypatch.setitem(sys.modules, "PIL", None)
    again = load(f"image-folder:{animals}")
    assert isinstance(again.train_images, np.memmap)
    assert again.hash == first.hash


CHANGES = {
    "a picture more": lambda root: put(root / "cat" / "99.png", value=50),
    "one less": lambda root: (root / "cat" / "00.png").unlink(),
    "another name": lambda root: (root / "cat" / "00.png").rename(root / "cat" / "77.png"),
    "another class": lambda root: (root / "cat" / "00.png").rename(root / "dog" / "77.png"),
    "another content": lambda root: put(root / "cat" / "00.png", value=200),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_noticed(animals, change):
    before = load(f"image-folder:{animals}")
    CHANGES[change](animals)
    assert load(f"image-folder:{animals}").hash != before.hash


def test_a_new_time_alone_has_it_read_again(animals, monkeypatch):
    load(f"image-folder:{animals}")
    os.utime(animals / "cat" / "00.png", ns=(1, 1))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="needs Pillow"):
        load(f"image-folder:{animals}")


def test_another_content_of_the_same_size_and_time_is_noticed(animals):
    """As `cp -p` leaves it, where the files are as long."""
    path = animals / "cat" / "00.png"

    def write(value: int) -> os.stat_result:
        array = np.full((4, 6, 3), value, np.uint8)
        Image.fromarray(array).save(path, compress_level=0)
        os.utime(path, ns=(1, 1))
        return path.stat()

    before = write(7)
    first = load(f"image-folder:{animals}")
    while (after := write(200)).st_ctime_ns == before.st_ctime_ns:
        pass  # the system's clock of files goes by milliseconds
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert load(f"image-folder:{animals}").hash != first.hash


def test_without_pillow_the_line_that_installs_it_is_said(animals, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"Try: pip install 'cnn-harness\[images\]'"):
        load(f"image-folder:{animals}")


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and has none."""
    chunks = b""
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ):
        chunks += struct.pack(">I", len(body)) + kind + body
        chunks += struct.pack(">I", zlib.crc32(kind + body))
    return b"\x89PNG\r\n\x1a\n" + chunks


def whole() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (4, 6, 3)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def as_bytes(mode: str, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (6, 4)).save(buffer, kind)
    return buffer.getvalue()


BROKEN = {
    "text": (b"<html>", "broken image"),
    "empty": (b"", "broken image"),
    "cut short": (whole()[:-60], "broken image"),
    "a flipped bit": (whole()[:60] + b"\xff\xff" + whole()[62:], "broken image"),
    "another format": (as_bytes("RGB", "GIF"), "broken image"),
    "16 bits": (as_bytes("I;16", "PNG"), "pixels of kind 'I;16'; allowed: grey or RGB"),
    "a bomb": (png_header(9000, 9000), "9000x9000 pixels; allowed: 67,108,864 pixels"),
    "a larger bomb": (png_header(2**30, 2**30), "pixels|bomb"),
}


@pytest.mark.parametrize("suffix", ["", ":4x6"])
@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_picture_is_named(animals, cache, fault, suffix):
    content, message = BROKEN[fault]
    path = animals / "dog" / "05.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path}: .*({message})"):
        load(f"image-folder:{animals}{suffix}")
    assert not [p for p in (cache / "arrays").iterdir() if p.suffix != "" or "part" in p.name]


def test_the_bound_on_pixels_holds_for_sound_pictures_too(animals, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 23)
    with pytest.raises(DataError, match="4x6 pixels; allowed: 23 pixels"):
        load(f"image-folder:{animals}")


def test_unsuitable_folders_are_refused_by_name(root):
    def refused(name: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            load(name)

    refused("image-folder", "no such folder")
    refused("image-folder:", "no such folder")
    refused(f"image-folder:{root}/none", f"no such folder: {root}/none. Try: image-folder")
    refused(f"image-folder:{root}", "0 folders for classes; allowed: 2 to")
    put(root / "a" / "1.png")
    refused(f"image-folder:{root}", "1 folders for classes")
    (root / "b").mkdir()
    refused(f"image-folder:{root}", f"{root}/b: no PNG or JPEG file")
    put(root / "b" / "1.png")
    refused(f"image-folder:{root}", f"{root}/a: 1 picture; at least 2 of each class")
    refused(f"image-folder:{root}:0x5", "size 0x5; allowed: 1 to 4096 a side")
    refused(f"image-folder:{root}:64x9999", "size 64x9999; allowed")
