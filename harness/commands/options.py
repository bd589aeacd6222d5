"""Options that several commands share, and how they print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.commands.complete import (
    complete_backends,
    complete_datasets,
    complete_models,
    complete_words,
)

BackendNames = Annotated[
    str | None,
    typer.Option(
        "--backend",
        "-b",
        help="Names, name@variant, globs, by commas; or all. All, without --plugin.",
        autocompletion=complete_backends,
    ),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="MODULE:CLASS",
        help="A backend that is not registered, module:Class\\[@variant]; may be repeated.",
    ),
]
Rounds = Annotated[
    int, typer.Option(help="Blocks of each side in a pair, each of some 25 milliseconds.")
]
PAIR_ROUNDS = 60  # as harness.run.pairs.ROUNDS, which would take long to import
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="A model of the library, a .toml file, or a run's spec.json.",
        autocompletion=complete_models,
    ),
]
DatasetName = Annotated[
    str,
    typer.Option(
        "--dataset",
        "-d",
        help="See: python -m harness datasets",
        autocompletion=complete_datasets,
    ),
]
Fit = Annotated[
    bool, typer.Option("--fit", help="Give the model the data set's image size and classes.")
]
Precision = Annotated[
    str,
    typer.Option(
        help="float32, tf32, float64 or bfloat16.",
        autocompletion=complete_words("float32", "tf32", "float64", "bfloat16"),
    ),
]
Devices = Annotated[
    str,
    typer.Option(
        help="cpu, gpu, or all that each backend reports.",
        autocompletion=complete_words("cpu", "gpu", "all"),
    ),
]
OneDevice = Annotated[
    str, typer.Option(help="cpu or gpu.", autocompletion=complete_words("cpu", "gpu"))
]
Environment = Annotated[
    str,
    typer.Option(
        help="tuned: as each framework's experts set it; stock: as it comes.",
        autocompletion=complete_words("tuned", "stock"),
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="A TOML file; else \\[tool.harness] of the pyproject.toml here or in a folder above.",
    ),
]
LogTo = Annotated[
    str | None,
    typer.Option(
        help="Where else results go once they are all there: tensorboard:DIR, mlflow:DIR, "
        "wandb:DIR; several by commas."
    ),
]
Threads = Annotated[int | None, typer.Option(help="CPU cores for each backend; all, if not given.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for one answer of a backend.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only the table.")]


def print_objects(objects: list[dict[str, Any]], as_json: bool, columns: dict[str, Any]) -> None:
    """Print as JSON, or as a table whose columns are functions of an object."""
    if as_json:
        print(json.dumps(objects, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(pad_edge=False, box=None, header_style="bold")
    for name in columns:
        # The name is what the user types next, so it stays in one piece.
        table.add_column(name, overflow="fold", no_wrap=name == next(iter(columns)))
    for item in objects:
        table.add_row(*(str(show(item)) for show in columns.values()))
    Console().print(table, markup=False, highlight=False)
