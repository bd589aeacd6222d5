"""The idx format of MNIST, gzip-compressed or not: data, never code."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from harness.data.bounded import Readable, read_exactly
from harness.errors import DataError

_UBYTE = 0x08
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(file: BinaryIO, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], str]:
    """Read the unsigned bytes of an idx file that must have `shape`, e.g. (60000, 28, 28).

    `file` is seekable. Whether it is compressed is told by its first bytes, not its name, as
    servers and browsers may unpack on the way. Returns the array and the SHA-256, in hex, of
    the uncompressed file. Raises `DataError`, which does not name the file, for any fault.
    The format, from the MNIST page: the magic number 0, 0, type (8: unsigned byte), number of
    dimensions; each dimension as a big-endian uint32; the values in C order.
    """
    compressed = file.read(2) == _GZIP_MAGIC
    file.seek(0)
    if not compressed:
        return _read(file, shape)
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            return _read(unpacked, shape)
    except (gzip.BadGzipFile, EOFError, zlib.error) as fault:
        raise DataError(f"damaged gzip file: {fault}") from fault


def _read(stream: Readable, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], str]:
    size = math.prod(shape)
    header = _check_header(stream, shape)
    body = read_exactly(stream, size, "idx file, after its header")
    # Asking for one byte more is also what makes gzip compare its checksum.
    if stream.read(1):
        raise DataError(f"over-long idx file: expected {size} bytes after its header, found more")
    digest = hashlib.sha256(header)
    digest.update(body)
    return np.frombuffer(body, np.uint8).reshape(shape), digest.hexdigest()


def _check_header(stream: Readable, shape: tuple[int, ...]) -> bytes:
    magic = bytes(read_exactly(stream, 4, "idx header"))
    expected = bytes([0, 0, _UBYTE, len(shape)])
    if magic != expected:
        raise DataError(
            f"no idx file of unsigned bytes in {len(shape)} dimensions: expected the magic "
            f"number {expected.hex()}, found {magic.hex()}"
        )
    sizes = bytes(read_exactly(stream, 4 * len(shape), "idx header"))
    found = struct.unpack(f">{len(shape)}I", sizes)
    if found != shape:
        raise DataError(f"idx file of another size: expected {shape}, found {found}")
    return magic + sizes
