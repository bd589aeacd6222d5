"""`harness export`: results in the formats of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = (
    "Examples:\n\n"
    "python -m harness export results/nightly --format bencher -o bencher.json\n\n"
    "python -m harness export results/nightly --format bigger-is-better -o benchmark.json\n\n"
    "python -m harness export results/nightly --format openmetrics"
)


def export(
    results: Annotated[Path, typer.Argument(help="A results folder, or its summary.csv.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="bigger-is-better or smaller-is-better (github-action-benchmark), bencher, "
            "openmetrics.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; printed, if not given.")
    ] = None,
) -> None:
    """Write a run's figures for github-action-benchmark, Bencher, or Prometheus (OpenMetrics)."""
    from harness.errors import UsageError, did_you_mean
    from harness.output import write_whole
    from harness.run.folder import read_rows
    from harness.show.exports import FORMATS, values_of

    if form not in FORMATS:
        raise UsageError(
            f"--format {form!r}; allowed: {', '.join(FORMATS)}.{did_you_mean(form, FORMATS)} "
            "Try: --format bencher"
        )
    path = results / "summary.csv" if results.is_dir() else results
    values = values_of(read_rows(path))
    if not values:
        raise UsageError(f"{path}: no backend ended well; there is nothing to export")
    text = FORMATS[form](values)
    if output is None:
        print(text, end="")
    else:
        write_whole(output, lambda place: place.write_text(text, encoding="utf-8"))
