"""`harness doctor`: is all well here, and if not, what mends it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from harness.commands.complete import complete_backends
from harness.commands.options import AsJson, Quiet

EPILOG = (
    "Examples:\n\n"
    "python -m harness doctor\n\n"
    "python -m harness doctor --backend '*' --json\n\n"
    "Exit codes: 0 all well; 1 something is wrong; 2 wrong usage."
)


def doctor(
    backend: Annotated[
        str,
        typer.Option(
            "--backend",
            "-b",
            help="Whose frameworks to import: names, name@variant, globs, by commas; or all.",
            autocompletion=complete_backends,
        ),
    ] = "all",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """See whether all is well here: packages, devices, cores, disk, data, who else is at work.

    Each framework is imported in a process of its own. What is wrong comes with the line that
    mends it.
    """
    from rich.console import Console

    from harness.doctor.diagnose import diagnose
    from harness.doctor.finding import all_well
    from harness.show.doctor import doctor_lines

    messages = Console(stderr=True, quiet=quiet)
    found = diagnose(backend, lambda line: messages.print(line, markup=False, highlight=False))
    if as_json:
        report = {"ok": all_well(found), "findings": [finding.as_json() for finding in found]}
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        output = Console()
        for line in doctor_lines(found):
            output.print(line, soft_wrap=True)
    if not all_well(found):
        raise typer.Exit(1)
