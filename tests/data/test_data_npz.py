from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data import load
from harness.data.npy import read_header
from harness.data.npz import load_npz
from harness.errors import DataError

RNG = np.random.default_rng(0)
FLOATS = np.ones((12, 5, 4, 3))


def arrays(**changes: object) -> dict[str, object]:
    """A sound dataset of 12 + 6 RGB images and 3 classes; None takes an array away."""
    sound = {
        "x_train": RNG.integers(0, 256, (12, 5, 4, 3)).astype(np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": RNG.integers(0, 256, (6, 5, 4, 3)).astype(np.uint8),
        "y_test": np.arange(6) % 3,
    }
    return {key: value for key, value in {**sound, **changes}.items() if value is not None}


def save(folder: Path, **changes: object) -> str:
    path = folder / "own.npz"
    np.savez(path, **arrays(**changes))
    return f"npz:{path}"


def test_uint8_images_are_divided_by_255_and_integer_labels_are_classes(tmp_path):
    images = arrays()["x_train"]
    dataset = load(save(tmp_path, x_train=images))
    assert np.array_equal(dataset.train_images, images / np.float32(255))
    assert dataset.train_images.dtype == np.float32
    assert dataset.train_labels.dtype == np.int32
    assert dataset.classes == 3
    assert dataset.image_shape == (5, 4, 3)


def test_compressed_files_are_read_too(tmp_path):
    content = arrays()
    np.savez(tmp_path / "a.npz", **content)
    np.savez_compressed(tmp_path / "b.npz", **content)
    assert load(f"npz:{tmp_path}/a.npz").hash == load(f"npz:{tmp_path}/b.npz").hash


def test_float_images_are_kept_as_they_are(tmp_path):
    images = RNG.normal(size=(12, 5, 4, 3)) * 100
    dataset = load(save(tmp_path, x_train=images, x_test=images[:6]))
    assert np.array_equal(dataset.train_images, images.astype(np.float32))


def test_grey_images_get_a_channel_axis(tmp_path):
    name = save(tmp_path, x_train=np.ones((12, 5, 4)), x_test=np.ones((6, 5, 4)))
    assert load(name).image_shape == (5, 4, 1)


def test_volumes_have_an_axis_more(tmp_path):
    volumes = RNG.normal(size=(18, 2, 3, 4, 1)).astype(np.float32)
    dataset = load(save(tmp_path, x_train=volumes[:12], x_test=volumes[12:]))
    assert dataset.image_shape == (2, 3, 4, 1)
    assert np.array_equal(dataset.train_images, volumes[:12])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("stored", "wanted"),
    [((60,), (60, 1)), ((30, 2), (30, 2)), ((60,), (5, 4, 3)), ((5, 12), (60, 1))],
)
def test_a_shape_in_the_name_says_how_each_image_is_read(tmp_path, stored, wanted, order):
    values = RNG.normal(size=(18, *stored)).astype(np.float32)
    halves = {"x_train": values[:12].copy(order), "x_test": values[12:].copy(order)}
    dataset = load(f"{save(tmp_path, **halves)}:{'x'.join(map(str, wanted))}")
    assert dataset.image_shape == wanted
    assert np.array_equal(dataset.train_images, values[:12].reshape(12, *wanted))
    assert np.array_equal(dataset.test_images, values[12:].reshape(6, *wanted))


def test_signals_without_a_test_set_are_split_too(tmp_path):
    signals = np.arange(80, dtype=np.float32).reshape(10, 8)
    np.savez(tmp_path / "own.npz", images=signals, labels=np.arange(10) % 2)
    dataset = load(f"npz:{tmp_path}/own.npz:8x1")
    assert (dataset.train_images.shape, dataset.test_images.shape) == ((8, 8, 1), (2, 8, 1))


def test_a_shape_of_another_size_is_refused(tmp_path):
    message = r"'x_train': shape \(12, 5, 4, 3\), so each has 60 values; \[61, 1\], .* is 61"
    with pytest.raises(DataError, match=message):
        load(f"{save(tmp_path)}:61x1")


def test_large_signals_are_kept_apart_by_the_shape_in_the_name(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.data.store.MEMORY_LIMIT", 0)
    name = save(tmp_path)
    for _ in range(2):
        assert load(name).image_shape == (5, 4, 3)
        assert load(f"{name}:30x2").image_shape == (30, 2)
    assert len(list((tmp_path / "cache").rglob("train_images.npy"))) == 2


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">f4", "<f2", "<f8"])
def test_memory_layout_and_byte_order_do_not_matter(tmp_path, dtype, order):
    images = RNG.integers(0, 100, (12, 5, 4, 3))
    images_of = {"x_train": np.array(images, dtype, order=order), "x_test": np.ones((6, 5, 4, 3))}
    dataset = load(save(tmp_path, **images_of))
    assert np.array_equal(dataset.train_images, images)
    assert dataset.train_images.flags.c_contiguous


