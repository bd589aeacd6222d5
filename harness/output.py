"""Files that a command writes for its user: whole or not at all, or row after row."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.sheets import safe_cells


def check_place(path: Path) -> None:
    """See, before a long computation, that its result can be written to `path`.

    Raises:
        UsageError: it cannot.

    """
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        reason = "that is a folder" if path.is_dir() else f"no folder to write to: {folder}"
        raise UsageError(f"cannot write {path}: {reason}. Try: -o with another file")


def put_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` make a file beside `path`, see it onto the disk, and rename it to `path`.

    Raises:
        OSError: that is not possible there.

    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file that a user asked for, as `put_whole`.

    Raises:
        UsageError: that is not possible there.

    """
    try:
        put_whole(path, write)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(
            f"cannot write {path}: {reason}. Try: a file in a folder that you may write to"
        ) from None


def sync_folder(path: Path) -> None:
    """See the names in a folder onto the disk; some file systems cannot, and need not."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def append_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Append to a CSV file that is never rewritten, and see the rows onto the disk.

    The header is written once. A line that a crash cut short is ended, so that it spoils no other:
    so is the quoted field in which it may have been.

    Raises:
        UsageError: the file has other columns, or cannot be written.

    """
    try:
        with path.open("a+", newline="", encoding="utf-8") as file:
            file.seek(0)
            header = next(csv.reader(file), None)
            if header is not None and header != list(columns):
                raise UsageError(
                    f"{path} has other columns than this version writes. Try: another file"
                )
            end = file.seek(0, os.SEEK_END)
            writer = csv.DictWriter(file, columns)
            if header is None:
                writer.writeheader()
            else:
                file.write(_missing_end(path, end))
            writer.writerows(map(safe_cells, rows))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}. Try: a file that you may write to"
        ) from None


def _missing_end(path: Path, size: int) -> str:
    """Return what the last line lacks to be one: nothing, its end, or a quotation mark as well."""
    with path.open("rb") as file:
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return ""
        file.seek(0)
        return '"\r\n' if file.read().count(b'"') % 2 else "\r\n"
