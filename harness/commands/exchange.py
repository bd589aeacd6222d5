"""From and to other tools' files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from harness.commands.complete import complete_models

ImportFolder = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for NAME.toml and NAME.safetensors.")
]

EXPORT_ONNX_EPILOG = (
    "Examples:\n\n"
    "python -m harness export-onnx --weights torch-cpu-0.safetensors -o net.onnx\n\n"
    "python -m harness export-onnx --model resnet-20 --seed 0 -o resnet-20.onnx\n\n"
    "Exit codes: 0 written; 2 wrong usage, or a package is missing."
)


def export_onnx(
    output: Annotated[Path, typer.Option("--output", "-o", help="The .onnx file to write.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A model of the library, a .toml file, or a run's spec.json.",
            autocompletion=complete_models,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", "-w", help="A file that run --save-weights wrote."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Without --weights: of the initial weights; 0, if not given.")
    ] = None,
) -> None:
    """Write a network and its weights as an ONNX file: NHWC images in, logits out."""
    from harness.exchange.onnx_export import write_onnx
    from harness.exchange.sources import parameters_of
    from harness.output import check_place

    check_place(output)
    spec, arrays = parameters_of(model, weights, seed)
    write_onnx(output, spec, arrays)
    print(f"{spec.name}: {output}")


IMPORTED = (
    "Exit codes: 0 written; 2 wrong usage, a package is missing, or no spec can say what is in it."
)
IMPORT_ONNX_EPILOG = f"Examples:\n\npython -m harness import-onnx net.onnx -o models\n\n{IMPORTED}"


def import_onnx(
    file: Annotated[Path, typer.Argument(help="An ONNX model of a CNN.")],
    output: ImportFolder,
) -> None:
    """Read a CNN from an ONNX file: its spec, and its weights."""
    from harness.exchange.onnx_import import import_onnx as read

    _write_imported(read(file), file, output)


IMPORT_KERAS_EPILOG = (
    f"Examples:\n\npython -m harness import-keras net.keras -o models\n\n{IMPORTED}"
)


def import_keras(
    file: Annotated[Path, typer.Argument(help="A CNN, as model.save of Keras 3 writes it.")],
    output: ImportFolder,
) -> None:
    """Read a CNN from a .keras file: its spec, and its weights."""
    from harness.exchange.keras_import import import_keras as read

    _write_imported(read(file), file, output)


def _write_imported(imported: Any, file: Path, output: Path) -> None:
    from harness.exchange.imported import write_imported

    for path in write_imported(imported, output, file):
        print(path)
