"""From results folders to the page: chapters of figures, put into templates."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import harness
from harness.output import write_whole
from harness.run.checked import CHECKS
from harness.show.answer import say, say_all
from harness.show.gather import Case, Run, gather
from harness.show.page import costs, learning, overview, speed
from harness.show.page.downloads import downloads
from harness.show.page.figure import Figure
from harness.show.page.keys import Keys
from harness.show.page.ladder import Grid, find_checks, grid
from harness.show.page.network import Drawing, draw
from harness.show.page.roofline import roofline
from harness.show.page.sources import Source, sources
from harness.show.page.summary import Summary, summary
from harness.show.page.typed import to_check, to_compare
from harness.show.page.verdicts import VERDICTS, Judged, find_verdicts, verdicts
from harness.show.table import Line, remarks_on

FIGURES = (
    speed.throughput,
    learning.learning,
    costs.where_time_goes,
    speed.step_times,
    speed.prediction,
    costs.memory,
    roofline,
)


@dataclass(frozen=True)
class Chapter:
    """All that is shown of one case."""

    anchor: str
    title: str
    case: Case
    answer: Sequence[str]
    remarks: Sequence[str]
    summary: Summary
    figures: Sequence[Figure]
    ladder: Grid
    drawing: Drawing | None
    sources: Sequence[Source]
    machine: str
    versions: dict[str, str]
    verdicts: Sequence[Judged]
    to_check: str
    to_compare: str


@dataclass(frozen=True)
class Beside:
    """What lies beside the results: reports of checks, and of comparisons by pairs."""

    checks: Sequence[Mapping[str, Any]]
    verdicts: Sequence[Mapping[str, Any]]


def write_report(
    places: Sequence[Path], output: Path, checks: Sequence[Path] = (CHECKS, VERDICTS)
) -> list[str]:
    """Write the page of the results at `places`; return what could not be read.

    `checks` are folders in which checks of the same networks, and verdicts on them, are looked for,
    beside the places.

    Raises:
        UsageError: nothing could be read, or the page cannot be written.

    """
    runs, problems = gather(places)
    text = page(runs, [*checks, *(p if p.is_dir() else p.parent for p in places)], problems)
    write_whole(output, lambda path: path.write_text(text, encoding="utf-8"))
    return problems


def page(runs: Sequence[Run], checks: Sequence[Path] = (), problems: Sequence[str] = ()) -> str:
    """Return the page as HTML."""
    cases = [case for run in runs for case in run.cases]
    keys = Keys(line for case in cases for line in case.lines)
    beside = Beside(find_checks(checks), find_verdicts(checks))
    anchors = [f"case-{number}" for number in range(1, len(cases) + 1)]
    titles = overview.titles(cases)
    chapters = [
        _chapter(case, anchor, title, keys, beside)
        for case, anchor, title in zip(cases, anchors, titles, strict=True)
    ]
    chapters.reverse()  # the newest first
    content: dict[str, Any] = {
        "chapters": chapters,
        "matrix": overview.matrix(cases, anchors, keys) if len(cases) > 1 else None,
        "trends": [*overview.by_batch_size(cases, keys), *overview.history(cases, keys)],
        "models": sorted({str(case.first("model")) for case in cases}),
        "backends": {name: keys.key(name, keys.devices[0]).colour for name in keys.backends},
        "devices": keys.devices,
        "downloads": downloads(runs),
        "headline": say_all(cases),
        "problems": problems,
        "version": harness.__version__,
    }
    return _render(content)


def _chapter(case: Case, anchor: str, title: str, keys: Keys, beside: Beside) -> Chapter:
    said = [remark for line in case.lines for remark in remarks_on(line)]
    return Chapter(
        anchor,
        title,
        case,
        say(case),
        [*said, *case.run.remarks],
        summary(case.lines, keys),
        [figure for make in FIGURES if (figure := make(case, keys))],
        grid(case, beside.checks, keys),
        draw(case),
        sources(case, keys),
        overview.machine_words(case),
        {line.label: _versions(line) for line in case.lines},
        verdicts(case, beside.verdicts),
        to_check(case),
        to_compare(case),
    )


def _versions(line: Line) -> str:
    """Return what the backend stands on, in words; whatever is no JSON is shown as it is."""
    text = str(line.rows[0]["versions"] or line.rows[0]["framework_version"] or "–")
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if not isinstance(found, dict):
        return text
    return ", ".join(f"{name} {version}" for name, version in found.items())


def kept(text: str) -> Markup:
    """Return text as HTML in which names and options with hyphens are not broken at these."""
    words = [
        Markup('<span class="keep">{}</span>').format(word) if "-" in word else Markup.escape(word)
        for word in text.split(" ")
    ]
    return Markup(" ").join(words)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("harness.show.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["kind"] = lambda item: type(item).__name__
    made.filters["grouped"] = lambda number: f"{number:,}"
    made.filters["kept"] = kept
    made.filters["plain"] = lambda number: f"{number:.5g}"
    return made


def _render(content: dict[str, Any]) -> str:
    folder = files("harness.show.page") / "templates"
    style, script = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(**content, style=Markup(style), script=Markup(script), script_hash=digest)
    )
