from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tracemalloc

import numpy as np
import pytest
from conftest import idx_bytes
from hypothesis import given
from hypothesis import strategies as st

from harness.data.idx import read_idx
from harness.errors import DataError

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
RAW = idx_bytes(IMAGES)
PACKED = gzip.compress(RAW)


@pytest.mark.parametrize("content", [RAW, PACKED], ids=["raw", "gzip"])
def test_an_idx_file_is_read_compressed_or_not(content):
    array, digest = read_idx(io.BytesIO(content), (2, 4, 3))
    assert np.array_equal(array, IMAGES)
    assert digest == hashlib.sha256(RAW).hexdigest()


CORRUPT = {
    "empty": (b"", "truncated idx header: expected 4 bytes, found 0"),
    "only the magic number": (RAW[:4], "truncated idx header: expected 12 bytes, found 0"),
    "no idx": (b"\x89PNG" + RAW[4:], "expected the magic number 00000803, found 89504e47"),
    "of floats": (b"\0\0\x0d\x03" + RAW[4:], "found 00000d03"),
    "of other dimensions": (b"\0\0\x08\x04" + RAW[4:], "found 00000804"),
    "of another size": (
        RAW[:4] + struct.pack(">3I", 2, 3, 4) + RAW[16:],
        r"expected \(2, 4, 3\), found \(2, 3, 4\)",
    ),
    "promising gigabytes": (RAW[:4] + b"\xff" * 12 + RAW[16:], "found \\(4294967295"),
    "truncated": (RAW[:-1], "truncated .* expected 24 bytes, found 23"),
    "over-long": (RAW + b"\0", "over-long .* expected 24 bytes"),
    "truncated gzip": (PACKED[:-10], "damaged gzip file"),
    "truncated within gzip": (gzip.compress(RAW[:-1]), "expected 24 bytes, found 23"),
    "over-long within gzip": (gzip.compress(RAW + b"\0"), "over-long"),
    "over-long by a second gzip member": (PACKED + gzip.compress(b"\0"), "over-long"),
    "followed by garbage": (PACKED + b"garbage", "damaged gzip file"),
    "wrong gzip checksum": (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "damaged gzip file"),
    "damaged deflate stream": (PACKED[:10] + b"\xff" * 20 + PACKED[30:], "damaged gzip file"),
}


@pytest.mark.parametrize(("content", "message"), CORRUPT.values(), ids=CORRUPT.keys())
def test_a_corrupt_idx_file_is_refused(content, message):
    with pytest.raises(DataError, match=message):
        read_idx(io.BytesIO(content), (2, 4, 3))


def test_a_gzip_bomb_is_not_unpacked():
    bomb = gzip.compress(RAW + bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(DataError, match="over-long"):
        read_idx(io.BytesIO(bomb), (2, 4, 3))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_and_nothing_worse(content):
    with pytest.raises(DataError):
        read_idx(io.BytesIO(content), (20, 28, 28))


@given(st.data(), st.booleans())
def test_a_file_with_damaged_bytes_is_read_or_refused_and_nothing_worse(data, packed):
    content = bytearray(PACKED if packed else RAW)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        array, _ = read_idx(io.BytesIO(bytes(content)), (2, 4, 3))
    except DataError:
        return
    assert array.shape == (2, 4, 3)
