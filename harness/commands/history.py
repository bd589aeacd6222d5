"""`harness history`: results of many days, appended to one table, and their trends."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import AsJson
from harness.commands.unknown import Commands

CODES = "Exit codes: 0 all well; 2 wrong usage, or there is nothing to show."
app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    help="Keep results of run and ab in one table, and show their trends.",
    epilog="Examples:\n\n"
    "python -m harness history add results/nightly\n\n"
    "python -m harness history show --measure train_images_per_second\n\n" + CODES,
)
Place = Annotated[
    Path, typer.Option("--history", help="Folder of the history: one CSV for each machine key.")
]
STANDARD = Path("results/history")


@app.command(
    epilog="Examples:\n\n"
    "python -m harness history add results/nightly\n\n"
    "python -m harness history add results/ab/* --history benchmarks-history\n\n" + CODES
)
def add(
    results: Annotated[
        list[Path], typer.Argument(help="Folders that run or ab wrote, or folders of such.")
    ],
    history: Place = STANDARD,
) -> None:
    """Append results to the history; what is in it already is not added again."""
    from harness.verdict.history import add as carry_out

    added, known = carry_out(results, history)
    already = f"; {known} were there already" if known else ""
    print(f"{added} row{'s' * (added != 1)} added to {history}{already}")


@app.command(
    epilog="Examples:\n\n"
    "python -m harness history show\n\n"
    "python -m harness history show --measure compile_seconds --cell torch\n\n"
    "Changes are hints where to look, no verdict: for one, python -m harness ab.\n\n" + CODES
)
def show(
    history: Place = STANDARD,
    measure: Annotated[
        str, typer.Option(help="A column of the summary, such as train_images_per_second.")
    ] = "step_ms_p50",
    cell: Annotated[str, typer.Option(help="Only cells whose name holds this.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show the trend of every cell on every kind of machine, and where it changed."""
    from rich.console import Console

    from harness.errors import NotInstalledError, UsageError, did_you_mean
    from harness.show.history import as_objects, change_lines, history_table
    from harness.verdict.history import MEASURES, changes, read, trends

    if measure not in MEASURES:
        raise UsageError(
            f"--measure {measure!r}; allowed: {', '.join(MEASURES)}."
            f"{did_you_mean(measure, MEASURES)} Try: --measure step_ms_p50"
        )
    chosen = [trend for trend in trends(read(history), measure) if cell in trend.label]
    if not chosen:
        raise UsageError(
            f"{history} has no {measure}{f' of a cell with {cell!r}' if cell else ''}. "
            "Try: python -m harness history add RESULTS"
        )
    missing = ""
    try:
        found = [(trend, changes(trend.values)) for trend in chosen]
    except NotInstalledError as error:
        found, missing = [(trend, []) for trend in chosen], str(error)
    if as_json:
        print(json.dumps(as_objects(found), indent=2, ensure_ascii=False))
    else:
        Console().print(history_table(found))
        lines = [line for trend, of_trend in found for line in change_lines(trend, of_trend)]
        print("\n".join(["", *lines]) if lines else "", end="\n" if lines else "")
    if missing:
        print(missing, file=sys.stderr)
