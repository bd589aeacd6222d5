"""`harness infer`."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.complete import complete_datasets, complete_models
from harness.commands.ending import print_ending
from harness.commands.options import (
    AsJson,
    BackendNames,
    Devices,
    Environment,
    Plugins,
    Precision,
    Quiet,
    Threads,
    Timeout,
)

EPILOG = (
    "Examples:\n\n"
    "python -m harness infer --model mnist-2conv\n\n"
    "python -m harness infer -b all,torch@compile -m resnet-20 --batch-sizes 1,128\n\n"
    "python -m harness infer -w DIR/weights/torch-cpu-0.safetensors -b torch,onnxruntime --json\n\n"
    "Exit codes: 0 all well; 1 one is not the same network; 2 wrong usage; 4 a backend failed; "
    "5 results cannot be written; 130 Ctrl-C."
)


def infer(
    backend: BackendNames = None,
    plugin: Plugins = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A model of the library, a .toml file, or a run's spec.json; "
            "mnist-2conv, if not given.",
            autocompletion=complete_models,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", "-w", help="A file that run --save-weights wrote; else drawn."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            "-d",
            help="Its test images; drawn in the model's size, if none.",
            autocompletion=complete_datasets,
        ),
    ] = None,
    batch_sizes: Annotated[
        str, typer.Option(help="Images in a call, by commas.")
    ] = "1,8,32,128,1024",
    rounds: Annotated[int, typer.Option(help="In which all backends take a turn.")] = 10,
    device: Devices = "all",
    precision: Precision = "float32",
    environment: Environment = "tuned",
    threads: Threads = None,
    timeout: Timeout = 900.0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results; results/inference/TIME-ID, if not given."),
    ] = None,
    no_limit: Annotated[
        bool,
        typer.Option("--no-limit", help="Leave out how near each comes to the machine's limit."),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Time predictions: latency of one image, and throughput by batch size."""
    from rich.console import Console

    from harness import data, registry, spec
    from harness.run.inference import InferenceFolder, check_request, measure, parse_sizes
    from harness.run.plan import make_plan
    from harness.run.weights import read_weights
    from harness.show.inference import inference_table, remarks
    from harness.show.progress import PlainProgress

    sizes = parse_sizes(batch_sizes)
    named = spec.load_spec(model) if model else None
    given = read_weights(weights, named) if weights else None
    chosen_spec = given.spec if given else named or spec.load_spec("mnist-2conv")
    arrays = given.arrays if given else spec.initial_parameters(chosen_spec, 0)
    choice = registry.choose(backend, plugin or [], predicting=precision)
    plan = make_plan(
        chosen_spec,
        dataset or "drawn",
        choice.chosen,
        choice.known,
        device=device,
        precision=precision,
        environment=environment,
        threads=threads,
        timeout=timeout,
        limit=not no_limit,
    )
    messages = Console(stderr=True, quiet=quiet)
    for info, reason in choice.skipped:
        messages.print(f"skipped {info.label}: {reason}", markup=False, highlight=False)
    loaded = data.load(dataset) if dataset else None
    check_request(plan.spec, loaded, rounds)
    folder = InferenceFolder(out)
    command = {"command": shlex.join(["python", "-m", "harness", *sys.argv[1:]])}
    listener = PlainProgress(messages)
    rows = measure(plan, arrays, loaded, sizes, rounds, folder, listener, command)
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        print_ending(inference_table(rows), remarks(rows), folder.path)
    if any(row["status"] != "ok" for row in rows):
        raise typer.Exit(4)
    if not all(row["equivalent"] for row in rows):
        raise typer.Exit(1)
