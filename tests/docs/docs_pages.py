"""The pages of the documentation, and the commands that stand in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^(`{3,})(\w*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"(?<!`)`((?:python -m|make|pip install) [^`]+)`(?!`)")


def pages() -> dict[str, str]:
    """The text of every page by its path: docs/ and what the repository has beside it."""
    places = [ROOT / "README.md", ROOT / "results" / "README.md", *(ROOT / "docs").rglob("*.md")]
    return {
        str(place.relative_to(ROOT)): place.read_text(encoding="utf-8") for place in sorted(places)
    }


def fences(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, in their order."""
    return [body for _, found, body in FENCE.findall(text) if found == language]


class Command(NamedTuple):
    """A command line in words; `is_whole` where it stands in a listing, to be typed as it is."""

    words: tuple[str, ...]
    is_whole: bool = True

    def __str__(self) -> str:
        return shlex.join(self.words)


def commands_in(text: str) -> list[Command]:
    """Every command of a page: lines of shells, lines behind a prompt, and spans of code."""
    lines = [line for block in fences(text, "sh") for line in block.splitlines()]
    for block in fences(text, "text"):
        lines += [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    found = [Command(tuple(shlex.split(line, comments=True))) for line in lines]
    for span in SPAN.findall(FENCE.sub("", text)):
        found.append(Command(tuple(shlex.split(" ".join(span.split()))), is_whole=False))
    return [command for command in found if command.words]
