"""`harness report`: results as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = (
    "Examples:\n\n"
    "python -m harness report results/nightly\n\n"
    "python -m harness report results/before results/after -o report.html\n\n"
    "python -m harness report results -o all.html\n\n"
    "Exit codes: 0 written; 2 wrong usage, or no results."
)


def report(
    results: Annotated[
        list[Path],
        typer.Argument(help="Results folders, or folders of such; all come into one page."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The page to write, one HTML file.")
    ] = Path("report.html"),
) -> None:
    """Write a page that says who won, and shows all it rests on: one file, no network."""
    import sys

    from harness.output import check_place
    from harness.show.page.build import write_report

    check_place(output)
    for problem in write_report(results, output):
        print(f"left out: {problem}", file=sys.stderr)
    print(f"Report: {output}")
