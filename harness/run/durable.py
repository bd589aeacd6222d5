"""Files that survive whatever ends the harness: appended to and seen onto the disk, or replaced."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from harness.errors import StorageError, UsageError
from harness.output import sync_folder

LOCK = ".lock"
ROOM = 2**16  # bytes that a disk with any room has left


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the system says of a file that is written to into a `StorageError`."""
    try:
        yield
    except OSError as error:
        raise StorageError(path, error) from error


class AppendFile:
    """A file of whole lines that only grows; what `append` returned from is on the disk.

    After a failure nothing of that piece is left behind, as far as the system allows; a line that
    the death of the machine cut short is taken off when the file is opened again.
    """

    def __init__(self, path: Path, head: bytes = b"") -> None:
        self.path = path
        with storing(path):
            self.descriptor = _open(path)
            try:
                self.size = _end_of_last_line(self.descriptor)
                os.ftruncate(self.descriptor, self.size)
                if self.size == 0:
                    self._add(head)
            except OSError:
                self.close()
                raise

    def append(self, content: bytes) -> int:
        """Add whole lines; return at which byte they begin.

        Raises:
            StorageError: the disk is full or broken; the file is as it was before.

        """
        begin = self.size
        with storing(self.path):
            self._add(content)
        return begin

    def _add(self, content: bytes) -> None:
        begin = self.size
        try:
            os.lseek(self.descriptor, begin, os.SEEK_SET)
            left = memoryview(content)
            while left:
                left = left[os.write(self.descriptor, left) :]
            os.fsync(self.descriptor)
            self.size = begin + len(content)
        except BaseException:  # Ctrl-C, too: what is half there would end in the midst of the next
            self.size = begin
            with suppress(OSError):
                os.ftruncate(self.descriptor, begin)
            raise

    def read(self, begin: int, count: int) -> bytes:
        """Return what was appended there."""
        with storing(self.path):
            return os.pread(self.descriptor, count, begin)

    def close(self) -> None:
        """Close it, once."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _open(path: Path, more: int = 0) -> int:
    """Open a file of a results folder, which is no link that leads out of it."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | more, 0o666)


def _end_of_last_line(descriptor: int) -> int:
    """Return how many bytes of a file are whole lines."""
    end = os.fstat(descriptor).st_size
    while end:
        begin = max(end - 65536, 0)
        found = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def replace_file(path: Path, write: Callable[[TextIO], object]) -> None:
    """Have `write` make the new content, see it onto the disk, and put it in place at one stroke.

    Raises:
        StorageError: that is not possible; what was there is still there.

    """
    temporary = path.with_name(f"{path.name}.new")
    with storing(path):
        try:
            temporary.unlink(missing_ok=True)  # of a harness that was killed, or somebody's link
            with temporary.open("x", newline="", encoding="utf-8") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def check_room(folder: Path) -> None:
    """See that there is room for some bytes in a folder.

    Raises:
        StorageError: there is none.

    """
    with storing(folder), tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(ROOM))
        file.flush()
        os.fsync(file.fileno())


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder for what ends with the run.

    Raises:
        StorageError: there is no room for one.

    """
    with storing(Path("temporary files")):
        return tempfile.TemporaryDirectory(prefix="harness-", ignore_cleanup_errors=True)


class FolderLock:
    """Keeps a second process out of a folder; the kernel lets go of it with the process.

    The file stays: to remove it would let two processes hold locks on two files of one name.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        self.file = os.fdopen(_open(self.path, os.O_APPEND), "a+b", buffering=0)  # until released
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(self.file.fileno(), 20, 0).decode(errors="replace").strip()
            self.release()
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise UsageError(
                    f"{folder} is being written to by another process"
                    f"{f' ({owner})' if owner else ''}. Try: wait for its end, or --out with "
                    "another folder"
                ) from None
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            return  # a file system without locks: nothing can be known there
        with suppress(OSError):  # a full disk keeps nobody from reading
            self.file.truncate(0)
            self.file.write(f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let go; a second call does nothing."""
        self.file.close()


def whole_lines(lines: Iterable[str], fields: int) -> Iterator[str]:
    """Yield the lines of a table without a last one that was cut short.

    That is one without an end of line and with fewer than `fields` fields.
    """
    for line in lines:
        if line.endswith(("\n", "\r")) or line.count(",") + 1 >= fields:
            yield line
