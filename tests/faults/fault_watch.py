"""Sees what reading a file does besides: which other files it touches, what code it runs, and
how much memory it asks for.

Python tells an audit hook of every file that is opened and of all code that is run. Libraries that
open files by themselves (safetensors, HDF5) are not heard; that they write nothing is seen from the
folder.
"""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

NEVER = frozenset(
    "pickle.find_class subprocess.Popen os.system os.exec os.posix_spawn os.fork os.forkpty "
    "socket.__new__ socket.connect socket.getaddrinfo ctypes.dlopen ctypes.dlsym code.__new__ "
    "builtins.input os.kill os.chown os.setxattr shutil.unpack_archive".split()
)
PATHS = frozenset(
    "os.remove os.rename os.mkdir os.rmdir os.link os.symlink os.truncate os.chmod os.utime "
    "shutil.rmtree shutil.move".split()
)
LISTS = frozenset({"os.listdir", "os.scandir"})
MOST_WORDS = 60_000  # characters: a hundred mistakes may be listed
CODE = frozenset({"exec", "compile"})
MACHINE = ("/proc/meminfo", "/proc/self/statm")  # how much memory there is
LIBRARY = tuple(
    {str(Path(place).resolve()) for place in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    | {str(Path(__file__).resolve().parents[2] / name) for name in ("harness", "backends")}
)


class Watch:
    """One for the whole process, as a hook cannot be taken off; it hears only while `within`."""

    def __init__(self) -> None:
        self.folder = ""
        self.found: list[str] = []
        self.most = self.inputs = self.taken = 0
        self.slowest = 0.0
        sys.addaudithook(self._hear)

    @contextmanager
    def within(self, folder: Path) -> Iterator[None]:
        """Hear what is done; nothing but that folder may be touched."""
        self.folder, self.found = str(folder.resolve()), []
        before = _names(folder)
        started = perf_counter()
        if tracemalloc.is_tracing():
            tracemalloc.reset_peak()
        held = tracemalloc.get_traced_memory()[0]
        try:
            yield
        finally:
            self.folder = ""
        self.last = tracemalloc.get_traced_memory()[1] - held
        self.most = max(self.most, self.last)
        self.slowest = max(self.slowest, perf_counter() - started)
        assert not self.found, f"while it was read: {self.found}"
        assert _names(folder) == before, "it wrote files"

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.folder:
            return
        if event in NEVER:
            self.found.append(f"{event} {arguments!r:.200}")
        elif event == "open":
            if not self._may_open(arguments[0], arguments[2]):
                self.found.append(f"open {arguments!r:.200}")
        elif event in LISTS:
            if not self._may_open(arguments[0], os.O_RDONLY):
                self.found.append(f"{event} {arguments!r:.200}")
        elif event in PATHS:
            if not self._is_inside(arguments[0]):
                self.found.append(f"{event} {arguments!r:.200}")
        elif event in CODE and not _is_ours(event, arguments):
            self.found.append(f"{event} {arguments!r:.200}")

    def _may_open(self, path: Any, flags: Any) -> bool:
        if isinstance(path, int) or self._is_inside(path):
            return True
        name = os.path.realpath(os.fsdecode(path))
        is_read = (flags or 0) & os.O_ACCMODE == os.O_RDONLY
        return is_read and (name in MACHINE or name.startswith(LIBRARY))

    def _is_inside(self, path: Any) -> bool:
        if path is None or isinstance(path, int):
            return True
        name = os.path.realpath(os.fsdecode(path))
        return name == self.folder or name.startswith(self.folder + os.sep)


def _is_ours(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether code is that of a module which is imported late, and no text or bytes from a file."""
    name = arguments[1] if event == "compile" else getattr(arguments[0], "co_filename", "")
    return str(name).startswith((*LIBRARY, "<frozen"))


def _names(folder: Path) -> set[str]:
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries}


@contextmanager
def measured() -> Iterator[None]:
    """Have memory counted."""
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


WATCH = Watch()


def judge(path: Path, read: Any, error: type[Exception], allowance: int) -> bool:
    """Read a file that may be hostile; return whether it was taken.

    It fails for any other exception, for memory beyond `allowance`, for other files, for code.
    """
    WATCH.inputs += 1
    message = taken = None
    with WATCH.within(path if path.is_dir() else path.parent):
        try:
            read(path)
            taken = True
        except error as caught:
            message = str(caught)
    assert WATCH.last <= allowance, f"{WATCH.last:,} bytes were asked for; {allowance:,} allowed"
    if taken:
        WATCH.taken += 1
        return True
    assert message, "an error without words"
    if len(message) > MOST_WORDS:
        pytest.fail(f"a message of {len(message)} characters")
    return False
