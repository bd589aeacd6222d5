"""`harness explain`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from harness.commands.complete import complete_backends
from harness.commands.options import (
    AsJson,
    DatasetName,
    Fit,
    Model,
    Plugins,
    Quiet,
    Threads,
    Timeout,
)

EPILOG = (
    "Examples:\n\n"
    "python -m harness explain --model mnist-1conv\n\n"
    "python -m harness explain -m mnist-1conv --layer conv1 --elements 4\n\n"
    "python -m harness explain -m mnist-2conv -b torch -d mnist\n\n"
    "python -m harness explain -m resnet-20 --fit --layer stage2.0 --json\n\n"
    "Exit codes: 0 shown; 2 wrong usage; 4 a backend failed."
)
MOST_ELEMENTS = 20


def explain(
    model: Model = "mnist-1conv",
    layer: Annotated[
        str | None, typer.Option("--layer", "-l", help="The path of a layer or block; else all.")
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            "-b",
            help="One that differentiates automatically; else the first there is.",
            autocompletion=complete_backends,
        ),
    ] = None,
    plugin: Plugins = None,
    dataset: DatasetName = "digits",
    fit: Fit = False,
    elements: Annotated[int, typer.Option(help="Elements to show of each array.")] = 2,
    seed: Annotated[int, typer.Option(help="Of the weights, and of the images taken.")] = 0,
    threads: Threads = None,
    timeout: Timeout = 900.0,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show how a network learns: its loss, and the gradients layer by layer, three times over.

    By hand (the NumPy reference), numerically (central differences), and automatically (a
    framework), on one batch of real images, with the formulas.
    """
    from rich.console import Console

    from harness import data, registry
    from harness.check.explain import choose_nodes, real_material
    from harness.check.explain import explain as carry_out
    from harness.errors import UsageError
    from harness.run.plan import REFERENCE, check_range, make_plan
    from harness.run.request import load_model
    from harness.show.explained import explained_json, explained_lines
    from harness.show.progress import PlainProgress

    check_range("--elements", elements, 1, MOST_ELEMENTS)
    check_range("--seed", seed, 0, 2**32 - 1)
    chosen_spec, loaded = load_model(model, dataset, fit)
    loaded = loaded or data.load(dataset)
    nodes = choose_nodes(chosen_spec, layer, model)
    material = real_material(chosen_spec, loaded, seed)
    chosen, _, known = registry.choose(backend, plugin or [])
    if len(chosen) > 1 and (backend or plugin) and backend != "all":
        names = ", ".join(info.label for info in chosen)
        one = chosen[0].label
        raise UsageError(f"--backend {backend!r} is {names}; allowed: one. Try: -b {one}")
    if chosen[0].backend == REFERENCE:
        raise UsageError(
            f"--backend {backend!r}: it differentiates by hand, and is shown in any case; allowed: "
            "a framework. Try: without --backend"
        )
    plan = make_plan(
        chosen_spec,
        dataset,
        chosen[:1],
        known,
        device="cpu",
        precision="float64",
        threads=threads,
        timeout=timeout,
        timed=False,
    )
    listener = PlainProgress(Console(stderr=True, quiet=quiet))
    found = carry_out(plan, material, nodes, elements, listener)
    if as_json:
        print(json.dumps(explained_json(found), indent=2, ensure_ascii=False))
    else:
        print("\n".join(explained_lines(found)))
