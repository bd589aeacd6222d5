"""`harness check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.complete import complete_datasets
from harness.commands.options import (
    AsJson,
    BackendNames,
    Devices,
    Fit,
    Model,
    Plugins,
    Precision,
    Quiet,
    Threads,
    Timeout,
)

EPILOG = (
    "Examples:\n\n"
    "python -m harness check --backend all --model mnist-1conv\n\n"
    "python -m harness check -b torch,flax -m my-net.toml --precision float32 --steps 20\n\n"
    "python -m harness check --plugin mypackage:MyBackend --model mnist-1conv\n\n"
    "python -m harness check --model mnist-1conv --seeds 5 --dataset digits --epochs 5\n\n"
    "Exit codes: 0 all are the same network; 1 one differs; 2 wrong usage; 3 no verdict on "
    "accuracy; 4 one failed."
)


def check(
    backend: BackendNames = None,
    plugin: Plugins = None,
    model: Model = "mnist-2conv",
    precision: Precision = "float64",
    device: Devices = "cpu",
    steps: Annotated[int, typer.Option(help="Training steps of the trajectory.")] = 50,
    seeds: Annotated[
        int, typer.Option(help="Then train in float32 from so many seeds; compare accuracies.")
    ] = 0,
    dataset: Annotated[
        str,
        typer.Option(
            "--dataset",
            "-d",
            help="What to train on, as in run.",
            autocompletion=complete_datasets,
        ),
    ] = "digits",
    fit: Fit = False,
    epochs: Annotated[
        int | None, typer.Option(help="Of each training; the model's own, if not given.")
    ] = None,
    margin: Annotated[float, typer.Option(help="Points of accuracy that do not matter.")] = 1.0,
    threads: Threads = None,
    timeout: Timeout = 900.0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for what was found; results/checks/TIME-ID, if not given."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Prove that backends compute the same network, or name the first layer that differs."""
    from rich.console import Console

    from harness import data, registry
    from harness.check.check import check as carry_out
    from harness.check.check import prepare_material
    from harness.check.report import CheckFolder
    from harness.check.seeds import plan_seeds, train_seeds
    from harness.run.plan import check_word, make_plan
    from harness.run.request import load_model
    from harness.show.checks import check_table, remarks
    from harness.show.progress import PlainProgress, make_listener

    # TF32 is left to the GPU: there is nothing that a reference could do alike.
    check_word("--precision", precision, ("float64", "float32", "bfloat16"))
    chosen_spec, loaded = load_model(model, dataset, fit)
    if seeds:
        loaded = loaded or data.load(dataset)
    chosen, skipped, known = registry.choose(backend, plugin or [])
    plan = make_plan(
        chosen_spec,
        "check",
        chosen,
        known,
        device=device,
        precision=precision,
        threads=threads,
        timeout=timeout,
        timed=False,
    )
    trainings = plan_seeds(plan, loaded, seeds, epochs, margin) if seeds and loaded else None
    material = prepare_material(plan, steps)
    folder = CheckFolder(out)
    messages, output = Console(stderr=True, quiet=quiet), Console()
    for info, reason in skipped:
        messages.print(f"skipped {info.label}: {reason}", markup=False, highlight=False)
    checked = carry_out(plan, material, folder, PlainProgress(messages))
    if trainings:
        listener = make_listener(messages, quiet)
        checked = train_seeds(trainings, checked, folder.path / "accuracy", listener)
    report = folder.write(checked)
    if as_json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        output.print(check_table(report))
        for remark in remarks(report):
            output.print(remark, markup=False, highlight=False)
        output.print(f"\nWritten: {folder.path}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(checked.exit_code)
