"""A disk that runs full, and a folder that can no more be written to, below all that Python writes.

`Disk` counts every write into a folder, whichever way Python makes it, and lets the n-th come
through with half of its bytes; it and all after it fail, until there is room again. `Unwritable`
lets what is open be written on, and refuses every new name, as the system does when the rights of a
folder are taken away (which say nothing to root, who may run the tests).
"""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_open, _write, _fsync, _truncate = io.open, os.write, os.fsync, os.ftruncate


class FullError(OSError):
    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, "No space left on device")


class Disk:
    """Fails from the `failing`-th write into `folder` on; 0 is never."""

    def __init__(self, folder: Path, failing: int = 0) -> None:
        self.folder = str(folder.resolve())
        self.failing = failing
        self.writes = 0

    def write(self, write: Any, content: Any) -> int:
        """Pass a write on, or half of it, or none; as a disk does, without a word after half."""
        self.writes += 1
        if not self.failing or self.writes < self.failing:
            return int(write(content))
        if self.writes == self.failing and len(content) > 1:
            return int(write(memoryview(content)[: len(content) // 2]))
        raise FullError

    def is_inside(self, path: Any) -> bool:
        return os.path.realpath(os.fspath(path)).startswith(self.folder)

    def os_write(self, descriptor: int, content: Any) -> int:
        if not self.is_inside(f"/proc/self/fd/{descriptor}"):
            return _write(descriptor, content)
        return self.write(lambda part: _write(descriptor, part), content)

    def open(
        self, file: Any, mode: str = "r", buffering: int = -1, *args: Any, **named: Any
    ) -> Any:
        """As `open`; what writes text or bytes into the folder writes through `write`."""
        is_ours = not isinstance(file, int) and {*mode} & {*"wax+"} and self.is_inside(file)
        if not is_ours:
            return _open(file, mode, buffering, *args, **named)
        disk = self

        class Counted(io.FileIO):
            def write(self, content: Any) -> int:  # type: ignore[override]
                return disk.write(super().write, content)

        raw = Counted(file, mode.replace("b", "").replace("t", ""))
        if buffering == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        named |= dict(zip(("encoding", "errors", "newline"), args, strict=False))
        return io.TextIOWrapper(buffered, **named)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Have all of Python write to this disk."""
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(os, "write", self.os_write)
            patched.setattr(io, "open", self.open)
            patched.setattr(builtins, "open", self.open)
            yield


class Unwritable:
    """Refuses, from the `failing`-th new name in `folder` on, to make, replace or remove any."""

    def __init__(self, folder: Path, failing: int = 0) -> None:
        self.folder = str(folder.resolve())
        self.failing = failing
        self.names = 0

    def refuse(self, path: Any) -> None:
        place = os.path.dirname(os.path.abspath(os.fspath(path)))  # noqa: PTH120, PTH100
        if os.path.realpath(place).startswith(self.folder):
            self.names += 1
            if self.failing and self.names >= self.failing:
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))

    @contextmanager
    def used(self) -> Iterator[None]:
        """Have all of Python meet it."""
        truly = {
            name: getattr(os, name) for name in ("open", "replace", "rename", "mkdir", "unlink")
        }

        def opening(path: Any, flags: int, *args: Any, **named: Any) -> int:
            if flags & os.O_CREAT and not os.path.exists(path):  # noqa: PTH110
                self.refuse(path)
            return int(truly["open"](path, flags, *args, **named))

        def io_opening(file: Any, mode: str = "r", *args: Any, **named: Any) -> Any:
            is_new = not isinstance(file, int) and not os.path.exists(file)  # noqa: PTH110
            if {*mode} & {*"wax"} and is_new:
                self.refuse(file)
            return _open(file, mode, *args, **named)

        def naming(name: str) -> Any:
            def change(path: Any, *args: Any, **named: Any) -> Any:
                # That there is no such file, or one already, is said before that it may not be.
                if os.path.lexists(path) != (name == "mkdir"):
                    self.refuse(path)
                return truly[name](path, *args, **named)

            return change

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(os, "open", opening)
            patched.setattr(io, "open", io_opening)
            patched.setattr(builtins, "open", io_opening)
            for name in ("replace", "rename", "mkdir", "unlink"):
                patched.setattr(os, name, naming(name))
            yield
