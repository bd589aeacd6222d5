"""`harness run`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import (
    BackendNames,
    DatasetName,
    Model,
    Plugins,
    Precision,
    Quiet,
    Threads,
    Timeout,
)

EPILOG = (
    "Examples:\n\n"
    "python -m harness run --backend all\n\n"
    "python -m harness run -b torch,torch@compile -m mnist-1conv -d mnist --epochs 3\n\n"
    "python -m harness run -b 'keras*' --seeds 5 --out results/keras\n\n"
    "python -m harness run -d mnist --target-accuracy 0.99 --epochs 20\n\n"
    "python -m harness run -m my-net.toml -d npz:my-images.npz\n\n"
    "python -m harness run -m resnet-20 -d mnist --fit --epochs 3 --seeds 1"
)


def run(
    backend: BackendNames = None,
    plugin: Plugins = None,
    model: Model = "mnist-2conv",
    dataset: DatasetName = "digits",
    device: Annotated[
        str, typer.Option(help="cpu, gpu, or all that each backend reports.")
    ] = "all",
    seeds: Annotated[int, typer.Option(help="How many seeds: 0, 1, 2, …")] = 3,
    fit: Annotated[
        bool,
        typer.Option("--fit", help="Give the model the data set's image size and classes."),
    ] = False,
    epochs: Annotated[int | None, typer.Option(help="Instead of the model's own.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Instead of the model's own.")] = None,
    precision: Precision = "float32",
    environment: Annotated[
        str,
        typer.Option(help="tuned: as each framework's experts set it; stock: as it comes."),
    ] = "tuned",
    threads: Threads = None,
    target_accuracy: Annotated[
        float | None,
        typer.Option(help="A share, such as 0.99: stop each backend at the epoch that reaches it."),
    ] = None,
    block_steps: Annotated[
        int | None, typer.Option(help="Steps in a measured block; chosen, if not given.")
    ] = None,
    timeout: Timeout = 900.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; results/TIME-ID, if not given.")
    ] = None,
    initial_weights: Annotated[
        Path | None,
        typer.Option(help="Start every backend and seed from the weights in this file."),
    ] = None,
    save_weights: Annotated[
        bool,
        typer.Option("--save-weights", help="Keep what was trained, in weights/ of the results."),
    ] = False,
    no_limit: Annotated[
        bool,
        typer.Option(
            "--no-limit",
            help="Leave out how near each comes to what the machine can do, which is measured "
            "before the first run, for all later ones.",
        ),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train a model in several frameworks, check that they agree, and time them."""
    from rich.console import Console

    from harness import data, registry, spec
    from harness.run.folder import ResultsFolder
    from harness.run.plan import check_fit, make_plan
    from harness.run.plan import fit as fit_to
    from harness.run.run import run as carry_out
    from harness.run.weights import read_weights
    from harness.show.progress import make_listener
    from harness.show.table import read_lines, remarks, results_table

    chosen_spec = spec.load_spec(model)
    loaded = data.load(dataset) if fit else None
    if loaded:
        chosen_spec = fit_to(chosen_spec, loaded)
    given = read_weights(initial_weights, chosen_spec) if initial_weights else None
    chosen, skipped, known = registry.choose(backend, plugin or [])
    plan = make_plan(
        chosen_spec,
        dataset,
        chosen,
        known,
        device=device,
        seeds=seeds,
        epochs=epochs,
        batch_size=batch_size,
        precision=precision,
        environment=environment,
        threads=threads,
        timeout=timeout,
        block_steps=block_steps,
        initial=given.arrays if given else None,
        save_weights=save_weights,
        target_accuracy=target_accuracy,
        limit=not no_limit,
    )
    messages, output = Console(stderr=True), Console()
    for info, reason in skipped:
        messages.print(f"skipped {info.label}: {reason}", markup=False, highlight=False)
    loaded = loaded or data.load(dataset)
    check_fit(plan.spec, spec.infer(plan.spec).output_shape[0], loaded, target_accuracy)
    folder = ResultsFolder(out)
    command = shlex.join(["python", "-m", "harness", *sys.argv[1:]])
    rows = carry_out(plan, loaded, folder, make_listener(messages, quiet), {"command": command})
    lines = read_lines(folder.path)
    output.print(results_table(lines))
    for remark in remarks(lines):
        output.print(remark, markup=False, highlight=False)
    output.print(f"\nResults: {folder.path}", markup=False, highlight=False, soft_wrap=True)
    if any(row["status"] != "ok" for row in rows):
        raise typer.Exit(4)
    if not all(row["equivalent"] for row in rows):
        raise typer.Exit(1)
