"""Reading files that may lie about their size: never more than was promised and allowed."""

from __future__ import annotations

from typing import Protocol

from harness.errors import DataError

_CHUNK = 2**20


class Readable(Protocol):
    """Anything with a blocking `read`."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, none at the end."""


def read_exactly(stream: Readable, count: int, what: str) -> bytearray:
    """Return the next `count` bytes of `stream`.

    The buffer grows with what has truly arrived, hence a header that promises gigabytes
    costs nothing. Raises `DataError` if there is less: `what` names it.
    """
    buffer = bytearray()
    while len(buffer) < count:
        chunk = stream.read(min(_CHUNK, count - len(buffer)))
        if not chunk:
            raise DataError(f"truncated {what}: expected {count} bytes, found {len(buffer)}")
        buffer += chunk
    return buffer