def test_labels_may_be_a_column(tmp_path):
    dataset = load(save(tmp_path, y_train=(np.arange(12) % 3)[:, None].astype(np.uint8)))
    assert dataset.train_labels.tolist() == [0, 1, 2] * 4


def test_a_class_may_occur_in_the_test_set_only(tmp_path):
    assert load(save(tmp_path, y_test=np.arange(6))).classes == 6


@pytest.mark.parametrize("shape", [(), (1,), (4,)])
def test_float_labels_are_regression_targets(tmp_path, shape):
    dataset = load(save(tmp_path, y_train=RNG.random((12, *shape)), y_test=RNG.random((6, *shape))))
    assert dataset.classes is None
    assert dataset.train_labels.dtype == np.float32
    assert dataset.train_labels.shape == (12, *(shape or (1,)))


def test_without_a_test_set_a_fifth_is_taken_for_it_always_the_same(tmp_path):
    images = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(10))
    one, again = (load(f"npz:{tmp_path}/own.npz") for _ in range(2))
    assert one.hash == again.hash
    assert len(one.test_images) == 2
    both = np.concatenate([one.train_labels, one.test_labels])
    assert sorted(both.tolist()) == list(range(10))
    assert np.array_equal(one.train_images.ravel(), one.train_labels)


REFUSED = {
    "missing array": ({"y_test": None}, r"without y_test; it holds \['x_test', 'x_train'"),
    "pickled objects": (
        {"x_train": np.array([{}] * 12)},
        "array 'x_train': holds Python objects",
    ),
    "strings": ({"y_train": np.array(["a"] * 12)}, "array 'y_train': dtype '<U1'; allowed"),
    "complex": ({"x_train": np.ones((12, 5, 4, 3), complex)}, "dtype '<c16'"),
    "bool": ({"y_train": np.ones(12, bool)}, "dtype '|b1'"),
    "records": ({"x_train": np.ones(12, [("a", int)])}, "'x_train': unreadable header"),
    "NaN": ({"x_train": FLOATS, "x_test": np.full((6, 5, 4, 3), np.nan)}, "array 'x_test': NaN"),
    "infinity": (
        {"x_train": FLOATS, "x_test": np.full((6, 5, 4, 3), np.inf)},
        "array 'x_test': NaN, infinite",
    ),
    "too large": (
        {"x_train": FLOATS, "x_test": np.full((6, 5, 4, 3), 1e300)},
        "too large for float32",
    ),
    "NaN targets": (
        {"y_train": np.full(12, np.nan), "y_test": np.ones(6)},
        "array 'y_train': NaN",
    ),
    "int64 images": ({"x_train": np.ones((12, 5, 4, 3), int)}, "int64 images; allowed: uint8"),
    "flat images": (
        {"x_train": np.ones((12, 60))},
        r"shape \(12, 60\); allowed: \[n, h, w\], .* npz:FILE:LENGTHxCHANNELS",
    ),
    "fewer labels": ({"y_train": np.arange(11)}, "'y_train': 11 labels for the 12 images"),
    "floats beside uint8": (
        {"x_test": np.ones((6, 5, 4, 3), np.float32)},
        "'x_test': float32 images; for training: uint8.*255.*Try: both of one type",
    ),
    "uint8 beside floats": ({"x_train": FLOATS}, "'x_test': uint8 images; for training: float64"),
    "other test shape": (
        {"x_test": np.ones((6, 4, 5, 3))},
        r"'x_test': float32 \(6, 4, 5, 3\); for training: float32 \(12, 5, 4, 3\)",
    ),
    "no images": ({"x_test": np.ones((0, 5, 4, 3))}, "'x_test': .*empty"),
    "no width": ({"x_test": np.ones((6, 5, 0, 3))}, "'x_test': .*empty"),
    "a scalar": ({"y_test": np.array(1)}, "'y_test': .*empty"),
    "negative labels": ({"y_train": np.arange(12) - 1}, "'y_train': labels from -1 to 10"),
    "huge labels": ({"y_train": np.arange(12) * 10**9}, "allowed: 0 to 99999"),
    "one-hot labels": ({"y_train": np.eye(12, dtype=int)}, r"labels.argmax\(axis=1\)"),
    "labels of three axes": ({"y_train": np.ones((12, 1, 1))}, r"allowed: \[n\] or \[n, k\]"),
    "one class": (
        {"y_train": np.zeros(12, int), "y_test": np.zeros(6, int)},
        "every label is 0",
    ),
    "mixed labels": (
        {"y_test": np.ones(6)},
        r"'y_test': float32 \(6, 1\); for training: int32 \(12,\)",
    ),
    "other targets": (
        {"y_train": np.ones((12, 2)), "y_test": np.ones((6, 3))},
        r"'y_test': float32 \(6, 3\); for training: float32 \(12, 2\)",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_unsuitable_arrays_are_refused_by_file_and_name(tmp_path, changes, message):
    with pytest.raises(DataError, match=message) as caught:
        load(save(tmp_path, **changes))
    assert str(tmp_path / "own.npz") in str(caught.value)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.ones((10, 2, 2)), np.arange(9), "'labels': 9 labels for the 10 images of 'images'"),
        (np.ones((1, 2, 2)), np.arange(1), "at least 2"),
        (np.ones((0, 2, 2)), np.arange(0), "'images': .*empty"),
        (np.full((9, 2, 2), np.nan), np.arange(9), "'images': NaN"),
        (np.ones((9, 2, 2)), np.arange(9) - 1, "'labels': labels from -1"),
    ],
)
def test_images_that_cannot_be_split_are_refused(tmp_path, images, labels, message):
    np.savez(tmp_path / "own.npz", images=images, labels=labels)
    with pytest.raises(DataError, match=message):
        load(f"npz:{tmp_path}/own.npz")


