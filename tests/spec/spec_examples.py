"""Specs written as TOML text, sound but for what a test changes."""

from __future__ import annotations

import json

import pytest

from harness.errors import SpecError
from harness.spec import Spec, parse_spec


def layer(kind: str, **fields: object) -> str:
    """A `[[layers]]` table; JSON's numbers, strings, booleans and arrays are also TOML's."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in {"type": kind, **fields}.items()]
    return "\n".join(["[[layers]]", *lines, ""])


CONV = layer("conv2d", filters=4, kernel=3)
POOL = layer("max_pool", size=2)
FLATTEN = layer("flatten")
DENSE = layer("dense", units=10)
ADAM = '[training.optimizer]\ntype = "adam"\n'
SGD = '[training.optimizer]\ntype = "sgd"\nlearning_rate = 0.1\n'


def toml(
    *layers: str,
    name: str = "example",
    size: object = (8, 8, 1),
    head: str = "",
    training: str = "",
) -> str:
    """A whole file; without layers, those that make any image an output of ten numbers."""
    start = f"name = {json.dumps(name)}\ninput = {json.dumps(size)}\n{head}\n"
    return start + "".join(layers or (FLATTEN, DENSE)) + training


def conv(**fields: object) -> str:
    """A file whose layer 0 is a convolution with these fields."""
    return toml(layer("conv2d", **{"filters": 4, "kernel": 3, **fields}), FLATTEN, DENSE)


def dense(**fields: object) -> str:
    """A file whose layer 1 is dense with these fields."""
    return toml(FLATTEN, layer("dense", **{"units": 10, **fields}))


def parse(*layers: str, **parts: object) -> Spec:
    return parse_spec(toml(*layers, **parts), "example.toml")


def problems(text: str) -> list[str]:
    """The lines about the mistakes in `text`, which must have some."""
    with pytest.raises(SpecError) as caught:
        parse_spec(text, "example.toml")
    found = caught.value.problems
    count = f"{len(found)} mistake{'s' if len(found) > 1 else ''}"
    assert str(caught.value).splitlines() == [
        f"example.toml: {count}",
        *(f"  {line}" for line in found),
    ]
    return found


def problem(text: str) -> str:
    """The line about the one mistake in `text`."""
    (line,) = problems(text)
    return line
