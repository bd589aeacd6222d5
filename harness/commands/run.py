"""`harness run`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.options import (
    BackendNames,
    DatasetName,
    Model,
    Plugins,
    Precision,
    Quiet,
    Threads,
)
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.run.folder import ResultsFolder

EPILOG = (
    "Examples:\n\n"
    "python -m harness run --backend all\n\n"
    "python -m harness run -b torch,torch@compile -m mnist-1conv -d mnist --epochs 3\n\n"
    "python -m harness run -b 'keras*' --seeds 5 --out results/keras\n\n"
    "python -m harness run -d mnist --target-accuracy 0.99 --epochs 20\n\n"
    "python -m harness run -m my-net.toml -d npz:my-images.npz\n\n"
    "python -m harness run -m resnet-20 -d mnist --fit --epochs 3 --seeds 1\n\n"
    "python -m harness run --resume results/20261127-120000-1a2b3c"
)
# Options that are not kept for a resumed run; those that `make_plan` has by the same name; and
# those that may be given anew, as they change no figure.
NOT_KEPT = frozenset({"resume", "quiet"})
PLANNED = (
    "device seeds epochs batch_size precision environment threads block_steps save_weights silence "
    "retries target_accuracy"
).split()
RENEWABLE = frozenset({"timeout", "silence", "memory", "retries"})


def run(
    context: typer.Context,
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
    timeout: Annotated[
        str,
        typer.Option(
            help="Seconds to wait for one answer of a backend; by phase: 900,compile:1800,train:60."
        ),
    ] = "900",
    silence: Annotated[
        float,
        typer.Option(
            help="End a worker that gives no sign of life for so many seconds, after compilation."
        ),
    ] = 60.0,
    memory: Annotated[
        str | None,
        typer.Option(help="End a worker that holds more, as 8GB; no limit, if not given."),
    ] = None,
    retries: Annotated[
        int, typer.Option(help="Try a cell whose worker crashed so many times again.")
    ] = 0,
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
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Go on with the run in this results folder, where it stopped, as it was begun.",
        ),
    ] = None,
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
    from harness.run.folder import ResultsFolder

    options = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in context.params.items()
        if name not in NOT_KEPT
    }
    if resume is None:
        carry_out(options, None, quiet)
        return
    given = {name for name in context.params if _is_given(context, name)}
    if unwanted := sorted(given - RENEWABLE - {"resume", "quiet"}):
        names = ", ".join("--" + name.replace("_", "-") for name in unwanted)
        raise UsageError(
            f"--resume {resume} goes on as the run was begun; it takes no {names}. "
            f"Try: python -m harness run --resume {resume}"
        )
    folder = ResultsFolder(resume, resume=True)
    try:
        begun = folder.journal.head.get("request") if folder.journal else None
        if not begun:
            raise UsageError(f"--resume {resume}: that run was not begun by this command")
        renewed = {name: value for name, value in options.items() if name in given}
        carry_out({**options, **begun, **renewed}, folder, quiet)
    finally:
        folder.close()


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def carry_out(options: Mapping[str, Any], folder: ResultsFolder | None, quiet: bool) -> None:
    """Run what the options say, in a new folder, or in one that was taken up again.

    Raises:
        Exit: 4, a backend failed; 1, one is another network.

    """
    from rich.console import Console

    from harness import data, registry, spec
    from harness.run.folder import ResultsFolder
    from harness.run.limits import parse_memory, parse_timeout
    from harness.run.plan import check_fit, make_plan
    from harness.run.plan import fit as fit_to
    from harness.run.run import run as train
    from harness.run.weights import read_weights
    from harness.show.progress import make_listener
    from harness.show.table import read_lines, remarks, results_table

    timeout, timeouts = parse_timeout(options["timeout"])
    chosen_spec = spec.load_spec(options["model"])
    loaded = data.load(options["dataset"]) if options["fit"] else None
    if loaded:
        chosen_spec = fit_to(chosen_spec, loaded)
    weights = options["initial_weights"]
    given = read_weights(Path(weights), chosen_spec) if weights else None
    chosen, skipped, known = registry.choose(options["backend"], options["plugin"] or [])
    plan = make_plan(
        chosen_spec,
        options["dataset"],
        chosen,
        known,
        initial=given.arrays if given else None,
        timeout=timeout,
        timeouts=timeouts,
        memory=parse_memory(options["memory"]) if options["memory"] else None,
        limit=not options["no_limit"],
        **{name: options[name] for name in PLANNED},
    )
    messages, output = Console(stderr=True), Console()
    for info, reason in skipped:
        messages.print(f"skipped {info.label}: {reason}", markup=False, highlight=False)
    loaded = loaded or data.load(options["dataset"])
    check_fit(plan.spec, spec.infer(plan.spec).output_shape[0], loaded, plan.target_accuracy)
    folder = folder or ResultsFolder(Path(options["out"]) if options["out"] else None)
    command = shlex.join(["python", "-m", "harness", *sys.argv[1:]])
    listener = make_listener(messages, quiet)
    rows = train(plan, loaded, folder, listener, {"command": command}, options)
    lines = read_lines(folder.path)
    output.print(results_table(lines))
    for remark in remarks(lines):
        output.print(remark, markup=False, highlight=False)
    output.print(f"\nResults: {folder.path}", markup=False, highlight=False, soft_wrap=True)
    _write_report(folder.path)
    if any(row["status"] not in ("ok", "skipped") for row in rows):
        raise typer.Exit(4)
    if not all(row["equivalent"] for row in rows if row["status"] == "ok"):
        raise typer.Exit(1)


def _write_report(folder: Path) -> None:
    """Write the page beside the results; whatever goes wrong there costs nobody a measurement."""
    from harness.show.page.build import write_report

    page = folder / "report.html"
    try:
        write_report([folder], page)
    except Exception as error:
        print(f"no {page}: {type(error).__name__}: {error}", file=sys.stderr)
    else:
        print(f"Report:  {page}")
