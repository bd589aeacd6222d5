"""Generated sources with their syntax in colours: few classes, so that fifty stay a small page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

from markupsafe import Markup
from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String

from harness.show.gather import Case
from harness.show.page.keys import Keys
from harness.show.page.marks import Key

CLASSES = (
    (Comment, "hc"),
    (String, "hs"),
    (Number, "hn"),
    (Keyword, "hk"),
    (Operator.Word, "hk"),
    (Name.Decorator, "hd"),
    (Name.Function, "hf"),
    (Name.Class, "hf"),
)


@dataclass(frozen=True)
class Source:
    """What a backend wrote and was timed with, highlighted."""

    key: Key
    file: str
    lines: int
    code: Markup


def sources(case: Case, keys: Keys) -> list[Source]:
    """Return the source of each backend that was kept, in the order of the lines."""
    found: list[Source] = []
    for line in case.lines:
        backend, _, variant = line.backend.partition("@")
        name = "_".join(filter(None, [str(case.first("model")), backend, variant]))
        text = case.run.sources.get(name.replace("-", "_"))
        if text is not None and all(line.backend != source.key.backend for source in found):
            file = f"{name.replace('-', '_')}.py"
            found.append(Source(keys.of(line), file, text.count("\n"), highlight(text)))
    return found


@lru_cache(maxsize=256)
def highlight(text: str) -> Markup:
    """Return Python source as HTML, everything in it escaped."""
    parts = []
    for name, group in groupby(_classed(text), key=lambda item: item[0]):
        piece = "".join(value for _, value in group)
        parts.append(
            Markup('<b class="{}">{}</b>').format(name, piece) if name else Markup.escape(piece)
        )
    return Markup("").join(parts)


def _classed(text: str) -> Iterator[tuple[str, str]]:
    for token, value in PythonLexer(stripnl=False).get_tokens(text):
        yield ("" if value.isspace() else _class_of(token)), value


def _class_of(token: Any) -> str:
    return next((name for kind, name in CLASSES if token in kind), "")
