"""Files that a command writes for its user: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from harness.errors import UsageError


def check_place(path: Path) -> None:
    """See, before a long computation, that its result can be written to `path`.

    Raises:
        UsageError: it cannot.

    """
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        reason = "that is a folder" if path.is_dir() else f"no folder to write to: {folder}"
        raise UsageError(f"cannot write {path}: {reason}. Try: -o with another file")


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` make a file beside `path`, see it onto the disk, and rename it to `path`.

    Raises:
        UsageError: that is not possible there.

    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        try:
            write(temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(
            f"cannot write {path}: {reason}. Try: a file in a folder that you may write to"
        ) from None
