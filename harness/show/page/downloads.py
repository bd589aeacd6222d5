"""The measurements themselves in the page, as links that save them to a file."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.run.folder import is_own
from harness.sheets import safe_table
from harness.show.gather import Run

PLAIN_BYTES = 400_000  # of a file; larger ones are compressed
ALL_BYTES = 4_500_000  # of all in the page, so that it stays below 8 MB
FILES = {
    "summary.csv": "text/csv",
    "samples.csv": "text/csv",
    "machine.json": "application/json",
    "spec.json": "application/json",
}


@dataclass(frozen=True)
class Download:
    """A file to save: `href` is a data URL, or empty where the page would become too large."""

    name: str
    size: int
    href: str
    path: str


def downloads(runs: Sequence[Run]) -> dict[str, list[Download]]:
    """Return the files of each run by its folder; the smallest are taken in first."""
    contents = []
    for run in runs:
        for name in FILES:
            if not is_own(run.folder, run.folder / name):
                continue
            try:
                content = (run.folder / name).read_bytes()
                if FILES[name] == "text/csv":  # which people open in a spreadsheet
                    content = safe_table(content)
            except (OSError, ValueError):
                continue
            contents.append((run, name, content))
    room, found = ALL_BYTES, {str(run.folder): dict[str, Download]() for run in runs}
    for run, name, content in sorted(contents, key=lambda item: len(item[2])):
        href, saved = _link(content, name)
        if len(href) > room:
            href = ""
        room -= len(href)
        stem = run.run_id if len(runs) > 1 else ""
        label = "-".join(filter(None, [stem, saved]))
        place = str(Path(run.folder.name) / name)
        found[str(run.folder)][name] = Download(label, len(content), href, place)
    return {folder: [own[name] for name in FILES if name in own] for folder, own in found.items()}


def _link(content: bytes, name: str) -> tuple[str, str]:
    kind = FILES[name]
    if len(content) > PLAIN_BYTES:
        content, kind, name = gzip.compress(content, 9, mtime=0), "application/gzip", f"{name}.gz"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}", name
