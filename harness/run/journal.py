"""The journal of a run: what became of every planned cell, line by line, each on disk at once.

`journal.jsonl` begins with what was asked for and what must not change until the run is over. Each
line after it is a row of the summary, as far as it was known then: a cell, which is one backend on
one device with one seed, and its status. The last line of a cell is the one that holds; those of
workers before it are kept as superseded. So `summary.csv` can be made anew from it at any time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import UsageError
from harness.run.durable import AppendFile

JOURNAL = "journal.jsonl"
SCHEMA_VERSION = 1
OPEN = frozenset({"planned", "running", "interrupted"})  # a resumed run trains these
HEAD = {"run_id": str, "identity": dict, "request": dict}  # in the first line

Row = dict[str, Any]


class Key(NamedTuple):
    """One planned cell: a backend on a device, and a seed."""

    backend: str
    variant: str
    device: str
    seed: int

    @staticmethod
    def of(row: Mapping[str, Any]) -> Key:
        """Return the key of a row."""
        return Key(*(row[name] for name in Key._fields))


@dataclass(frozen=True)
class Place:
    """Where the line of a row lies in the journal, and what must be known without reading it."""

    status: str
    worker: int
    begin: int
    length: int

    @property
    def is_open(self) -> bool:
        """Whether the cell has not ended."""
        return self.status in OPEN


class Journal:
    """Keeps of each row only where it lies, so that memory does not grow with what was run."""

    def __init__(self, path: Path, head: Mapping[str, Any] | None = None) -> None:
        """Begin a journal with `head`, or without it read the one that is there.

        Raises:
            UsageError: what is there is no journal.
            StorageError: it cannot be written.

        """
        self.path = path
        self.rows: dict[Key, Place] = {}
        self.of_seed: dict[int, list[Key]] = {}
        self.superseded: list[Place] = []
        if head is not None:
            path.unlink(missing_ok=True)
            self.head: Row = {"journal": SCHEMA_VERSION, **head}
            self.file = AppendFile(path, _line(self.head))
            return
        if not path.is_file():
            raise UsageError(
                f"{path.parent} holds no run to go on with: there is no {path.name}. "
                "Try: --out, for a new run"
            )
        self.head = {}
        self._read()
        self.file = AppendFile(path)  # a last line that was cut short is taken off

    def _read(self) -> None:
        begin = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break  # cut short
                try:
                    self._take(json.loads(line), begin, len(line))
                except (
                    ValueError,
                    LookupError,
                    TypeError,
                    AttributeError,
                    RecursionError,
                ) as error:
                    raise UsageError(
                        f"{self.path}, line {number}: no row of a journal ({error!r:.200}). "
                        "Try: --out, for a new run"
                    ) from None
                begin += len(line)
        if not self.head:
            raise UsageError(
                f"{self.path} ends before its first line does; nothing was run. "
                "Try: --out, for a new run"
            )

    def _take(self, content: Row, begin: int, length: int) -> None:
        """Note one line."""
        if not isinstance(content, dict):
            raise TypeError("no object")
        if not self.head:
            if content["journal"] != SCHEMA_VERSION:
                raise ValueError(f"journal {content['journal']}; known: {SCHEMA_VERSION}")
            for name, kind in HEAD.items():
                if not isinstance(content[name], kind):
                    raise TypeError(f"{name} is no {kind.__name__}")
            self.head = content
        elif "event" in content:
            facts = content["facts"]
            if HEAD.keys() & facts.keys():
                raise ValueError("a fact that takes the place of what was asked for")
            self.head |= facts
        else:
            key, worker = Key.of(content), content["worker"]
            if [type(part) for part in (*key, worker)] != [str, str, str, int, int]:
                raise TypeError("a cell is three texts and two whole numbers")
            place = Place(str(content["status"]), worker, begin, length)
            before = self.rows.get(key)
            if before is not None and before.status != "planned" and before.worker < place.worker:
                self.superseded.append(before)
            if before is None:
                self.of_seed.setdefault(key.seed, []).append(key)
            self.rows[key] = place

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows, all of them at one stroke, and see them onto the disk."""
        self._append([dict(row) for row in rows])

    def note(self, event: str, **facts: Any) -> None:
        """Append something that holds for the whole run, and is added to the head."""
        self._append([{"event": event, "facts": facts}])

    def _append(self, contents: list[Row]) -> None:
        lines = [_line(content) for content in contents]
        begin = self.file.append(b"".join(lines))
        for content, line in zip(contents, lines, strict=True):
            self._take(content, begin, len(line))
            begin += len(line)

    def read(self, place: Place) -> Row:
        """Return a row as it was written."""
        row: Row = json.loads(self.file.read(place.begin, place.length))
        return row

    def current(self) -> Iterator[Row]:
        """Yield the row that holds of each cell, in the order in which they were planned."""
        for place in self.rows.values():
            yield self.read(place)

    def is_open(self, key: Key) -> bool:
        """Whether a planned cell has not ended."""
        return key in self.rows and self.rows[key].is_open

    def workers(self, backend: str, variant: str, device: str) -> int:
        """Return how many workers a backend has had on a device."""
        places = [*self.rows.items()]
        return max((p.worker for k, p in places if k[:3] == (backend, variant, device)), default=0)

    def close(self) -> None:
        """Close it."""
        self.file.close()


def _line(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, default=lambda value: value.item())
    return text.encode("utf-8", "replace") + b"\n"
