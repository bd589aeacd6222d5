"""One thing that was looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """What was found of `subject`, which belongs to a `part` of the machine or the installation.

    A `note` is worth knowing, and keeps nothing from working; what is `wrong` should be mended.
    `mend` is one line to type or to do; `facts` are the figures behind the words.
    """

    part: str
    subject: str
    level: Level
    said: str
    mend: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as an object of plain values."""
        return asdict(self)


def all_well(findings: Iterable[Finding]) -> bool:
    """Return whether nothing is wrong."""
    return all(finding.level != "wrong" for finding in findings)


def size_of(size: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= least:
            return f"{size / least:,.1f} {unit}"
    return f"{size:.0f} bytes"
