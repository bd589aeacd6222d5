"""The harness's end of its guardian, which is told of every group of processes that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Lock

SCRIPT = Path(__file__).with_name("guardian.py")


class Guardian:
    """A small process that outlives the harness just long enough to end its workers."""

    def __init__(self) -> None:
        self.groups: set[int] = set()
        self.lock = Lock()
        self.process: subprocess.Popen[bytes] | None = None

    def begins(self, group: int) -> None:
        """A group of processes has begun."""
        with self.lock:
            self.groups.add(group)
            self._tell(f"+{group}\n")

    def ended(self, group: int) -> None:
        """A group has been ended; its number may soon be another's."""
        with self.lock:
            self.groups.discard(group)
            self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        """Say it; a guardian that is not there, or no more, is started and told all.

        Where none can be started, the kernel still ends the workers, and the next word starts one.
        """
        if self.process is not None:
            assert self.process.stdin is not None
            try:
                os.write(self.process.stdin.fileno(), line.encode())
            except OSError:
                self.process.kill()
                self.process.wait()
                self.process.stdin.close()
                self.process = None
            else:
                return
        with suppress(OSError):
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # what ends the harness's group does not reach it
            )
            assert self.process.stdin is not None
            told = "".join(f"+{group}\n" for group in sorted(self.groups))
            os.write(self.process.stdin.fileno(), told.encode())


GUARDIAN = Guardian()
