"""`harness plot`: results as figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = (
    "Examples:\n\n"
    "python -m harness plot results/nightly -o figures\n\n"
    "python -m harness plot results/before results/after -o figures\n\n"
    "Needs matplotlib: pip install 'cnn-harness\\[plots]'\n\n"
    "Exit codes: 0 written; 2 wrong usage, no results, or matplotlib is missing."
)


def plot(
    results: Annotated[list[Path], typer.Argument(help="Results folders, or folders of such.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the figures; made, if need be.")
    ] = Path("figures"),
) -> None:
    """Write figures as PNG and SVG: throughput with intervals, learning, where the time goes."""
    import sys

    from harness.show.plots import plot as carry_out

    written, problems = carry_out(results, output)
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    for path in written:
        print(path)
