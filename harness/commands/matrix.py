"""`harness run --matrix`: all runs that a project's file asks for."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import TYPE_CHECKING, Any

import typer

from harness.commands.ending import Shown, exit_code, print_ending, write_logs, write_page
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.run.matrix_folder import Asked, MatrixFolder, Outcome


def run_matrix(
    options: Mapping[str, Any],
    given: Mapping[str, Any],
    config: Path | None,
    resume: Path | None,
    show: Shown,
) -> None:
    """Carry out a matrix, or go on with the one in the folder `resume`.

    `options` are those of `run`, with their defaults; those in `given` win over the file.

    Raises:
        Exit: 4, a run or a backend failed; 1, one is another network.

    """
    from rich.console import Console

    from harness.loggers.parse import parse_loggers
    from harness.run.matrix import run_matrix as carry_out
    from harness.run.matrix_folder import MatrixFolder
    from harness.run.request import as_begun
    from harness.show.matrix import read_parts
    from harness.show.progress import duration, make_listener

    folder = _begin(options, given, config) if resume is None else MatrixFolder(resume)
    messages = Console(stderr=True, quiet=show.quiet)
    renewed = given if resume else {}
    try:
        first = {**folder.asked[0].options, **renewed}
        with as_begun(folder.path):
            loggers = parse_loggers(first.get("log_to"))
        logged: list[str] = []
        times = [monotonic()]
        seconds: list[float] = []

        def tell(number: int, count: int, asked: Asked) -> None:
            left = fmean(seconds) * (count - number + 1) if seconds else 0.0
            words = f", about {duration(left)} left" if left else ""
            line = f"{number} of {count}: {asked.title}{words}"
            messages.print(line, style="bold", markup=False, highlight=False, soft_wrap=True)

        def ended(outcome: Outcome) -> None:
            times.append(monotonic())
            if outcome.status == "done":
                seconds.append(times[-1] - times[-2])
                logged.extend(write_logs(outcome.folder, loggers))
            else:
                reason = f"{outcome.status}: {outcome.reason}"
                messages.print(reason, markup=False, highlight=False, soft_wrap=True)

        outcomes = carry_out(
            folder,
            renewed,
            lambda: make_listener(messages, show.quiet),
            tell,
            ended,
            {"command": shlex.join(["python", "-m", "harness", *sys.argv[1:]])},
        )
        has_results = any(outcome.rows for outcome in outcomes)
        page = write_page(folder.path) if has_results else None
    finally:
        folder.close()
    _show(folder.path, read_parts(outcomes), page, list(dict.fromkeys(logged)), show)
    if not has_results:
        raise UsageError(f"no run of the matrix is possible; see {folder.path / 'matrix.json'}")
    failed = any(outcome.status == "failed" for outcome in outcomes)
    if code := 4 if failed else exit_code([row for outcome in outcomes for row in outcome.rows]):
        raise typer.Exit(code)


def show_plan(
    options: Mapping[str, Any], given: Mapping[str, Any], config: Path | None, show: Shown
) -> None:
    """Say what a matrix would run, and run nothing."""
    from rich.console import Console

    from harness.run.matrix import plan_matrix
    from harness.show.matrix import Part, matrix_json, matrix_remarks, plan_table

    asked, _ = _read(options, given, config)
    outcomes = plan_matrix(asked)
    parts = [Part(outcome, []) for outcome in outcomes]
    if show.as_json:
        print(json.dumps({"runs": matrix_json(parts)}, indent=2, ensure_ascii=False))
        return
    output = Console()
    output.print(plan_table(outcomes))
    for remark in matrix_remarks(parts):
        output.print(remark, markup=False, highlight=False)
    planned = sum(outcome.status == "planned" for outcome in outcomes)
    print(f"\n{planned} of {len(outcomes)} would be run; nothing was.")


def _read(
    options: Mapping[str, Any], given: Mapping[str, Any], config: Path | None
) -> tuple[list[Asked], Path]:
    """Read the file, and see that all that its runs have in common is there."""
    from harness import registry
    from harness.config.combine import combine
    from harness.config.read import read_matrix
    from harness.loggers.parse import parse_loggers

    matrix, source = read_matrix(config)
    own = {name: value for name, value in given.items() if name != "out"}
    asked = combine(matrix, {**options, "out": None}, own)
    first = asked[0].options
    registry.choose(first["backend"], first["plugin"] or [])  # they are the same in all runs
    parse_loggers(first["log_to"])
    return asked, source


def _begin(
    options: Mapping[str, Any], given: Mapping[str, Any], config: Path | None
) -> MatrixFolder:
    """Begin a folder for what the file asks for."""
    from harness.run.matrix_folder import MatrixFolder

    asked, source = _read(options, given, config)
    out = Path(options["out"]) if options["out"] else MatrixFolder.new_path()
    return MatrixFolder(out, asked, {"config": str(source)})


def _show(
    folder: Path, parts: list[Any], page: Path | None, logged: list[str], show: Shown
) -> None:
    from harness.show.matrix import matrix_json, matrix_remarks, matrix_table

    if show.as_json:
        report = {
            "results": str(folder),
            "report": str(page) if page else None,
            "logged": logged,
            "runs": matrix_json(parts),
        }
        print(json.dumps(report, indent=2, ensure_ascii=False))
        return
    print_ending(matrix_table(parts), matrix_remarks(parts), folder, page, logged)
