"""`harness run`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.ending import Shown, exit_code, print_ending, write_logs, write_page
from harness.commands.matrix import run_matrix, show_plan
from harness.commands.options import (
    AsJson,
    BackendNames,
    ConfigFile,
    DatasetName,
    Devices,
    Environment,
    Fit,
    LogTo,
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
    "python -m harness run --resume results/20261127-120000-1a2b3c\n\n"
    "python -m harness run --matrix --config harness.toml --dry-run\n\n"
    "python -m harness run --log-to tensorboard:runs\n\n"
    "Exit codes: 0 all well; 1 a backend is another network; 2 wrong usage; 4 a backend failed; "
    "5 results cannot be written; 130 Ctrl-C."
)
# Options that are not kept for a resumed run; and those that may be given anew, as they change no
# figure.
NOT_KEPT = frozenset({"resume", "quiet", "as_json", "matrix", "config", "dry_run"})
RENEWABLE = frozenset({"timeout", "silence", "memory", "retries", "log_to"})


def run(
    context: typer.Context,
    backend: BackendNames = None,
    plugin: Plugins = None,
    model: Model = "mnist-2conv",
    dataset: DatasetName = "digits",
    device: Devices = "all",
    seeds: Annotated[int, typer.Option(help="How many seeds: 0, 1, 2, …")] = 3,
    fit: Fit = False,
    epochs: Annotated[int | None, typer.Option(help="Instead of the model's own.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Instead of the model's own.")] = None,
    precision: Precision = "float32",
    environment: Environment = "tuned",
    threads: Threads = None,
    target_accuracy: Annotated[
        float | None,
        typer.Option(help="A share, such as 0.99: stop each backend at the epoch that reaches it."),
    ] = None,
    block_steps: Annotated[
        int | None, typer.Option(help="Steps in a measured block; chosen, if not given.")
    ] = None,
    stream: Annotated[
        str,
        typer.Option(
            help="Give frameworks the training set in windows: always, never, or, auto, if there "
            "is no room for each one's copy.",
        ),
    ] = "auto",
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
    matrix: Annotated[
        bool,
        typer.Option("--matrix", help="Run all that the configuration's matrix asks for."),
    ] = False,
    config: ConfigFile = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be run, and run nothing.")
    ] = False,
    log_to: LogTo = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train a model in several frameworks, check that they agree, and time them."""
    options = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in context.params.items()
        if name not in NOT_KEPT
    }
    named = {name for name in context.params if _is_given(context, name)}
    if resume is not None:
        _refuse_more(resume, named, matrix)
    show = Shown(as_json, quiet)
    if matrix:
        given = {name: value for name, value in options.items() if name in named}
        if dry_run:
            show_plan(options, given, config, show)
            return
        run_matrix(options, given, config, resume, show)
        return
    if config is not None:
        raise UsageError("--config is of --matrix. Try: --matrix --config FILE")
    if dry_run:
        _show_plan(options, show)
        return
    if resume is None:
        carry_out(options, None, show)
        return
    _go_on(resume, options, {name: options[name] for name in named & RENEWABLE}, show)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def _refuse_more(resume: Path, named: set[str], matrix: bool) -> None:
    """See that nothing is given beside `--resume` that would make another run of it.

    Raises:
        UsageError: something is, or it is a matrix and `--matrix` is not given.

    """
    from harness.run.matrix_folder import MATRIX

    again = f"python -m harness run {'--matrix ' * matrix}--resume {resume}"
    if unwanted := sorted(named - RENEWABLE - {"resume", "quiet", "as_json", "matrix"}):
        names = ", ".join("--" + name.replace("_", "-") for name in unwanted)
        raise UsageError(
            f"--resume {resume} goes on as the run was begun; it takes no {names}. Try: {again}"
        )
    if not matrix and (resume / MATRIX).is_file():
        raise UsageError(
            f"--resume {resume}: there are many runs. "
            f"Try: python -m harness run --matrix --resume {resume}"
        )


def _show_plan(options: Mapping[str, Any], show: Shown) -> None:
    """Say what would be run."""
    from harness.run.request import make_request
    from harness.show.progress import what_is_trained

    request = make_request(options)
    labels = [info.label for info in request.plan.backends]
    skipped = {info.label: reason for info, reason in request.skipped}
    if show.as_json:
        kept = {name: value for name, value in options.items() if name != "out"}
        report = {"backends": labels, "skipped": skipped, "options": kept}
        print(json.dumps(report, indent=2, ensure_ascii=False))
        return
    for label, reason in skipped.items():
        print(f"skipped {label}: {reason}", file=sys.stderr)
    print(f"{what_is_trained(request.plan)}\nby {', '.join(labels)}; nothing was run.")


def _go_on(
    resume: Path, options: Mapping[str, Any], renewed: Mapping[str, Any], show: Shown
) -> None:
    """Go on with the run in a folder, where it stopped."""
    from harness.run.folder import ResultsFolder

    folder = ResultsFolder(resume, resume=True)
    try:
        begun = folder.journal.head.get("request") if folder.journal else None
        if not begun:
            raise UsageError(f"--resume {resume}: that run was not begun by this command")
        carry_out({**options, **begun, **renewed}, folder, show)
    finally:
        folder.close()


def carry_out(options: Mapping[str, Any], folder: ResultsFolder | None, show: Shown) -> None:
    """Run what the options say, in a new folder, or in one that was taken up again.

    Raises:
        Exit: 4, a backend failed; 1, one is another network.

    """
    from rich.console import Console

    from harness.loggers.parse import parse_loggers
    from harness.run.folder import ResultsFolder
    from harness.run.request import as_begun, make_request
    from harness.run.run import run as train
    from harness.show.progress import make_listener
    from harness.show.table import read_lines, remarks, results_table

    with as_begun(folder.path) if folder else nullcontext():
        loggers = parse_loggers(options.get("log_to"))
        request = make_request(options)
    messages = Console(stderr=True)
    for info, reason in request.skipped:
        messages.print(f"skipped {info.label}: {reason}", markup=False, highlight=False)
    folder = folder or ResultsFolder(Path(options["out"]) if options["out"] else None)
    command = shlex.join(["python", "-m", "harness", *sys.argv[1:]])
    listener = make_listener(messages, show.quiet)
    rows = train(request.plan, request.dataset, folder, listener, {"command": command}, options)
    page = write_page(folder.path)
    logged = write_logs(folder.path, loggers)
    lines = read_lines(folder.path)
    if show.as_json:
        _print_json(folder.path, page, logged, remarks(lines))
    else:
        print_ending(results_table(lines), remarks(lines), folder.path, page, logged)
    if code := exit_code(rows):
        raise typer.Exit(code)


def _print_json(
    folder: Path, page: Path | None, logged: Sequence[str], remarks: Sequence[str]
) -> None:
    from harness.show.gather import read_run

    report = {
        "results": str(folder),
        "report": str(page) if page else None,
        "logged": list(logged),
        "remarks": list(remarks),
        "rows": read_run(folder).rows,
    }
    print(json.dumps(report, indent=2, ensure_ascii=False))
