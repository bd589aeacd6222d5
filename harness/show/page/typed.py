"""Commands that a page tells its reader to type: of this network, on these data."""

from __future__ import annotations

import shlex

from harness.show.answer import ratios
from harness.show.gather import Case
from harness.spec.start import typed_as

PROGRAM = ("python", "-m", "harness")


def to_check(case: Case) -> str:
    """Return the command that proves the network."""
    fit = ["--fit", *_dataset(case)] if "--fit" in _ran(case) else []
    return shlex.join([*PROGRAM, "check", "--backend", "all", *_model(case), *fit])


def to_compare(case: Case) -> str:
    """Return the command whose verdict on the two fastest has an error rate; "" if there is one.

    `ab` compares on one device.
    """
    found = [ratio.line for ratio in ratios(case.lines)]
    sides = [line.backend for line in found if line.device == found[0].device][:2]
    if len(sides) < 2:
        return ""
    options = [*_model(case), *_dataset(case), *(["--fit"] if "--fit" in _ran(case) else [])]
    if found[0].device != "cpu":
        options += ["--device", found[0].device]
    if case.first("precision") != "float32":
        options += ["--precision", str(case.first("precision"))]
    if "--batch-size" in _ran(case):
        options += ["--batch-size", str(case.first("batch_size"))]
    return shlex.join([*PROGRAM, "ab", *sides, *options])


def _model(case: Case) -> list[str]:
    """Return `--model` as the run was given it; else by the name."""
    words = _ran(case)
    for option in ("--model", "-m"):
        if option in words[:-1]:
            return ["--model", words[words.index(option) + 1]]
    return ["--model", typed_as(str(case.first("model")))]


def _dataset(case: Case) -> list[str]:
    return ["--dataset", str(case.first("dataset"))]


def _ran(case: Case) -> list[str]:
    """Return the words of the command that was run, `--option=value` as two; none of a matrix."""
    try:
        words = shlex.split(case.run.machine.get("command") or "")
    except ValueError:  # a quotation that does not end
        return []
    words = words[words.index("-m") + 2 :] if "-m" in words else words
    if "--matrix" in words:
        return []
    parts = [word.partition("=") if word.startswith("--") else (word, "", "") for word in words]
    return [part for name, equals, value in parts for part in ([name, value] if equals else [name])]
