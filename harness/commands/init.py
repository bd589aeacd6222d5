"""`harness init`: a file to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.complete import complete_library
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.spec import Spec

EPILOG = (
    "Examples:\n\n"
    "python -m harness init my-net.toml\n\n"
    "python -m harness init my-resnet.toml --model resnet-20\n\n"
    "python -m harness init --config harness.toml\n\n"
    "Exit codes: 0 written; 2 wrong usage, or the file is there already."
)
STANDARD = {False: Path("my-net.toml"), True: Path("harness.toml")}


def init(
    file: Annotated[
        Path | None,
        typer.Argument(help="The .toml file to write; my-net.toml or harness.toml, if not given."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A model of the library to start from; else a small CNN, explained.",
            autocompletion=complete_library,
        ),
    ] = None,
    config: Annotated[
        bool,
        typer.Option("--config", help="Write a matrix of runs, and gates, instead of a network."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Write a network's file to start from, in which every field is explained."""
    from harness.output import check_place, write_whole

    if config and model:
        raise UsageError("--config and --model: give one of the two")
    place = file or STANDARD[config]
    if place.suffix != ".toml":
        raise UsageError(
            f"{place}: allowed: a file that ends in .toml. "
            f"Try: python -m harness init {place.with_suffix('.toml')}"
        )
    check_place(place)
    if place.exists() and not force:
        raise UsageError(f"{place} is there already. Try: another name, or --force to replace it")
    text, following = _config(place) if config else _network(place, model)
    write_whole(place, lambda path: path.write_text(text, encoding="utf-8"))
    print(f"Wrote {place}. Next: {following}")


def _config(place: Path) -> tuple[str, str]:
    """Return the text of a matrix, and the command that runs it."""
    from harness.config.read import starting_config

    return starting_config(), f"python -m harness run --matrix --config {place}"


def _network(place: Path, model: str | None) -> tuple[str, str]:
    """Return the text of a network, and the command that trains it."""
    from harness.spec import parse_spec
    from harness.spec.start import name_from, starting_spec

    text = starting_spec(name_from(place.stem), model)
    return text, _command(parse_spec(text, str(place)), place)


def _command(spec: Spec, place: Path) -> str:
    """Return what trains it on data that are here, or, where none fit, what checks it."""
    from harness.spec import infer

    outputs = infer(spec).output_shape[0]
    if (spec.input, outputs, spec.training.loss) == ((28, 28, 1), 10, "cross_entropy"):
        return f"python -m harness run --model {place} --dataset digits"
    is_classes = spec.training.loss == "cross_entropy"
    if len(spec.input) != 3 and not is_classes:
        return f"python -m harness check --model {place}"
    kind = "synthetic" if is_classes else "synthetic-regression"
    shape = "x".join(map(str, spec.input))
    count = 16 * spec.training.batch_size
    return f"python -m harness run --model {place} --dataset {kind}:{shape}:{outputs}:{count}"
