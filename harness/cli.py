"""The command line: all commands; an error is one message and an exit code."""

from __future__ import annotations

import sys

import typer

from harness.commands import (
    ab,
    calibrate,
    check,
    compare,
    emit,
    exchange,
    explain,
    export,
    fuzz,
    history,
    infer,
    lists,
    plot,
    predict,
    report,
    run,
)
from harness.errors import HarnessError

app = typer.Typer(
    name="harness",
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
        "Exit codes: 0 all well; 1 a run ended without all backends the same, or a regression; "
        "2 wrong usage; 3 no verdict; 4 a backend failed; 5 results cannot be written; 130 Ctrl-C. "
        " Begin with: python -m harness run"
    ),
)

app.command(epilog=run.EPILOG)(run.run)
app.command(epilog=predict.EPILOG)(predict.predict)
app.command(epilog=infer.EPILOG)(infer.infer)
app.command(epilog=check.EPILOG)(check.check)
app.command(epilog=emit.EPILOG)(emit.emit)
app.command(epilog=explain.EPILOG)(explain.explain)
app.command(epilog=fuzz.EPILOG)(fuzz.fuzz)
app.command(epilog=lists.BACKENDS_EPILOG)(lists.backends)
app.command(epilog=lists.MODELS_EPILOG)(lists.models)
app.command(epilog=lists.SCHEMA_EPILOG)(lists.schema)
app.command(epilog=lists.DATASETS_EPILOG)(lists.datasets)
app.command(epilog=lists.MACHINE_EPILOG)(lists.machine)
app.command(name="export-onnx", epilog=exchange.EXPORT_ONNX_EPILOG)(exchange.export_onnx)
app.command(name="import-onnx", epilog=exchange.IMPORT_ONNX_EPILOG)(exchange.import_onnx)
app.command(name="import-keras", epilog=exchange.IMPORT_KERAS_EPILOG)(exchange.import_keras)
app.command(epilog=ab.EPILOG)(ab.ab)
app.command(epilog=compare.EPILOG)(compare.compare)
app.command(epilog=calibrate.EPILOG)(calibrate.calibrate)
app.command(epilog=report.EPILOG)(report.report)
app.command(epilog=plot.EPILOG)(plot.plot)
app.command(epilog=export.EPILOG)(export.export)
app.add_typer(history.app, name="history")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; an error that a user can meet is one message, never a traceback.

    Args:
        arguments: those behind the program's name; None for the process's own.

    Raises:
        SystemExit: always, with the exit code.

    """
    try:
        app(args=arguments)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)