@pytest.mark.parametrize("name", ["npz", "npz:", "npz:/no/such/file.npz"])
def test_no_file_is_said_plainly(name):
    with pytest.raises(DataError, match=r"no such file: .*Try: npz:FILE"):
        load(name)


def npy(header: str, body: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header.encode() + body


def header(shape: str, descr: str = "'|u1'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"


HEADERS = {
    "no array": (b"PK\x03\x04 and more", "no .npy array"),
    "empty": (b"", "truncated header"),
    "version 2": (npy(header("(1,)"), version=b"\x02\x00"), "no .npy array of version 1.0"),
    "cut short": (npy(header("(1,)"))[:30], "truncated header"),
    "too long": (npy(header("(1,)") + " " * 1000), "allowed: up to 1000"),
    "code": (npy(header("(__import__('os').getpid(),)")), "unreadable header"),
    "negative size": (npy(header("(-1, 28, 28)")), "unreadable header"),
    "absurd size": (npy(header("(" + "9" * 400 + ",)")), "unreadable header"),
    "nested": (npy("(" * 900), "unreadable header"),
    "not ASCII": (npy(header("(1,)", "'<f\u00b2'")), "dtype"),
    "list of fields": (npy(header("(1,)", "[('a', '|O')]")), "unreadable header"),
    "object": (npy(header("(1,)", "'|O'")), "Python objects"),
    "long double": (npy(header("(1,)", "'<f16'")), "dtype '<f16'; allowed"),
}


@pytest.mark.parametrize(("content", "message"), HEADERS.values(), ids=HEADERS.keys())
def test_a_hostile_array_header_is_refused(content, message):
    with pytest.raises(DataError, match=message):
        read_header(io.BytesIO(content))


@pytest.mark.parametrize(
    "array", [np.ones(3, "<f4"), np.ones((2, 3, 4), ">i8", order="F"), np.array(5)]
)
def test_headers_as_numpy_writes_them_are_understood(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    parsed = read_header(io.BytesIO(buffer.getvalue()))
    assert (parsed.shape, parsed.dtype) == (array.shape, array.dtype)
    assert parsed.fortran_order == (array.ndim > 1)


def hostile(folder: Path, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A dataset whose x_train is the bytes `content`."""
    path = folder / "own.npz"
    np.savez(path, **arrays(x_train=None))
    with zipfile.ZipFile(path, "a", method) as archive:
        archive.writestr("x_train.npy", content)
    return path


def declare_size(path: Path, name: bytes, size: int) -> None:
    """Overwrite the unpacked size that the zip directory declares for a member."""
    content = bytearray(path.read_bytes())
    entry = content.rindex(name) - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    content[entry + 24 : entry + 28] = struct.pack("<I", size)
    path.write_bytes(content)


def refuse_cheaply(path: Path, message: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            load(f"npz:{path}")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_header_that_promises_more_than_the_file_holds_costs_no_memory(tmp_path):
    path = hostile(tmp_path, npy(header("(1000000, 28, 28)"), bytes(100)))
    refuse_cheaply(path, r"'x_train': its header promises \(1000000, 28, 28\) of uint8")


def test_a_zip_directory_that_lies_with_the_header_costs_no_memory(tmp_path):
    content = npy(header("(1000000, 28, 28)"), bytes(100))
    path = hostile(tmp_path, content)
    declare_size(path, b"x_train.npy", len(content) - 100 + 784_000_000)
    refuse_cheaply(path, "'x_train': truncated array|damaged")


def test_more_than_the_allowed_bytes_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.data.dataset.MAX_BYTES", 2**33)
    content = npy(header("(5000000, 28, 28)"))
    path = hostile(tmp_path, content)
    declare_size(path, b"x_train.npy", len(content) + 5_000_000 * 784)
    refuse_cheaply(path, "allowed: up to 8,589,934,592")


def test_bytes_after_the_array_are_refused(tmp_path):
    path = hostile(tmp_path, npy(header("(2, 2, 2)"), bytes(9)))
    with pytest.raises(DataError, match="'x_train': its header promises"):
        load(f"npz:{path}")


def test_a_member_packed_in_an_unusual_way_is_refused(tmp_path):
    path = hostile(tmp_path, npy(header("(2, 2, 2)"), bytes(8)), zipfile.ZIP_BZIP2)
    with pytest.raises(DataError, match="'x_train': compressed in another way"):
        load(f"npz:{path}")


def test_an_encrypted_member_is_refused(tmp_path):
    path = hostile(tmp_path, npy(header("(2, 2, 2)"), bytes(8)))
    content = bytearray(path.read_bytes())
    content[content.rindex(b"x_train.npy") - 46 + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="'x_train': encrypted"):
        load(f"npz:{path}")


def test_a_flipped_pixel_fails_the_archives_checksum(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, **arrays(x_train=np.full((12, 5, 4, 3), 77, np.uint8)))
    content = path.read_bytes()
    at = content.index(bytes([77] * 100))
    path.write_bytes(content[:at] + b"\x00" + content[at + 1 :])
    with pytest.raises(DataError, match=r"damaged, or no .npz file: Bad CRC-32.*x_train"):
        load(f"npz:{path}")


@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = Path(save(tmp_path).removeprefix("npz:"))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"own.npz: damaged, or no .npz file"):
        load(f"npz:{path}")


@given(content=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_random_bytes_are_refused_and_nothing_worse(tmp_path, content):
    path = tmp_path / "random.npz"
    path.write_bytes(content)
    with pytest.raises(DataError):
        load_npz(f"npz:{path}")


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_a_file_with_damaged_bytes_is_read_or_refused_and_nothing_worse(tmp_path, data):
    whole = Path(save(tmp_path).removeprefix("npz:")).read_bytes()
    content = bytearray(whole)
    directory = whole.index(b"PK\x01\x02")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1) | st.integers(directory, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.npz"
    path.write_bytes(content)
    try:
        load(f"npz:{path}")
    except DataError:
        return


def test_the_result_does_not_depend_on_how_many_values_are_read_at_a_time(tmp_path, monkeypatch):
    four = load(save(tmp_path)).hash
    np.savez(tmp_path / "two.npz", images=np.arange(90.0).reshape(30, 3, 1), labels=np.arange(30))
    two = load(f"npz:{tmp_path}/two.npz").hash
    monkeypatch.setattr("harness.data.npz._BLOCK", 7)
    assert load(f"npz:{tmp_path}/own.npz").hash == four
    assert load(f"npz:{tmp_path}/two.npz").hash == two


def test_what_no_archive_of_its_length_can_hold_is_refused_before_it_is_allocated(tmp_path):
    content = npy(header("(50000, 28, 28)"), bytes(100))
    path = hostile(tmp_path, content, zipfile.ZIP_STORED)
    declare_size(path, b"x_train.npy", len(content) - 100 + 39_200_000)
    refuse_cheaply(path, "'x_train': damaged: .* bytes cannot be packed into")


def test_a_directory_that_points_to_before_the_file_is_refused(tmp_path):
    path = Path(save(tmp_path).removeprefix("npz:"))
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    (offset,) = struct.unpack("<I", content[end + 16 : end + 20])
    content[end + 16 : end + 20] = struct.pack("<I", offset + 100_000)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"own\.npz: (cannot be read|damaged)"):
        load(f"npz:{path}")
