"""Where a report goes, and the other options that commands with a verdict share."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.config.model import Gate
    from harness.verdict.report import Report

InconclusiveOk = Annotated[
    bool | None,
    typer.Option(
        "--inconclusive-ok/--no-inconclusive-ok",
        help="Let INCONCLUSIVE pass, with exit code 0; no, if neither this nor the configuration "
        "says so.",
        show_default=False,
    ),
]
Markdown = Annotated[Path | None, typer.Option(help="Write the table as Markdown to this file.")]
Junit = Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")]
GithubAnnotations = Annotated[
    bool, typer.Option("--github-annotations", help="Print annotations for GitHub Actions.")
]
GithubSummary = Annotated[
    bool, typer.Option("--github-summary", help="Append the table to $GITHUB_STEP_SUMMARY.")
]


def read_gate(config: Path | None) -> Gate:
    """Return the gate of the project's file, and say which file that is, where it sets anything.

    Raises:
        UsageError: there is a mistake in the file.

    """
    from harness.config.model import Gate
    from harness.config.read import read_config

    found = read_config(config)
    if found.path is not None and found.config.gate != Gate():
        print(f"gate: {found.path}", file=sys.stderr)
    return found.config.gate


@dataclass(frozen=True)
class Outputs:
    """Where the report is to go; places are checked when it is made, before anything is run."""

    as_json: bool = False
    markdown: Path | None = None
    junit: Path | None = None
    annotations: bool = False
    summary: bool = False

    def __post_init__(self) -> None:
        from harness.output import check_place

        for path in (self.markdown, self.junit):
            if path is not None:
                check_place(path)
        if self.summary and not os.environ.get("GITHUB_STEP_SUMMARY"):
            raise UsageError(
                "--github-summary: GITHUB_STEP_SUMMARY is not set, which GitHub Actions does. "
                "Try: --markdown FILE"
            )

    def deliver(self, report: Report) -> None:
        """Print and write the report, and end with its exit code.

        Raises:
            UsageError: a file cannot be written.

        """
        from harness.output import write_whole
        from harness.show.ci import as_junit, as_markdown, github_annotations

        if self.as_json:
            print(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
        else:
            from rich.console import Console

            from harness.show.verdicts import verdict_lines, verdict_table

            console = Console()
            console.print(report.title, markup=False, highlight=False, soft_wrap=True)
            console.print(verdict_table(report))
            for line in verdict_lines(report):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        if self.markdown is not None:
            text = as_markdown(report)
            write_whole(self.markdown, lambda path: path.write_text(text, encoding="utf-8"))
        if self.junit is not None:
            xml = as_junit(report)
            write_whole(self.junit, lambda path: path.write_bytes(xml))
        if self.summary:
            self._append_summary(as_markdown(report))
        if self.annotations:
            for line in github_annotations(report):
                print(line)
        raise typer.Exit(report.exit_code)

    def _append_summary(self, text: str) -> None:
        place = Path(os.environ["GITHUB_STEP_SUMMARY"])
        try:
            with place.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(f"cannot write {place}: {error.strerror}") from None
