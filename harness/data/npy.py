"""The arrays within an .npz file: numbers only, their size known before it is allocated.

NumPy's own reader evaluates the header as a Python literal and allocates what it promises.
"""

from __future__ import annotations

import math
import re
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.bounded import Readable, read_exactly
from harness.errors import DataError

_MAGIC = b"\x93NUMPY\x01\x00"
_MAX_HEADER = 1000  # bytes; an array of numbers needs about 120
_HEADER = re.compile(
    r"\{\s*'descr':\s*'(?P<descr>[^']*)',\s*'fortran_order':\s*(?P<fortran>True|False),"
    r"\s*'shape':\s*\((?P<shape>(?:\d{1,18},\s*)*(?:\d{1,18})?)\),?\s*\}\s*",
    re.ASCII,
)
_NUMBERS = re.compile(r"[<>|=]?(?:[iu][1248]|f[248])", re.ASCII)
_ENCRYPTED = 0x1
_MAX_RATIO = 1032  # of deflate, see https://zlib.net/zlib_tech.html


@dataclass(frozen=True)
class Header:
    """What an array's header says; `offset` is its length in bytes."""

    dtype: np.dtype[Any]
    fortran_order: bool
    shape: tuple[int, ...]
    offset: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def check_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Header:
    """Return the header of an array, whose size must be that of the zip member.

    Raises `DataError` for pickled objects, for anything but numbers, and for sizes that do
    not agree; `zipfile`'s errors for a damaged archive.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError("compressed in another way than NumPy does")
    if member.flag_bits & _ENCRYPTED:
        raise DataError("encrypted")
    with archive.open(member) as stream:
        header = read_header(stream)
    expected = header.offset + header.elements * header.dtype.itemsize
    if member.file_size != expected:
        raise DataError(
            f"its header promises {header.shape} of {header.dtype}, that is {expected} bytes; "
            f"found {member.file_size}"
        )
    return header


def check_packing(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Refuse a size that no archive of this length can unpack to: it would be allocated.

    Raises `DataError`.
    """
    ratio = _MAX_RATIO if member.compress_type == zipfile.ZIP_DEFLATED else 1
    if member.file_size > ratio * min(member.compress_size, archive.start_dir):
        raise DataError(
            f"damaged: {member.file_size} bytes cannot be packed into {member.compress_size}"
        )


def read_rows(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, header: Header, count: int
) -> Iterator[NDArray[Any]]:
    """Yield the array that `check_member` gave `header` for, in C order, `count` rows at a time.

    One in Fortran order comes whole, as its rows lie scattered. The last step compares the
    archive's checksum. Raises `DataError` if it is truncated, `zipfile`'s errors for a damaged
    archive.
    """
    size = header.shape[0]
    step = size if header.fortran_order else count
    row = math.prod(header.shape[1:]) * header.dtype.itemsize
    with archive.open(member) as stream:
        read_exactly(stream, header.offset, "header")
        for start in range(0, size, step):
            rows = min(step, size - start)
            flat = np.frombuffer(read_exactly(stream, rows * row, "array"), header.dtype)
            if header.fortran_order:
                yield np.ascontiguousarray(flat.reshape(header.shape[::-1]).T)
            else:
                yield flat.reshape(rows, *header.shape[1:])
        stream.read(1)  # at the end of the member, zipfile compares its checksum


def read_header(stream: Readable) -> Header:
    """Parse the header of an .npy file, format version 1.0, as NumPy writes it for numbers.

    Raises `DataError`. The format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    magic = bytes(read_exactly(stream, len(_MAGIC), "header"))
    if magic != _MAGIC:
        raise DataError(f"no .npy array of version 1.0: it starts with {magic.hex()}")
    (length,) = struct.unpack("<H", read_exactly(stream, 2, "header"))
    if length > _MAX_HEADER:
        raise DataError(f"header of {length} bytes; allowed: up to {_MAX_HEADER}")
    text = read_exactly(stream, length, "header").decode("latin-1")
    match = _HEADER.fullmatch(text)
    if match is None:
        raise DataError(f"unreadable header {text.strip()[:80]!r}")
    shape = tuple(int(size) for size in re.findall(r"\d+", match["shape"]))
    dtype = _dtype(match["descr"])
    return Header(dtype, match["fortran"] == "True", shape, len(_MAGIC) + 2 + length)


def _dtype(descr: str) -> np.dtype[Any]:
    if "O" in descr:
        raise DataError("holds Python objects (a pickle), which are never loaded")
    if not _NUMBERS.fullmatch(descr):
        raise DataError(f"dtype {descr!r}; allowed: integers, and floats up to float64")
    return np.dtype(descr)
