"""Downloads: from the first mirror that delivers, checked before they are kept."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from harness.errors import DataError

_TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two chunks
_CHUNK = 2**16


def download(urls: Sequence[str], target: Path, limit: int, verify: Callable[[Path], None]) -> None:
    """Put the file that the first working URL delivers at `target`.

    It is written elsewhere in the same folder, and moved only when `verify` has not raised
    `DataError`; so `target` is a whole, verified file, or is not there. More than `limit`
    bytes are not accepted. Raises `DataError` with one line for each URL and its fault.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    faults = []
    for url in urls:
        # A name of its own for each process, which nobody takes for the file itself.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".part-") as folder:
            part = Path(folder) / target.name
            try:
                _get(url, part, limit)
                verify(part)
            except DataError as fault:
                faults.append(f"  {url}: {fault}")
            else:
                part.replace(target)
                return
    raise DataError("\n".join(faults))


def _get(url: str, part: Path, limit: int) -> None:
    import pooch  # type: ignore[import-untyped]
    import requests  # type: ignore[import-untyped,unused-ignore]  # older ones are untyped

    with part.open("wb") as file, _progress(part.name) as bar:
        fetch = pooch.HTTPDownloader(
            progressbar=bar or False,
            chunk_size=_CHUNK,
            timeout=_TIMEOUT,
            headers={"Accept-Encoding": "identity"},
        )
        try:
            fetch(url, _Limited(file, limit), None)
        except requests.HTTPError as fault:
            raise DataError(str(fault).partition(" for url")[0]) from fault
        except requests.Timeout as fault:
            connect, read = _TIMEOUT
            raise DataError(f"no answer within {connect:g} s, or {read:g} s of silence") from fault
        except (requests.RequestException, ValueError) as fault:
            raise DataError(f"connection failed ({_root(fault)})") from fault


def _root(fault: BaseException) -> str:
    """Return the first cause: what requests says itself is a paragraph of nested reprs."""
    while (cause := fault.__cause__ or fault.__context__) is not None:
        fault = cause
    return str(fault) or type(fault).__name__


class _Limited:
    """A file that grows up to a limit, so that a mirror cannot fill the disk."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._left = limit
        self._limit = limit

    def write(self, chunk: bytes) -> None:
        self._left -= len(chunk)
        if self._left < 0:
            raise DataError(f"too long: more than {self._limit} bytes")
        self._file.write(chunk)

    def flush(self) -> None:
        self._file.flush()


@contextmanager
def _progress(name: str) -> Iterator[_Bar | None]:
    """Show progress on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with _Bar(name) as bar:
        yield bar


class _Bar:
    """The part of tqdm's interface that pooch uses, drawn by rich."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task(name, total=None)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    @property
    def total(self) -> int:
        return int(self._progress.tasks[0].total or 0)

    @total.setter
    def total(self, size: int) -> None:
        self._progress.update(self._task, total=size or None)

    def update(self, size: int) -> None:
        self._progress.advance(self._task, size)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.stop()
