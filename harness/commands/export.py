"""`harness export`: results in the formats of other tools."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import LogTo

SAMPLED = "pytest-benchmark"
EPILOG = (
    "Examples:\n\n"
    "python -m harness export results/nightly --format bencher -o bencher.json\n\n"
    "python -m harness export results/nightly --format bigger-is-better -o benchmark.json\n\n"
    "python -m harness export results/nightly --format openmetrics\n\n"
    "python -m harness export results/nightly --format pytest-benchmark -o nightly.json\n\n"
    "python -m harness export results --log-to tensorboard:runs\n\n"
    "Exit codes: 0 written; 2 wrong usage, or there is nothing to export."
)


def export(
    results: Annotated[
        Path,
        typer.Argument(help="A results folder, or its summary.csv; of --log-to a folder of such."),
    ],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            help="bigger-is-better or smaller-is-better (github-action-benchmark), bencher, "
            "openmetrics, pytest-benchmark.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; printed, if not given.")
    ] = None,
    log_to: LogTo = None,
) -> None:
    """Write a run's figures for other tools.

    They are github-action-benchmark, Bencher, Prometheus (OpenMetrics), and pytest-benchmark; and
    with --log-to, of all runs, TensorBoard, MLflow and Weights & Biases.
    """
    from harness.errors import UsageError, did_you_mean
    from harness.output import write_whole
    from harness.run.folder import read_rows
    from harness.show.exports import FORMATS, values_of

    if (form is None) == (log_to is None):
        raise UsageError("--format and --log-to: give one of the two. Try: --format bencher")
    if form is None:
        _log(results, log_to or "")
        return
    allowed = [*FORMATS, SAMPLED]
    if form not in allowed:
        raise UsageError(
            f"--format {form!r}; allowed: {', '.join(allowed)}.{did_you_mean(form, allowed)} "
            "Try: --format bencher"
        )
    path = results / "summary.csv" if results.is_dir() else results
    values = values_of(read_rows(path))
    if not values:
        raise UsageError(f"{path}: no backend ended well; there is nothing to export")
    text = _sampled(path) if form == SAMPLED else FORMATS[form](values)
    if output is None:
        print(text, end="")
    else:
        write_whole(output, lambda place: place.write_text(text, encoding="utf-8"))


def _log(results: Path, log_to: str) -> None:
    """Give all runs at a place to loggers, and say where they went."""
    from harness.loggers.logged import read_logged
    from harness.loggers.parse import parse_loggers
    from harness.show.gather import gather

    loggers = parse_loggers(log_to)
    runs, problems = gather([results])
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    logged = [read_logged(run.folder) for run in runs]
    for logger in loggers:
        for place in dict.fromkeys([logger.log(one) for one in logged]):
            print(place)


def _sampled(path: Path) -> str:
    """Return the newest run at `path` as pytest-benchmark has it, which wants every sample."""
    from harness.errors import UsageError
    from harness.show.pytest_benchmark import as_pytest_benchmark
    from harness.verdict.files import read_side

    run = read_side(path)[-1]
    if not any(len(cell.train.seconds) for cell in run.values()):
        raise UsageError(
            f"{path}: no samples.csv beside it, and {SAMPLED} wants every sample. "
            "Try: the results folder that the run wrote"
        )
    try:
        machine = json.loads((path.parent / "machine.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        machine = None
    return as_pytest_benchmark(run, machine if isinstance(machine, dict) else {})
