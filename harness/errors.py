"""The errors that a user can meet, and the exit code of each.

```text
HarnessError (1)            anything that stops a command
├── UsageError (2)          the command line, a file or a value is wrong; nothing was run
│   ├── SpecError           a model's TOML file
│   └── DataError           a dataset's name, file or contents
├── NotInstalledError (2)   a backend was named whose framework is missing
├── StorageError (5)        results cannot be written any more: a full disk, a broken one
├── Interrupted (130)       by Ctrl-C; what was measured before stays on disk
├── WorkerError (4)         a backend's process crashed, hung or answered nonsense
└── MessageError (4)        bytes on a worker's pipe that are no message
```

A message names the field, the value received, what is allowed, and what to type next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_SAID = 10_000  # characters of what a worker may say; a field of a table has 131,072 at most


class HarnessError(Exception):
    """Base of every error shown to the user without a traceback."""

    exit_code = 1


class UsageError(HarnessError):
    """The request itself is wrong."""

    exit_code = 2


class SpecError(UsageError):
    """A model spec is malformed; `problems` holds one line per mistake."""

    def __init__(self, source: str, problems: list[str]) -> None:
        self.source = source
        self.problems = problems
        count = f"{len(problems)} mistake{'s' if len(problems) > 1 else ''}"
        super().__init__(f"{source}: {count}\n" + "\n".join(f"  {line}" for line in problems))


class DataError(UsageError):
    """A dataset is unknown, missing, damaged or of the wrong shape."""


class NotInstalledError(HarnessError):
    """What was asked for needs a package that is not installed, such as a backend's framework."""

    exit_code = 2


class StorageError(HarnessError):
    """Results cannot be written; `path` is the file, `cause` what the system said."""

    exit_code = 5

    def __init__(self, path: object, cause: OSError) -> None:
        self.path, self.cause = path, cause
        super().__init__(f"cannot write {path}: {cause.strerror or cause}")


class Interrupted(HarnessError):  # noqa: N818 (not a fault)
    """The user pressed Ctrl-C; 130 is what shells report for that (128 + SIGINT)."""

    exit_code = 130


class WorkerError(HarnessError):
    """A worker process failed; `status` is the word for it in the results.

    `status` is one of `crashed`, `timed-out`, `out-of-memory`, `failed`, `early`. The message may
    quote what a worker said: it is cut, and made such that every file can hold it.
    """

    exit_code = 4

    def __init__(self, message: str, status: str = "failed") -> None:
        self.status = status
        said = message if len(message) <= MOST_SAID else f"{message[:MOST_SAID]} ..."
        super().__init__(said.encode("utf-8", "replace").decode())


class MessageError(HarnessError):
    """What came over a worker's pipe is not a message of this protocol."""

    exit_code = 4


def did_you_mean(value: str, allowed: Iterable[str]) -> str:
    """Return ` Did you mean 'x'?` for the nearest allowed word, or nothing."""
    near = difflib.get_close_matches(value.lower(), list(allowed), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
