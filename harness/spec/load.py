"""Specs from TOML files: the library's by name, one's own by path; every mistake at once."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.errors import SpecError, UsageError, did_you_mean
from harness.spec.layers import LAYER_TYPES
from harness.spec.model import Spec
from harness.spec.network import infer

MAX_FILE_BYTES = 1_000_000
OPTIMIZER_TYPES = ("adam", "sgd")


def library() -> list[str]:
    """Names of the models that come with the harness, sorted."""
    folder = resources.files("harness.spec") / "library"
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name[-5:] == ".toml"
    )


def load_spec(name_or_path: str) -> Spec:
    """Read a model of the library, or a TOML file.

    Raises:
        UsageError: no such model or file.
        SpecError: the file is no TOML, or the spec has mistakes; all of them are listed.

    """
    if name_or_path in library():
        text = (resources.files("harness.spec") / "library" / f"{name_or_path}.toml").read_text()
        return parse_spec(text, name_or_path)
    path = Path(name_or_path)
    if path.suffix != ".toml" and not path.exists():
        hint = did_you_mean(name_or_path, library())
        raise UsageError(
            f"unknown model {name_or_path!r}; known: {', '.join(library())}, or a .toml file."
            f"{hint} Try: python -m harness models"
        )
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path}: larger than {MAX_FILE_BYTES} bytes; that is no spec")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the model file {path}: {error}") from None
    return parse_spec(text, str(path))


def parse_spec(text: str, source: str) -> Spec:
    """Read a spec from TOML text; `source` names it in errors.

    Raises:
        SpecError: with one line per mistake.

    """
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(source, [f"not valid TOML: {error}"]) from None
    try:
        spec = Spec.model_validate(_tuples(data))
    except ValidationError as error:
        raise SpecError(source, describe_errors(error)) from None
    infer(spec)
    return spec


def spec_from_json(text: str) -> Spec:
    """Return the spec whose `model_dump_json` is `text`: how one is handed to a worker."""
    return Spec.model_validate(_tuples(json.loads(text)))


def _tuples(value: Any) -> Any:
    """TOML has arrays, the strict spec has tuples; nothing else is converted."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def describe_errors(error: ValidationError) -> list[str]:
    """One line per mistake: its path, the value received, what is allowed."""
    lines = []
    for item in error.errors(include_url=False):
        path = _path(item["loc"])
        if item["type"] == "extra_forbidden":
            field = str(item["loc"][-1])
            allowed = _fields_beside(item["loc"])
            hint = did_you_mean(field, allowed)
            lines.append(f"{path}: unknown field; allowed: {', '.join(allowed)}.{hint}")
        elif item["type"] == "missing":
            lines.append(f"{path}: is missing")
        elif item["type"].startswith("union_tag"):
            lines.append(_wrong_type(path, item["loc"], item.get("input")))
        else:
            message = item["msg"].removeprefix("Value error, ").removeprefix("Input ")
            lines.append(f"{path}: {_short(item['input'])} {message}" if path else message)
    return lines


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _wrong_type(path: str, loc: tuple[int | str, ...], value: object) -> str:
    allowed = OPTIMIZER_TYPES if loc[-1] == "optimizer" else LAYER_TYPES
    received = value.get("type") if isinstance(value, dict) else value
    hint = did_you_mean(received, allowed) if isinstance(received, str) else ""
    shown = "is missing" if isinstance(value, dict) and received is None else _short(received)
    return f"{path}.type: {shown}; allowed: {', '.join(allowed)}.{hint}"


def _path(loc: Sequence[int | str]) -> str:
    """`('layers', 2, 'conv2d', 'filters')` as `layers[2].filters`: union tags are no fields."""
    path = ""
    for position, part in enumerate(loc):
        before = loc[position - 1] if position else None
        is_tag = (isinstance(before, int) and part in LAYER_TYPES) or (
            before == "optimizer" and part in OPTIMIZER_TYPES
        )
        if isinstance(part, int):
            path += f"[{part}]"
        elif not is_tag:
            path += f".{part}" if path else part
    return path


def _fields_beside(loc: Sequence[int | str]) -> list[str]:
    """The fields of the part of the spec in which an unknown one was found."""
    from harness.spec import layers, model

    parts: dict[str, type[BaseModel]] = {"training": model.Training}
    for kind in (*vars(layers).values(), model.Sgd, model.Adam):
        if isinstance(kind, type) and issubclass(kind, BaseModel) and "type" in kind.model_fields:
            parts[str(kind.model_fields["type"].default)] = kind
    parent = str(loc[-2]) if len(loc) > 1 else ""
    return sorted(parts.get(parent, Spec).model_fields)
