"""`harness calibrate`: each backend against itself, to know how many pairs a verdict takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import (
    PAIR_ROUNDS,
    AsJson,
    BackendNames,
    DatasetName,
    Environment,
    Fit,
    Model,
    OneDevice,
    Plugins,
    Precision,
    Quiet,
    Rounds,
    Timeout,
)

EPILOG = (
    "Examples:\n\n"
    "python -m harness calibrate --backend all --cores 1\n\n"
    "python -m harness calibrate -b torch,flax -m mnist-1conv --effect 2% --power 0.9\n\n"
    "Exit codes: 0 ok; 2 wrong usage; 4 a backend failed."
)


def calibrate(
    backend: BackendNames = None,
    plugin: Plugins = None,
    model: Model = "mnist-2conv",
    dataset: DatasetName = "digits",
    fit: Fit = False,
    device: OneDevice = "cpu",
    measure: Annotated[
        str, typer.Option(help="train, predict, compile; several by commas.")
    ] = "train",
    cores: Annotated[str, typer.Option(help="all or 1, as in ab.")] = "all",
    pairs: Annotated[int, typer.Option(help="Pairs of each backend.")] = 8,
    rounds: Rounds = PAIR_ROUNDS,
    effect: Annotated[str, typer.Option(help="The change whose pairs are wanted.")] = "5%",
    power: Annotated[float, typer.Option(help="How often it is to be seen.")] = 0.9,
    batch_size: Annotated[int | None, typer.Option(help="Instead of the model's own.")] = None,
    precision: Precision = "float32",
    environment: Environment = "tuned",
    timeout: Timeout = 900.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pairs; results/ab/TIME-ID, if not given.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure how much identical code seems to differ here; ab plans by it."""
    from rich.console import Console

    from harness import data, registry, spec
    from harness.errors import Interrupted
    from harness.machine import describe_machine
    from harness.run.pairs_folder import PairsFolder
    from harness.run.plan import check_fit, check_range, make_pair_plan
    from harness.run.request import load_model
    from harness.show.calibrations import calibration_rows, calibration_table
    from harness.show.pairs import PairProgress
    from harness.verdict.ab import parse_rule
    from harness.verdict.calibration import store
    from harness.verdict.control import calibrate_backends
    from harness.verdict.limits import parse_share

    wanted = parse_share("--effect", effect)
    check_range("--pairs", pairs, 5, 500)
    check_range("--power", power, 0.5, 0.999)
    measures = list(parse_rule(measure, "1%", None, pairs, None, None).limits)
    chosen, skipped, known = registry.choose(backend, plugin or [])
    chosen_spec, loaded = load_model(model, dataset, fit)
    plan = make_pair_plan(
        chosen_spec,
        dataset,
        chosen,
        known,
        cores=cores,
        rounds=rounds,
        device=device,
        batch_size=batch_size,
        precision=precision,
        environment=environment,
        timeout=timeout,
    )
    loaded = loaded or data.load(dataset)
    check_fit(plan.spec, spec.infer(plan.spec).output_shape[0], loaded)
    folder = PairsFolder(out)
    messages = Console(stderr=True, quiet=quiet)
    for info, reason in skipped:
        messages.print(f"skipped {info.label}: {reason}", markup=False, highlight=False)
    progress = PairProgress(messages)
    try:
        found, failed = calibrate_backends(
            plan, loaded, folder, progress, measures, pairs, rounds, progress.raw
        )
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; the pairs measured before are in {folder.path}") from None
    finally:
        folder.close()
    place = store(describe_machine()["machine_key"], found)
    rows = calibration_rows(list(found.values()), wanted, power)
    if as_json:
        print(json.dumps({"file": str(place), "failed": failed, "calibrations": rows}, indent=2))
    else:
        Console().print(calibration_table(rows, effect, power))
        print(f"\nKept in {place}, where ab finds it; pairs in {folder.path}")
    for label, reason in failed.items():
        messages.print(f"error: {label}: {reason}", markup=False, highlight=False)
    if failed:
        raise typer.Exit(4)
