"""`harness predict`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.complete import complete_models
from harness.commands.options import (
    AsJson,
    BackendNames,
    DatasetName,
    Devices,
    Plugins,
    Precision,
    Quiet,
    Threads,
    Timeout,
)

EPILOG = (
    "Examples:\n\n"
    "python -m harness predict --weights DIR/weights/torch-cpu-0.safetensors --backend all\n\n"
    "python -m harness predict -w torch-cpu-0.safetensors -b flax,numpy -d mnist --json\n\n"
    "Exit codes: 0 all well; 2 wrong usage; 4 a backend failed."
)


def predict(
    weights: Annotated[
        Path, typer.Option("--weights", "-w", help="A file that run --save-weights wrote.")
    ],
    backend: BackendNames = None,
    plugin: Plugins = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Instead of the spec inside the file of weights.",
            autocompletion=complete_models,
        ),
    ] = None,
    dataset: DatasetName = "digits",
    device: Devices = "cpu",
    precision: Precision = "float32",
    threads: Threads = None,
    timeout: Timeout = 900.0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the logits of each backend to this .npz file."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Predict a test set from saved weights, in any framework, and compare the logits."""
    from rich.console import Console

    from harness import data, registry, spec
    from harness.output import check_place
    from harness.run.plan import make_plan
    from harness.run.predict import describe_predictions, write_logits
    from harness.run.predict import predict as carry_out
    from harness.run.weights import read_weights
    from harness.show.predictions import predictions_table
    from harness.show.progress import PlainProgress

    if output:
        check_place(output)
    given = read_weights(weights, spec.load_spec(model) if model else None)
    chosen, skipped, known = registry.choose(backend, plugin or [], predicting=precision)
    plan = make_plan(
        given.spec,
        dataset,
        chosen,
        known,
        device=device,
        precision=precision,
        threads=threads,
        timeout=timeout,
        timed=False,
    )
    messages = Console(stderr=True, quiet=quiet)
    for info, reason in skipped:
        messages.print(f"skipped {info.label}: {reason}", markup=False, highlight=False)
    loaded = data.load(dataset)
    found = carry_out(plan, given.arrays, loaded, PlainProgress(messages))
    rows = describe_predictions(found, loaded)
    if output:
        write_logits(output, found, loaded.test_labels)
    if as_json:
        whole = {"model": plan.spec.name, "model_hash": plan.spec.hash, "dataset": dataset}
        print(json.dumps({**whole, "weights": given.facts, "backends": rows}, indent=2))
    else:
        Console().print(predictions_table(rows))
    for row in rows:
        if row["error"]:
            print(f"error: {row['error']}", file=sys.stderr)
    if any(row["status"] != "ok" for row in rows):
        raise typer.Exit(4)
