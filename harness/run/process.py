"""The harness's end of a worker: start it, ask, wait with a limit, end it for good."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO, cast

from numpy.typing import NDArray

from harness.errors import MessageError, WorkerError
from harness.run.messages import Arrays, read_message, write_message

LOG_TAIL_LINES = 12
END_SECONDS = 10.0


class DeadlineReader:
    """Reads a pipe, sleeping in the kernel while there is nothing, until a deadline passes."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.deadline = float("inf")

    def read(self, count: int) -> bytes:
        """Return `count` bytes, or fewer at the end of the stream.

        Raises:
            TimeoutError: the deadline passed first.

        """
        parts: list[bytes] = []
        while count:
            left = self.deadline - monotonic()
            timeout = None if left == float("inf") else max(left, 0.0)
            if not select.select([self.descriptor], [], [], timeout)[0]:
                raise TimeoutError
            part = os.read(self.descriptor, min(count, 2**20))
            if not part:
                break
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class WorkerProcess:
    """One worker, in a process group of its own, with its own log."""

    def __init__(self, label: str, log: Path, environment: Mapping[str, str], cpus: int) -> None:
        self.label = label
        self.log = log
        command_reader, command_writer = os.pipe()
        answer_reader, answer_writer = os.pipe()
        try:
            with log.open("ab") as log_file:
                self.process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "harness.run.worker"),
                        *(str(command_reader), str(answer_writer), str(cpus)),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    pass_fds=(command_reader, answer_writer),
                    start_new_session=True,
                )
        finally:
            os.close(command_reader)
            os.close(answer_writer)
        self.commands = os.fdopen(command_writer, "wb")
        self.answers = DeadlineReader(answer_reader)
        self.asked = 0

    def send(self, command: str, arrays: Arrays = {}, **fields: Any) -> None:  # noqa: B006 (never changed)
        """Ask, without waiting for the answer.

        Raises:
            WorkerError: the worker is gone.

        """
        self.asked += 1
        try:
            write_message(self.commands, {"id": self.asked, "command": command, **fields}, arrays)
        except OSError:
            raise self._crashed() from None

    def receive(self, timeout: float) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Wait at most `timeout` seconds for the answer to the last question.

        Raises:
            WorkerError: with status `crashed`, `timed-out`, `out-of-memory` or `failed`.

        """
        self.answers.deadline = monotonic() + timeout
        try:
            message = read_message(cast(BinaryIO, self.answers))
        except TimeoutError:
            self.kill()
            raise WorkerError(
                f"{self.label}: no answer in {timeout:.0f} s; ended. "
                f"A longer limit: --timeout. Log: {self.log}",
                "timed-out",
            ) from None
        except MessageError as error:
            self.kill()
            raise WorkerError(f"{self.label}: {error}. Log: {self.log}", "crashed") from None
        if message is None:
            raise self._crashed()
        fields, arrays = message
        if fields.get("id") != self.asked:
            self.kill()
            raise WorkerError(f"{self.label}: answered another question than was asked", "crashed")
        if fields.get("status") != "ok":
            status, text = str(fields.get("status", "failed")), str(fields.get("error", ""))
            raise WorkerError(f"{self.label}: {text}. Log: {self.log}", status)
        return fields, arrays

    def ask(
        self,
        command: str,
        arrays: Arrays = {},  # noqa: B006 (never changed)
        *,
        timeout: float,
        **fields: Any,
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Send and receive."""
        self.send(command, arrays, **fields)
        return self.receive(timeout)

    def close(self) -> None:
        """Let the worker end in peace, and make sure that it has ended."""
        if self.process.poll() is None:
            with suppress(WorkerError, OSError, subprocess.TimeoutExpired):
                self.ask("close", timeout=END_SECONDS)
                self.commands.close()
                self.process.wait(END_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the whole process group: asked first, then forced."""
        for number, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, END_SECONDS)):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)
            try:
                self.process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                continue
        for closing in (self.commands.close, self._close_answers):
            with suppress(OSError):
                closing()

    def _close_answers(self) -> None:
        if self.answers.descriptor >= 0:
            os.close(self.answers.descriptor)
            self.answers.descriptor = -1

    def _crashed(self) -> WorkerError:
        try:
            code = self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            code = 0
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        status = "out-of-memory" if code == -signal.SIGKILL else "crashed"
        killed = " (SIGKILL: most likely the kernel, out of memory)" if code == -9 else ""
        self.kill()
        tail = self.log_tail()
        return WorkerError(
            f"{self.label}: the worker ended with {how}{killed}. Log: {self.log}"
            + (f"\n{tail}" if tail else ""),
            status,
        )

    def log_tail(self) -> str:
        """Return the last lines of the worker's log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(self.log.stat().st_size - 4096, 0))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"    {line}" for line in lines[-LOG_TAIL_LINES:])
