"""The harness's end of a worker: start it, ask, wait with a limit, end it for good."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from secrets import randbelow
from time import monotonic
from typing import Any, BinaryIO, cast

import psutil
from numpy.typing import NDArray

from harness.errors import MessageError, WorkerError
from harness.run.durable import storing
from harness.run.guarded import GUARDIAN
from harness.run.messages import Arrays, read_message, write_message

LOG_TAIL_LINES = 12
END_SECONDS = 10.0
LAST_SECONDS = 2.0  # from the end of its pipe to that of the process
ASKED_SECONDS = 2.0  # from SIGTERM to SIGKILL
WATCH_SECONDS = 1.0  # between two looks at a worker's memory, where that is limited
MOST_LOG_BYTES = 64 * 2**20
KEPT_LOG_BYTES = 2**20  # of its end, and as much of its beginning
FOREVER = float("inf")
FAILURES = ("failed", "out-of-memory")  # that a worker may tell of itself
# What it raises to make something of an answer of no use.
NO_USE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


def no_use(label: str, logs: Iterable[Path], error: Exception) -> WorkerError:
    """Return what is said of an answer that `error` came of; where it did goes to the logs."""
    for path in logs:
        with suppress(OSError), path.open("a", encoding="utf-8") as log:
            traceback.print_exc(file=log)
    return WorkerError(f"{label}: an answer of no use: {type(error).__name__}: {error}")


class DeadlineReader:
    """Reads a pipe, sleeping in the kernel while there is nothing, until a deadline passes.

    The stream ends with the process that writes it, even where a child that it forked holds the
    pipe open; `process` is its pidfd, None where the system has none.
    """

    def __init__(self, descriptor: int, process: int | None = None) -> None:
        self.descriptor = descriptor
        self.process = process
        self.deadline = FOREVER
        self.watch: Callable[[], None] | None = None  # called every WATCH_SECONDS while it waits

    def read(self, count: int) -> bytes:
        """Return `count` bytes, or fewer at the end of the stream.

        Raises:
            TimeoutError: the deadline passed first.

        """
        parts: list[bytes] = []
        while count and self._wait():
            part = os.read(self.descriptor, min(count, 2**20))
            if not part:
                break
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    @property
    def watched(self) -> list[int]:
        """The descriptors that become readable when something is written, or the process ends."""
        return [self.descriptor] + ([] if self.process is None else [self.process])

    def _wait(self) -> bool:
        """Sleep until there is something to read; False where the process ended before."""
        while True:
            left = self.deadline - monotonic()
            wait = left if self.watch is None else min(left, WATCH_SECONDS)
            ready = select.select(
                self.watched, [], [], None if wait == FOREVER else max(wait, 0.0)
            )[0]
            if ready:
                break
            if left <= wait:
                raise TimeoutError
            if self.watch is not None:
                self.watch()
        # What was written before the end may have come between the two looks.
        return self.descriptor in ready or bool(select.select([self.descriptor], [], [], 0)[0])

    def close(self) -> None:
        """Close the pipe, once."""
        for descriptor in (self.descriptor, self.process):
            if descriptor is not None and descriptor >= 0:
                os.close(descriptor)
        self.descriptor, self.process = -1, None


class DeadlineWriter:
    """Writes to a pipe; while that is full, sleeps in the kernel until a deadline passes.

    It is full where a question is larger than what the kernel holds, and nobody reads it. `process`
    is as in `DeadlineReader`, which closes it.
    """

    def __init__(self, descriptor: int, process: int | None = None) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self.process = process
        self.deadline = FOREVER

    def write(self, content: bytes | memoryview) -> None:
        """Write all of it.

        Raises:
            TimeoutError: the deadline passed first.
            BrokenPipeError: the process has ended, or reads no more.

        """
        left = memoryview(content)
        while left:
            try:
                left = left[os.write(self.descriptor, left) :]
            except BlockingIOError:
                self._wait()

    def _wait(self) -> None:
        """Sleep until there is room."""
        watched = [] if self.process is None else [self.process]
        while (left := self.deadline - monotonic()) > 0:
            wait = None if left == FOREVER else left
            ended, ready, _ = select.select(watched, [self.descriptor], [], wait)
            if ended:
                raise BrokenPipeError
            if ready:
                return
        raise TimeoutError

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Close the pipe, once."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class WorkerProcess:
    """One worker, in a process group of its own, with its own log.

    With `memory`, a number of bytes, it is ended when it holds more: see `_watch`.

    Raises:
        StorageError: there is no room for its log.
        WorkerError: the system starts no more processes.

    """

    def __init__(
        self,
        label: str,
        log: Path,
        environment: Mapping[str, str],
        cpus: int,
        python: str = sys.executable,
        memory: int | None = None,
    ) -> None:
        self.label = label
        self.log = log
        with storing(log):
            log_file = log.open("ab")
        command_reader, command_writer = os.pipe()
        answer_reader, answer_writer = os.pipe()
        try:
            with log_file:
                self.process = subprocess.Popen(
                    [
                        *(python, "-m", "harness.run.worker"),
                        *(str(command_reader), str(answer_writer), str(cpus)),
                        str(os.getpid()),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    pass_fds=(command_reader, answer_writer),
                    start_new_session=True,
                )
        except OSError as error:
            os.close(command_writer)
            os.close(answer_reader)
            raise WorkerError(f"{label}: cannot be started: {error}", "crashed") from None
        finally:
            os.close(command_reader)
            os.close(answer_writer)
        GUARDIAN.begins(self.process.pid)
        self.answers = DeadlineReader(answer_reader, _pidfd(self.process.pid))
        self.commands = DeadlineWriter(command_writer, self.answers.process)
        # No two workers count alike, so that none can answer for another by chance.
        self.asked = randbelow(2**40)
        self.asked_at = monotonic()
        self.longest_silence = 0.0  # of the last question
        self.ended = False
        self.memory = memory
        if memory is not None:
            self.answers.watch = self._watch

    def send(
        self,
        command: str,
        arrays: Arrays = {},  # noqa: B006 (never changed)
        *,
        timeout: float = FOREVER,
        **fields: Any,
    ) -> None:
        """Ask, without waiting for the answer; at most `timeout` seconds until all is asked.

        Raises:
            WorkerError: the worker is gone, or does not read.

        """
        if self.ended:
            raise WorkerError(
                f"{self.label}: the worker has been ended. Log: {self.log}", "crashed"
            )
        self.asked += 1
        self.asked_at = monotonic()
        self.commands.deadline = self.asked_at + timeout
        question = {"id": self.asked, "command": command, **fields}
        try:
            write_message(cast(BinaryIO, self.commands), question, arrays)
        except TimeoutError:
            raise self._out_of_time(f"took no question in {timeout:g} s", "--timeout") from None
        except OSError:
            raise self._crashed() from None

    def receive(
        self, timeout: float, silence: float = FOREVER
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Wait for the answer to the last question, at most `timeout` seconds from its asking.

        Nor longer than `silence` seconds from one sign of life to the next, of which the asking
        counts as the first.

        Raises:
            WorkerError: with status `crashed`, `timed-out`, `out-of-memory` or `failed`.

        """
        sign, self.longest_silence = self.asked_at, 0.0
        while True:
            self.answers.deadline = min(self.asked_at + timeout, sign + silence)
            fields, arrays = self._message(timeout, silence)
            self.longest_silence = max(self.longest_silence, monotonic() - sign)
            if fields.get("status") != "alive":
                break
            sign = monotonic()
            if sign > self.asked_at + timeout:  # who never stops talking is never waited for
                raise self._out_of_time(f"no answer in {timeout:g} s", "--timeout")
        self._trim_log()
        if self.memory is not None:
            self._watch()
        if fields.get("status") != "ok":
            told, text = fields.get("status"), str(fields.get("error", ""))
            status = str(told) if told in FAILURES else "failed"
            raise WorkerError(f"{self.label}: {text}. Log: {self.log}", status)
        return fields, arrays

    def _out_of_time(self, what: str, option: str) -> WorkerError:
        """End it, and say what it did not do in time."""
        self.kill()
        return self._error(f"{what}; ended. A longer limit: {option}", "timed-out")

    def _message(
        self, timeout: float, silence: float
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Read the next message, which must belong to the question that was asked."""
        try:
            message = read_message(cast(BinaryIO, self.answers))
        except TimeoutError:
            if self.answers.deadline < self.asked_at + timeout:
                what, option = f"no sign of life for {silence:g} s", "--silence"
            else:
                what, option = f"no answer in {timeout:g} s", "--timeout"
            raise self._out_of_time(what, option) from None
        except MessageError as error:
            raise self._crashed(f"{error}; ") from None
        if message is None:
            raise self._crashed()
        if message[0].get("id") != self.asked:
            self.kill()
            raise self._error("answered another question than was asked", "crashed")
        return message

    def ask(
        self,
        command: str,
        arrays: Arrays = {},  # noqa: B006 (never changed)
        *,
        timeout: float,
        silence: float = FOREVER,
        **fields: Any,
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Send and receive."""
        self.send(command, arrays, timeout=timeout, **fields)
        return self.receive(timeout, silence)

    def move(self, cores: Collection[int]) -> None:
        """Have all its threads run on these cores from now on.

        A thread that one not yet moved has begun meanwhile is found by a further look.
        """
        threads, moved = Path(f"/proc/{self.process.pid}/task"), set[Path]()
        with suppress(FileNotFoundError):  # the process has ended, which the pipe will say
            while left := {*threads.iterdir()} - moved:
                for thread in left:
                    with suppress(ProcessLookupError):
                        os.sched_setaffinity(int(thread.name), cores)
                moved |= left

    def _watch(self) -> None:
        """End the worker if it holds more memory than it may.

        What counts is what it has in physical memory. A limit on addresses (RLIMIT_AS) would refuse
        the frameworks, which reserve far more than they use; a control group needs rights that
        a user seldom has. The look takes some microseconds, and is taken only where there is a
        limit.
        """
        try:
            held = psutil.Process(self.process.pid).memory_info().rss
        except psutil.Error:
            return  # it has ended, which the pipe will say
        assert self.memory is not None
        if held > self.memory:
            self.kill()
            raise self._error(
                f"held {held / 1e6:,.0f} MB of memory, more than --memory {self.memory / 1e6:,.0f} "
                "MB; ended",
                "out-of-memory",
            )

    def close(self) -> None:
        """Let the worker end in peace, and make sure that it has ended."""
        if self.process.poll() is None:
            with suppress(WorkerError, OSError, subprocess.TimeoutExpired):
                self.ask("close", timeout=END_SECONDS)
                self.commands.close()
                self.process.wait(END_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the whole process group: asked first, then forced. A second call does nothing."""
        if self.ended:
            return
        # The worker goes at the first signal, its own children perhaps only at the second.
        for number, patience in ((signal.SIGTERM, ASKED_SECONDS), (signal.SIGKILL, END_SECONDS)):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
        self.ended = True
        GUARDIAN.ended(self.process.pid)
        self._trim_log()
        for closing in (self.commands.close, self.answers.close):
            with suppress(OSError):
                closing()

    def _crashed(self, found: str = "") -> WorkerError:
        """End it and say what became of it; `found` is what its last answer was instead of one."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(LAST_SECONDS)
        code = self.process.returncode
        self.kill()
        status = "out-of-memory" if code == -signal.SIGKILL else "crashed"
        return self._error(f"{found}the worker {_ending(code)}", status)

    def _error(self, problem: str, status: str) -> WorkerError:
        """Return an error that names the log, and shows its end."""
        tail = self.log_tail()
        more = f"\n{tail}" if tail else ""
        return WorkerError(f"{self.label}: {problem}. Log: {self.log}{more}", status)

    def _trim_log(self) -> None:
        """Leave out the middle of a log that has grown beyond measure; called between questions.

        The worker goes on at the log's new end, as it appends.
        """
        try:
            size = self.log.stat().st_size
            if size <= MOST_LOG_BYTES:
                return
            with self.log.open("r+b") as file:
                file.seek(size - KEPT_LOG_BYTES)
                end = file.read()
                left_out = size - 2 * KEPT_LOG_BYTES
                file.seek(KEPT_LOG_BYTES)
                file.write(f"\n[{left_out:,} bytes were left out here]\n".encode() + end)
                file.truncate()
        except OSError:
            return  # it is not worth a measurement

    def log_tail(self) -> str:
        """Return the last lines of the worker's log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(self.log.stat().st_size - 4096, 0))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"    {line}" for line in lines[-LOG_TAIL_LINES:])


def first_to_answer(workers: Collection[WorkerProcess], timeout: float) -> WorkerProcess:
    """Sleep until `receive` of one of the workers, all of them asked, would not wait; return it.

    It has begun its answer, has ended, or was asked `timeout` seconds ago.
    """
    oldest = min(workers, key=lambda worker: worker.asked_at)
    watched = {d: worker for worker in workers for d in worker.answers.watched}
    left = max(oldest.asked_at + timeout - monotonic(), 0.0)
    ready = select.select(list(watched), [], [], left)[0]
    return watched[ready[0]] if ready else oldest


def _ending(code: int | None) -> str:
    """Say how a process ended from its return code; None: it has not."""
    if code is None:
        return "left its pipe unusable"
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL (most likely by the kernel, out of memory)"
    if code < 0:
        names = {member.value: member.name for member in signal.Signals}
        return f"was killed by {names.get(-code, f'signal {-code}')}"
    return f"ended with exit code {code}"


def _pidfd(process: int) -> int | None:
    """Return a descriptor that can be read from once the process has ended, on Linux."""
    try:
        return os.pidfd_open(process)
    except (AttributeError, OSError):
        return None
