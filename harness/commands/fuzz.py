"""`harness fuzz`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.complete import complete_backends
from harness.commands.options import AsJson, Timeout

EPILOG = (
    "Examples:\n\n"
    "python -m harness fuzz --specs 500 --seconds 600\n\n"
    "python -m harness fuzz -b torch,flax --specs 50 --seed 7 --out found\n\n"
    "Exit codes: 0 all agree on every spec; 1 one differed or failed; 2 wrong usage; "
    "4 the reference failed."
)


def fuzz(
    specs: Annotated[int, typer.Option(help="How many specs to draw, at most.")] = 500,
    seconds: Annotated[float, typer.Option(help="No spec is begun after so many.")] = 600.0,
    seed: Annotated[int, typer.Option(help="The same seed draws the same specs.")] = 0,
    backend: Annotated[
        str,
        typer.Option(
            "--backend",
            "-b",
            help="Names, name@variant, globs, by commas; or all.",
            autocompletion=complete_backends,
        ),
    ] = "all",
    timeout: Timeout = 300.0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for what is found; results/fuzz/TIME-ID, if not given."),
    ] = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")] = False,
) -> None:
    """Draw specs at random, and see that all backends compute the same network in float64."""
    from rich.console import Console

    from harness import registry
    from harness.exchange.needed import needed

    needed("hypothesis")
    from harness.fuzz.fuzz import check_limits, make_fuzz_plan
    from harness.fuzz.fuzz import fuzz as carry_out
    from harness.fuzz.report import FuzzFolder
    from harness.show.fuzzing import FuzzProgress, result_lines

    check_limits(specs, seconds, seed)
    known = registry.describe()
    chosen, skipped = registry.select(backend, known)
    plan, rounded = make_fuzz_plan(chosen, known, timeout)
    folder = FuzzFolder(out)
    messages, output = Console(stderr=True, quiet=quiet), Console()
    for info, reason in skipped:
        messages.print(f"skipped {info.label}: {reason}", markup=False, highlight=False)
    watcher = FuzzProgress(messages)
    fuzzed = carry_out(plan, rounded, folder, watcher, specs=specs, seconds=seconds, seed=seed)
    report = folder.write(fuzzed)
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        for line in result_lines(report, fuzzed.findings):
            output.print(line, markup=False, highlight=False, soft_wrap=True)
        output.print(f"\nWritten: {folder.path}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(fuzzed.exit_code)
