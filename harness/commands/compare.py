"""`harness compare`: results that lie on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import AsJson, ConfigFile
from harness.commands.reporting import (
    GithubAnnotations,
    GithubSummary,
    InconclusiveOk,
    Junit,
    Markdown,
    Outputs,
    read_gate,
)
from harness.verdict.limits import DEFAULT, parse_limits

EPILOG = (
    "Examples:\n\n"
    "python -m harness compare old/summary.csv new/summary.csv\n\n"
    "python -m harness compare results/before results/after --fail-on train:5%,accuracy:1pt\n\n"
    "python -m harness compare old new --allow-changed versions,code --inconclusive-ok\n\n"
    "python -m harness compare old new --config harness.toml\n\n"
    "Exit codes: 0 ok; 1 a regression; 2 wrong usage, or a file that cannot be read; 3 no verdict, "
    "or not comparable; 4 a benchmark failed."
)


def compare(
    old: Annotated[Path, typer.Argument(help="Results folder, folder of such, or summary.csv.")],
    new: Annotated[list[Path], typer.Argument(help="As many as are to be compared with OLD.")],
    fail_on: Annotated[
        str | None,
        typer.Option(
            help="MEASURE:LIMIT, by commas: train, predict, compile, memory, accuracy. "
            f"If not given: the configuration's, or what was measured of {DEFAULT}"
        ),
    ] = None,
    allow_changed: Annotated[
        str | None,
        typer.Option(
            help="Compare all the same, though these differ: model, dataset, machine, versions, "
            "code, threads, weights, order, network; or all."
        ),
    ] = None,
    inconclusive_ok: InconclusiveOk = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    markdown: Markdown = None,
    junit: Junit = None,
    github_annotations: GithubAnnotations = False,
    github_summary: GithubSummary = False,
) -> None:
    """Compare results cell by cell, and say what became slower, less accurate or larger."""
    from harness.verdict.compare import compare as carry_out
    from harness.verdict.compare import parse_allowed

    outputs = Outputs(as_json, markdown, junit, github_annotations, github_summary)
    gate = read_gate(config)
    limits = gate.fail_on if fail_on is None else fail_on
    thresholds = parse_limits(DEFAULT if limits is None else limits)
    if allow_changed is None:
        allow_changed = ",".join(gate.allow_changed)
    if inconclusive_ok is None:
        inconclusive_ok = gate.inconclusive_ok
    allowed = parse_allowed(allow_changed)
    report = carry_out(old, new, thresholds, allowed, inconclusive_ok, skip_absent=limits is None)
    outputs.deliver(report)
