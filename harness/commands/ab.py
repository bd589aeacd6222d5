"""`harness ab`: two sides, measured against each other as live pairs of processes."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.complete import complete_backends
from harness.commands.options import (
    PAIR_ROUNDS,
    AsJson,
    ConfigFile,
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
from harness.commands.reporting import (
    GithubAnnotations,
    GithubSummary,
    InconclusiveOk,
    Junit,
    Markdown,
    Outputs,
    read_gate,
)

EPILOG = (
    "Examples:\n\n"
    "python -m harness ab torch torch@compile\n\n"
    "python -m harness ab torch torch --checkout-a HEAD~1 --cores 1\n\n"
    "python -m harness ab torch torch --python-a old/.venv/bin/python --measure train,predict\n\n"
    "python -m harness ab flax flax --env-b XLA_FLAGS=--xla_cpu_multi_thread_eigen=false\n\n"
    "python -m harness ab torch torch --option-b precision=bfloat16\n\n"
    "Exit codes: 0 ok; 1 B is slower; 2 wrong usage; 3 no verdict, or another network; 4 a side "
    "failed; 5 results cannot be written; 130 Ctrl-C."
)

THRESHOLD = "2.5%"


def ab(
    a: Annotated[
        str,
        typer.Argument(
            help="A backend, or name@variant: the old side.", autocompletion=complete_backends
        ),
    ],
    b: Annotated[
        str,
        typer.Argument(
            help="The new side, which the verdict is on.", autocompletion=complete_backends
        ),
    ],
    plugin: Plugins = None,
    model: Model = "mnist-2conv",
    dataset: DatasetName = "digits",
    fit: Fit = False,
    device: OneDevice = "cpu",
    measure: Annotated[
        str, typer.Option(help="train, predict, compile; several by commas.")
    ] = "train",
    cores: Annotated[
        str, typer.Option(help="all: as users run it; 1: the sharpest, both on the same core.")
    ] = "all",
    pairs: Annotated[
        int | None, typer.Option(help="Measure so many; else until the verdict is certain.")
    ] = None,
    most_pairs: Annotated[
        int | None,
        typer.Option(help="End without a verdict after these; else as calibrate found, or 28."),
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Begin no pair after these.")] = None,
    rounds: Rounds = PAIR_ROUNDS,
    threshold: Annotated[
        str | None,
        typer.Option(
            help="A median slowdown above it is a regression; the configuration's, or 2.5%."
        ),
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(
            help="OK is what is surely below; the configuration's, or twice the threshold."
        ),
    ] = None,
    python_a: Annotated[str, typer.Option(help="Interpreter of A's worker.")] = "",
    python_b: Annotated[str, typer.Option(help="Interpreter of B's worker.")] = "",
    checkout_a: Annotated[str, typer.Option(help="Git revision for A's worker.")] = "",
    checkout_b: Annotated[str, typer.Option(help="Git revision for B's worker.")] = "",
    env_a: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE for A's worker; may be repeated.")
    ] = None,
    env_b: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE for B's worker; may be repeated.")
    ] = None,
    option_a: Annotated[
        list[str] | None,
        typer.Option(help="precision=..., environment=... or stream=... of A alone; repeatable."),
    ] = None,
    option_b: Annotated[
        list[str] | None,
        typer.Option(help="precision=..., environment=... or stream=... of B alone; repeatable."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Instead of the model's own.")] = None,
    precision: Precision = "float32",
    environment: Environment = "tuned",
    block_steps: Annotated[
        int | None, typer.Option(help="Steps in a measured block; chosen, if not given.")
    ] = None,
    timeout: Timeout = 900.0,
    with_control: Annotated[
        bool, typer.Option("--control", help="Then measure A against itself, in as many pairs.")
    ] = False,
    allow_changed: Annotated[
        bool, typer.Option("--allow-changed", help="Compare though a side is another network.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; results/ab/TIME-ID, if not given.")
    ] = None,
    inconclusive_ok: InconclusiveOk = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
    markdown: Markdown = None,
    junit: Junit = None,
    github_annotations: GithubAnnotations = False,
    github_summary: GithubSummary = False,
    quiet: Quiet = False,
) -> None:
    """Say whether B is slower than A, from pairs of fresh processes that take turns."""
    from rich.console import Console

    from harness import data, registry, spec
    from harness.errors import Interrupted
    from harness.machine import describe_machine
    from harness.run.pairs import pair_bench
    from harness.run.pairs_folder import PairsFolder
    from harness.run.plan import check_fit, check_precision, make_pair_plan
    from harness.run.request import load_model
    from harness.run.sides import Wanted, contestant, provenance
    from harness.show.pairs import PairProgress
    from harness.verdict.ab import ab as carry_out
    from harness.verdict.ab import parse_rule, plan_rule, second_opinions
    from harness.verdict.calibration import known_deviation
    from harness.verdict.control import control

    outputs = Outputs(as_json, markdown, junit, github_annotations, github_summary)
    gate = read_gate(config)
    if threshold is None:
        threshold, tolerance = gate.threshold or THRESHOLD, tolerance or gate.tolerance
    if inconclusive_ok is None:
        inconclusive_ok = gate.inconclusive_ok
    rule = parse_rule(measure, threshold, tolerance, pairs, most_pairs, seconds)
    wanted = (
        Wanted("A", a, python_a, checkout_a, env_a or (), option_a or ()),
        Wanted("B", b, python_b, checkout_b, env_b or (), option_b or ()),
    )
    chosen_spec, loaded = load_model(model, dataset, fit)
    known = registry.choose(a, plugin or []).known if plugin else registry.describe()
    messages = Console(stderr=True, quiet=quiet)
    with ExitStack() as stack:
        sides = (
            stack.enter_context(contestant(wanted[0], known)),
            stack.enter_context(contestant(wanted[1], known)),
        )
        plan = make_pair_plan(
            chosen_spec,
            dataset,
            [side.info for side in sides],
            known,
            cores=cores,
            rounds=rounds,
            device=device,
            batch_size=batch_size,
            precision=precision,
            environment=environment,
            timeout=timeout,
            block_steps=block_steps,
        )
        for side in sides:
            check_precision(side.plan(plan).precision, device, [side.info])
        key = describe_machine()["machine_key"]
        calibrated = [(side.info.label, side.plan(plan)) for side in sides]
        deviation = known_deviation(key, calibrated, list(rule.limits))
        rule = plan_rule(rule, deviation, is_free=pairs is None and most_pairs is None)
        loaded = loaded or data.load(dataset)
        check_fit(plan.spec, spec.infer(plan.spec).output_shape[0], loaded)
        folder = PairsFolder(out)
        stack.callback(folder.close)
        cell = f"{wanted[0].description} → {wanted[1].description}"
        count = f"{plan.threads} core{'s' * (plan.threads > 1)}"
        title = f"{cell}: {plan.spec.name}, {dataset}, {device}, {count}"
        progress = PairProgress(messages)
        progress.declared(title, rule, folder.path)
        command = shlex.join(["python", "-m", "harness", *sys.argv[1:]])
        measures = list(rule.limits)
        benches = [
            stack.enter_context(
                pair_bench(
                    *(plan, loaded, folder, progress, contestants, measures),
                    rounds,
                    allow_changed,
                    {"command": command},
                )
            )
            for contestants in [sides, (sides[0], replace(sides[0], name="B"))][: 1 + with_control]
        ]
        try:
            report = carry_out(
                benches[0],
                rule,
                cell,
                lambda pair: folder.add_pair(pair, measures),
                progress.paired,
                allow_changed,
                inconclusive_ok,
                title=title,
            )
            if with_control and "pairs" in report.facts:
                judged, remarks = control(
                    benches[1],
                    report.facts["pairs"],
                    rule,
                    lambda pair: folder.add_pair(pair, measures, "control"),
                )
                facts = {"control": {name: found.as_json() for name, found in judged.items()}}
                report = replace(report, facts={**report.facts, **facts}, remarks=remarks)
        except KeyboardInterrupt:
            kept = f"interrupted; the pairs measured before are in {folder.path}"
            raise Interrupted(kept) from None
        opinions = second_opinions(report.facts.get("log_ratios", {}))
        whole = {**report.as_json(), **provenance(benches[0], wanted), "second_opinions": opinions}
        folder.write_json("verdict.json", whole)
    outputs.deliver(report)
