"""`harness run --matrix`: all runs that a project's file asks for."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from harness.commands.ending import Shown, exit_code, write_logs, write_page
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.run.matrix import MatrixFolder, Outcome


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
    from harness.run.matrix import MatrixFolder
    from harness.run.matrix import run_matrix as carry_out
    from harness.show.matrix import read_parts
    from harness.show.progress import make_listener

    folder = _begin(options, given, config) if resume is None else MatrixFolder(resume)
    messages = Console(stderr=True, quiet=show.quiet)
    renewed = given if resume else {}
    try:
        first = {**folder.asked[0].options, **renewed}
        loggers = parse_loggers(first.get("log_to"))
        logged: list[str] = []

        def ended(outcome: Outcome) -> None:
            if outcome.status == "done":
                logged.extend(write_logs(outcome.folder, loggers))
            else:
                reason = f"{outcome.status}: {outcome.reason}"
                messages.print(reason, markup=False, highlight=False, soft_wrap=True)

        outcomes = carry_out(
            folder,
            renewed,
            lambda: make_listener(messages, show.quiet),
            lambda number, count, asked: messages.print(
                f"{number} of {count}: {asked.title}",
                style="bold",
                markup=False,
                highlight=False,
                soft_wrap=True,
            ),
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


def _begin(
    options: Mapping[str, Any], given: Mapping[str, Any], config: Path | None
) -> MatrixFolder:
    """Read the file, see that it can be run, and begin a folder."""
    from harness import registry
    from harness.config.combine import combine
    from harness.config.read import read_matrix
    from harness.loggers.parse import parse_loggers
    from harness.run.matrix import MatrixFolder

    matrix, source = read_matrix(config)
    own = {name: value for name, value in given.items() if name != "out"}
    asked = combine(matrix, {**options, "out": None}, own)
    first = asked[0].options
    registry.choose(first["backend"], first["plugin"] or [])  # they are the same in all runs
    parse_loggers(first["log_to"])
    out = Path(options["out"]) if options["out"] else MatrixFolder.new_path()
    return MatrixFolder(out, asked, {"config": str(source)})


def _show(
    folder: Path, parts: list[Any], page: Path | None, logged: list[str], show: Shown
) -> None:
    from rich.console import Console

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
    output = Console()
    output.print(matrix_table(parts))
    for remark in matrix_remarks(parts):
        output.print(remark, markup=False, highlight=False)
    output.print(f"\nResults: {folder}", markup=False, highlight=False, soft_wrap=True)
    if page:
        print(f"Report:  {page}")
    for place in logged:
        print(f"Logged:  {place}")
