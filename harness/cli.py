"""The command line: all commands; an error is one message and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from harness import __version__
from harness.commands import (
    ab,
    calibrate,
    check,
    compare,
    doctor,
    emit,
    exchange,
    explain,
    export,
    fuzz,
    history,
    infer,
    init,
    lists,
    plot,
    predict,
    report,
    run,
)
from harness.commands.unknown import PARSER_ERROR, Commands, refusal
from harness.errors import HarnessError, Interrupted
from harness.run.signals import in_order

app = typer.Typer(
    name="harness",
    cls=Commands,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Write a CNN once; train it as native Keras, PyTorch, Flax and raw TensorFlow; know that "
        "all are the same network, and which is fastest."
    ),
    epilog=(
        "Examples:\n\n"
        "python -m harness run\n\n"
        "python -m harness init my-net.toml\n\n"
        "python -m harness doctor\n\n"
        "Exit codes: 0 all well; 1 a backend is another network, a regression, or something wrong "
        "here; 2 wrong usage; 3 no verdict; 4 a backend failed; 5 results cannot be written; "
        "70 a mistake in the harness itself; 130 Ctrl-C."
    ),
)

# How the commands are set beside each other in `--help`.
BEGIN = "Begin"
TRAIN = "Train and predict"
PROVE = "See that it is the same network"
JUDGE = "Judge results"
SHOW = "Show results"
FILES = "Other tools' files"
LISTS = "What there is"

app.command(rich_help_panel=BEGIN, epilog=init.EPILOG)(init.init)
app.command(rich_help_panel=BEGIN, epilog=doctor.EPILOG)(doctor.doctor)
app.command(rich_help_panel=TRAIN, epilog=run.EPILOG)(run.run)
app.command(rich_help_panel=TRAIN, epilog=predict.EPILOG)(predict.predict)
app.command(rich_help_panel=TRAIN, epilog=infer.EPILOG)(infer.infer)
app.command(rich_help_panel=PROVE, epilog=check.EPILOG)(check.check)
app.command(rich_help_panel=PROVE, epilog=emit.EPILOG)(emit.emit)
app.command(rich_help_panel=PROVE, epilog=explain.EPILOG)(explain.explain)
app.command(rich_help_panel=PROVE, epilog=fuzz.EPILOG)(fuzz.fuzz)
app.command(rich_help_panel=JUDGE, epilog=ab.EPILOG)(ab.ab)
app.command(rich_help_panel=JUDGE, epilog=compare.EPILOG)(compare.compare)
app.command(rich_help_panel=JUDGE, epilog=calibrate.EPILOG)(calibrate.calibrate)
app.add_typer(history.app, name="history", rich_help_panel=JUDGE)
app.command(rich_help_panel=SHOW, epilog=report.EPILOG)(report.report)
app.command(rich_help_panel=SHOW, epilog=plot.EPILOG)(plot.plot)
app.command(rich_help_panel=SHOW, epilog=export.EPILOG)(export.export)
app.command("export-onnx", rich_help_panel=FILES, epilog=exchange.EXPORT_ONNX_EPILOG)(
    exchange.export_onnx
)
app.command("import-onnx", rich_help_panel=FILES, epilog=exchange.IMPORT_ONNX_EPILOG)(
    exchange.import_onnx
)
app.command("import-keras", rich_help_panel=FILES, epilog=exchange.IMPORT_KERAS_EPILOG)(
    exchange.import_keras
)
app.command(rich_help_panel=LISTS, epilog=lists.BACKENDS_EPILOG)(lists.backends)
app.command(rich_help_panel=LISTS, epilog=lists.MODELS_EPILOG)(lists.models)
app.command(rich_help_panel=LISTS, epilog=lists.SCHEMA_EPILOG)(lists.schema)
app.command(rich_help_panel=LISTS, epilog=lists.DATASETS_EPILOG)(lists.datasets)
app.command(rich_help_panel=LISTS, epilog=lists.MACHINE_EPILOG)(lists.machine)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"cnn-harness {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            callback=_say_version,
            is_eager=True,
            help="Say which version this is.",
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error that a user can meet is one message, never a traceback.

    What no user should meet has its traceback, and an exit code that is no verdict: Python's own
    would be 1, which a gate takes for a regression.

    Args:
        arguments: those behind the program's name; None for the process's own.

    Raises:
        SystemExit: always, with the exit code.

    """
    with in_order() as came:
        code = _code(arguments)
    sys.exit(128 + came[0] if came and code == Interrupted.exit_code else code)


def _code(arguments: list[str] | None) -> int:
    """Run the command line, say what went wrong, and return the exit code."""
    try:
        code = app(args=arguments, standalone_mode=False)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except PARSER_ERROR as error:
        if said := refusal(error):
            print(f"error: {said}", file=sys.stderr)
        return 2
    except typer.Abort:
        return Interrupted.exit_code
    except BrokenPipeError:
        return 1
    except Exception:
        traceback.print_exc()
        return os.EX_SOFTWARE
    return code if isinstance(code, int) else 0
