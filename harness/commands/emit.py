"""`harness emit`."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import BackendNames, Model, Plugins, Timeout

if TYPE_CHECKING:
    from harness.run.scripts import Written
    from harness.spec import Spec

EPILOG = (
    "Examples:\n\n"
    "python -m harness emit --model mnist-1conv --backend torch\n\n"
    "python -m harness emit -m mnist-1conv -b torch -o net.py\n\n"
    "python -m harness emit -m my-net.toml -b all -o my-net.md\n\n"
    "python -m harness emit -m mnist-2conv -b flax,keras@jax -o mnist-2conv.ipynb\n\n"
    "python -m harness emit -m resnet-20 -b all -o programs/\n\n"
    "Exit codes: 0 written; 2 wrong usage, or a backend refuses the model; 4 one crashed."
)
SUFFIXES = (".py", ".md", ".ipynb")


def emit(
    model: Model = "mnist-2conv",
    backend: BackendNames = None,
    plugin: Plugins = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A .py, .md or .ipynb file, or a folder for a .py file of each; printed, if not "
            "given: one backend as Python, several as Markdown.",
        ),
    ] = None,
    timeout: Timeout = 60.0,
) -> None:
    """Write a model as complete programs, word for word the source that run times.

    A program trains on scikit-learn's digits, where they fit, or on an .npz file, and prints loss,
    accuracy and images/s. It needs its framework and NumPy, and neither is needed to write it.
    """
    from harness import registry, spec
    from harness.run.scripts import write_scripts

    chosen_spec = spec.load_spec(model)
    spec.infer(chosen_spec)
    known = registry.describe()
    chosen, skipped, _ = registry.choose(backend, plugin or [], registry.as_installed(known))
    _check_output(output, len(chosen))
    for info, reason in skipped:
        print(f"skipped {info.label}: {reason}", file=sys.stderr)
    written = _sound(write_scripts(chosen_spec, chosen, timeout), backend)
    for one in written:
        if not one.is_program:
            label = one.info.label
            print(f"{label}: has no `script`; this is its source alone", file=sys.stderr)
    _deliver(chosen_spec, written, output, model)


def _check_output(output: Path | None, count: int) -> None:
    """See, before anything is done, that the place fits what goes there."""
    from harness.errors import UsageError
    from harness.output import check_place

    if output is None or _is_folder(output):
        return
    if output.suffix not in SUFFIXES:
        raise UsageError(
            f"-o {output}: allowed: a folder, or a file that ends in {', '.join(SUFFIXES)}. "
            f"Try: -o {output.with_suffix('.py')}"
        )
    if output.suffix == ".py" and count > 1:
        raise UsageError(
            f"-o {output}: a .py file is one program, and {count} backends are chosen. "
            f"Try: -o {output.with_suffix('.md')}, or -o {output.with_suffix('')}/"
        )
    check_place(output)


def _is_folder(output: Path) -> bool:
    return output.is_dir() or not output.suffix


def _sound(written: list[Written], request: str | None) -> list[Written]:
    """Return what was written; say what was refused.

    Raises:
        UsageError: nothing was written, or a backend refused that was named in full.

    """
    from harness.errors import UsageError

    refused = [one for one in written if one.refused]
    named = [part.strip() for part in (request or "").split(",")]
    reasons = [f"backend {one.info.label!r}: {one.refused}" for one in refused]
    if len(refused) == len(written) or any(one.info.label in named for one in refused):
        raise UsageError("\n".join(reasons))
    for reason in reasons:
        print(f"skipped {reason}", file=sys.stderr)
    return [one for one in written if not one.refused]


def _deliver(spec: Spec, written: list[Written], output: Path | None, model: str) -> None:
    """Print, or write what the name of the output asks for; `model` is what was typed."""
    from harness.show.dialects import as_markdown, as_notebook, take_apart

    if output is not None and _is_folder(output):
        _write_files(spec, written, output)
        return
    suffix = output.suffix if output else ".py" if len(written) == 1 else ".md"
    if suffix == ".py":
        text = written[0].text
    else:
        programs = [take_apart(one) for one in written]
        text = (as_markdown if suffix == ".md" else as_notebook)(spec, programs, model)
    if output is None:
        print(text, end="")
        return
    _write(output, text)
    following = ""
    if suffix == ".py" and written[0].is_program:
        data = "" if take_apart(written[0]).has_data else " data.npz"
        following = f" Next: python {quote(str(output))}{data}"
    print(f"Wrote {output}.{following}")


def _write_files(spec: Spec, written: list[Written], folder: Path) -> None:
    from harness.errors import UsageError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from None
    for one in written:
        path = folder / one.file(spec)
        _write(path, one.text)
        print(path)


def _write(path: Path, text: str) -> None:
    from harness.output import write_whole

    write_whole(path, lambda place: place.write_text(text, encoding="utf-8"))
