"""Messages between the harness and a worker: a JSON object and raw arrays, never code.

On the wire: four bytes of mark, eight of header length (big-endian), the header as JSON, then the
arrays' bytes in the order in which the header's `arrays` lists them as `[name, dtype, shape]`.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from harness.errors import MessageError

MARK = b"HRN1"
MAX_HEADER_BYTES = 16 * 2**20
MAX_ARRAY_BYTES = 8 * 2**30
MAX_AXES = 8
DTYPES = ("float32", "float64", "int32", "int64")

Arrays = Mapping[str, NDArray[Any]]


def write_message(stream: BinaryIO, fields: Mapping[str, Any], arrays: Arrays = {}) -> None:  # noqa: B006 (never changed)
    """Write one message and flush it.

    Raises:
        MessageError: an array is of a type that messages do not carry.
        OSError: the other end is gone.

    """
    listed = []
    for name, array in arrays.items():
        if array.dtype.name not in DTYPES:
            raise MessageError(f"array {name!r} is {array.dtype}; allowed: {', '.join(DTYPES)}")
        listed.append([name, array.dtype.name, list(array.shape)])
    header = json.dumps({**fields, "arrays": listed}).encode()
    stream.write(MARK + struct.pack(">Q", len(header)) + header)
    for array in arrays.values():
        plain = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        stream.write(plain.data.cast("B") if plain.size else b"")
    stream.flush()


def read_message(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
    """Read one message; None where the stream ends between two.

    Raises:
        MessageError: the bytes are no message, are cut short, or announce more than is allowed.

    """
    prefix = stream.read(12)
    if not prefix:
        return None
    if len(prefix) < 12 or prefix[:4] != MARK:
        raise MessageError(f"not a message: it starts with {prefix[:12]!r}")
    (length,) = struct.unpack(">Q", prefix[4:])
    if length > MAX_HEADER_BYTES:
        raise MessageError(f"a header of {length} bytes; at most {MAX_HEADER_BYTES} are allowed")
    try:
        fields = json.loads(_exactly(stream, length))
    except (ValueError, RecursionError) as error:
        raise MessageError(f"the header is not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise MessageError(f"the header is a {type(fields).__name__}, not an object")
    listed = fields.pop("arrays", [])
    return fields, {name: _array(stream, dtype, shape) for name, dtype, shape in _listing(listed)}


def _listing(listed: Any) -> list[tuple[str, str, tuple[int, ...]]]:
    """Check what the header says of its arrays before a byte is allocated for them."""
    if not isinstance(listed, list):
        raise MessageError("the header's arrays are no list")
    found, total = [], 0
    for entry in listed:
        match entry:
            case [str(name), str(dtype), list(shape)] if dtype in DTYPES and _is_shape(shape):
                # A size of zero must not hide the others: NumPy refuses them too.
                total += math.prod(size or 1 for size in shape) * np.dtype(dtype).itemsize
                found.append((name, dtype, tuple(shape)))
            case _:
                raise MessageError(f"not an array's name, type and shape: {str(entry)[:80]}")
    if len({name for name, _, _ in found}) < len(found):
        raise MessageError("two arrays of the same name")
    if total > MAX_ARRAY_BYTES:
        raise MessageError(f"arrays of {total} bytes; at most {MAX_ARRAY_BYTES} are allowed")
    return found


def _is_shape(sizes: list[Any]) -> bool:
    return len(sizes) <= MAX_AXES and all(
        type(size) is int and 0 <= size <= MAX_ARRAY_BYTES for size in sizes
    )


def _array(stream: BinaryIO, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    content = _exactly(stream, math.prod(shape) * np.dtype(dtype).itemsize)
    return np.frombuffer(content, dtype).reshape(shape)


def _exactly(stream: BinaryIO, count: int) -> bytes:
    parts, missing = [], count
    while missing:
        part = stream.read(min(missing, 2**24))
        if not part:
            raise MessageError(f"cut short: {missing} of {count} bytes are missing")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
