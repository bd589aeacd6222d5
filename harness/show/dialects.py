"""One network in several frameworks, part by part: as Markdown, or as a notebook.

The parts are found in the programs themselves, by the names that every generated source defines.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any

from harness.run.scripts import Written
from harness.spec import Spec, infer

TITLES = {  # of the parts of a program, in their order
    "imports": "Imports",
    "model": "The model",
    "loss": "The loss",
    "optimizer": "The optimizer",
    "training": "Training and prediction",
    "data": "Data, order of batches, learning rates",
    "main": "The program",
}
ABOUT = {
    "model": "Parameters are made in the constructor or when the layer is first used; the forward "
    "pass is what is differentiated.",
    "loss": "Softmax or sigmoid, where there is one, is part of the loss: from logits it is exact.",
    "optimizer": "What it keeps of each parameter begins at zero.",
    "training": "One step: forward, loss, backward, update. `order` has the row numbers of each "
    "batch.",
    "data": "Plain NumPy, the same in every framework.",
    "main": "The framework's own again: weights from a file, data to the device, epochs.",
}
ALIKE = ("data",)  # parts that are shown once
LOSSES = ("cross_entropy", "loss_fn")
OPTIMIZERS = ("make_optimizer", "optimizer")
FIRST = {"data": "EPOCHS", "main": "set_weights"}


@dataclass(frozen=True)
class Program:
    """A program in parts, by the keys of `TITLES`; `notes` is its docstring."""

    written: Written
    notes: str
    parts: dict[str, str]
    has_data: bool  # whether it runs without being given any

    @property
    def label(self) -> str:
        """What the backend is called on the command line."""
        return self.written.info.label

    @property
    def title(self) -> str:
        """The framework, as the first line of the docstring has it."""
        return self.notes.partition("\n")[0].partition(" in ")[2].partition(":")[0] or self.label


def take_apart(written: Written) -> Program:
    """Find the parts of a program; of one that defines other names, all is its model."""
    lines, tree = written.text.splitlines(), ast.parse(written.text)
    notes = ast.get_docstring(tree) or ""
    statements = tree.body[1:] if notes else tree.body
    kinds = [_kind(statements, number) for number in range(len(statements))]
    found: dict[str, list[str]] = {}
    begin = (tree.body[0].end_lineno or 0) if notes else 0
    for statement, kind in zip(statements, kinds, strict=True):
        end = statement.end_lineno or begin
        found.setdefault(kind, []).extend(lines[begin:end])
        begin = end
    parts = {key: "\n".join(found[key]).strip("\n") for key in TITLES if key in found}
    names = {name for statement in statements for name in _names(statement)}
    return Program(written, notes, parts, "load_digits" in names)


def _kind(statements: Sequence[ast.stmt], number: int) -> str:
    """Return the part that a statement belongs to, by what is defined where."""
    place = {name: n for n, statement in enumerate(statements) for name in _names(statement)}
    imports = [n for n, s in enumerate(statements) if isinstance(s, ast.Import | ast.ImportFrom)]
    ends = {
        "imports": max(imports, default=-1),
        "model": min((place[name] for name in LOSSES if name in place), default=len(place)) - 1,
        "loss": place.get("loss_fn", -1),
        "optimizer": max(place.get(name, -1) for name in OPTIMIZERS),
        "training": place.get(FIRST["data"], len(statements)) - 1,
        "data": place.get(FIRST["main"], len(statements)) - 1,
    }
    if "loss_fn" not in place or ends["optimizer"] < 0:
        return "imports" if number <= ends["imports"] else "model"
    return next((kind for kind, end in ends.items() if number <= end), "main")


def _names(statement: ast.stmt) -> list[str]:
    """Return what a statement of a module defines."""
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
    return []


def as_markdown(spec: Spec, programs: Sequence[Program], model: str) -> str:
    """Return the programs part by part, with what each framework has otherwise.

    `model` is what the user called the spec: a name, or the file that commands have to be given.
    """
    names = ", ".join(program.title for program in programs)
    lines = [f"# {spec.name} in {names}", "", introduction(spec, model), "", "## What differs"]
    for program in programs:
        lines += ["", f"### {program.title}", "", _bullets(program.notes)]
    for key, title in TITLES.items():
        having = [program for program in programs if key in program.parts]
        if not having:
            continue
        lines += ["", f"## {title}", *(["", ABOUT[key]] if key in ABOUT else [])]
        for program in having[:1] if key in ALIKE else having:
            if key not in ALIKE:
                lines += ["", f"### {program.title}"]
            lines += ["", "```python", program.parts[key], "```"]
    return "\n".join([*lines, "", *_commands(spec, programs, model)]) + "\n"


def introduction(spec: Spec, model: str) -> str:
    """Say what the network is, and in what its programs agree."""
    network = infer(spec)
    sides, outputs = "x".join(map(str, spec.input)), network.output_shape[0]
    return (
        f"From {sides} values to {outputs}, with {network.parameter_count:,} parameters. "
        "From the same weights and the same batches all compute the same losses, which "
        f"`python -m harness check --model {quote(model)}` proves: they differ in how it is said."
    )


def _bullets(notes: str) -> str:
    """Return the notes of a docstring alone, where it has some."""
    kept = [line for line in notes.splitlines() if line.startswith(("- ", "  "))]
    return "\n".join(line for line in kept if not line.startswith("    ")) or notes


def _commands(spec: Spec, programs: Sequence[Program], model: str) -> list[str]:
    lines = ["## Run them", "", "```sh"]
    for program in programs:
        file = program.written.file(spec)
        lines.append(f"python -m harness emit --model {quote(model)} -b {program.label} -o {file}")
    lines += [
        f"python {program.written.file(spec)}{'' if program.has_data else ' data.npz'}"
        for program in programs
        if program.written.is_program
    ]
    return [*lines, "```"]


def as_notebook(spec: Spec, programs: Sequence[Program], model: str) -> str:
    """Return a notebook in format 4.5: for each framework notes, code by parts, and a training.

    `model` is as in `as_markdown`.
    """
    text = f"# {spec.name}\n\n{introduction(spec, model)}"
    if len(programs) > 1:
        text += (
            "\n\nEvery framework's section can be run by itself, and gives the names of the one "
            "before to its own."
        )
    cells = [_cell("intro", "markdown", text)]
    for program in programs:
        label = program.label.replace("@", "-")
        about = f"## {program.title}\n\n{_bullets(program.notes)}"
        if "KERAS_BACKEND" in program.parts.get("imports", ""):
            about += "\n\nKeras chooses its backend when it is imported: begin in a fresh kernel."
        cells.append(_cell(label, "markdown", about))
        for key, code in program.parts.items():
            more = f"\n\n{ABOUT[key]}" if key in ABOUT else ""
            cells.append(_cell(f"{label}-{key}-text", "markdown", f"### {TITLES[key]}{more}"))
            code = code.partition('\n\n\nif __name__ == "__main__":')[0]
            cells.append(_cell(f"{label}-{key}", "code", code))
        if program.written.is_program:
            data = "" if program.has_data else '"data.npz", '
            call = f'main([{data}"--epochs", "3"])'
            cells.append(_cell(f"{label}-run", "code", call))
    whole = {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _cell(name: str, kind: str, text: str) -> dict[str, Any]:
    cell = {"id": name[:64], "cell_type": kind, "metadata": {}, "source": text.splitlines(True)}
    return {**cell, "execution_count": None, "outputs": []} if kind == "code" else cell
