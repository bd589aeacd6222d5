"""Specs from TOML files: the library's by name, one's own by path; every mistake at once."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from harness.errors import SpecError, UsageError, did_you_mean
from harness.spec.blocks import LAYER_TYPES
from harness.spec.initializers import FORMS, ConstantInitializer
from harness.spec.model import Spec
from harness.spec.network import infer
from harness.spec.training import OPTIMIZER_TYPES, SCHEDULE_TYPES

MAX_FILE_BYTES = 1_000_000
TAGGED = {  # what may lie between a field and those within it, but is no field
    "optimizer": OPTIMIZER_TYPES,
    "schedule": SCHEDULE_TYPES,
    "initializer": FORMS,
    "bias_initializer": FORMS,
}
# A key of so many parts, for which tomllib takes time and memory by the square: 20,000 of them, in
# 40 kB, took 1.6 GB. No part is looked at twice from the same place.
PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
LONG_KEY = re.compile(rf"(?<![\w-]){PART}(?:[ \t]*+\.[ \t]*+{PART}){{32}}")
MAX_DOTS = 20_000  # each may be that of a table, which takes a kilobyte while it is parsed
MAX_LISTED = 100  # mistakes; beyond these the file is no spec


def library() -> list[str]:
    """Names of the models that come with the harness, sorted."""
    folder = resources.files("harness.spec") / "library"
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name[-5:] == ".toml"
    )


def load_spec(name_or_path: str) -> Spec:
    """Read a model of the library, a TOML file, or the `spec.json` of a run.

    Raises:
        UsageError: no such model or file.
        SpecError: the file is no TOML or JSON, or the spec has mistakes; all of them are listed.

    """
    if name_or_path in library():
        entry = resources.files("harness.spec") / "library" / f"{name_or_path}.toml"
        return parse_spec(entry.read_text(encoding="utf-8"), name_or_path)
    path = Path(name_or_path)
    if path.suffix not in (".toml", ".json") and not os.path.exists(name_or_path):  # noqa: PTH110 (may be too long)
        hint = did_you_mean(name_or_path, library())
        raise UsageError(
            f"unknown model {_short(repr(name_or_path))}; known: {', '.join(library())}, "
            f"a .toml file, or a run's spec.json.{hint} Try: python -m harness models"
        )
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)  # no more: it may be a device without end
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot read the model file {_short(repr(name_or_path))}: {reason}. "
            "Try: python -m harness models"
        ) from None
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(f"the model file {path} is larger than {MAX_FILE_BYTES} bytes: no spec")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"the model file {path} is not text: {error}") from None
    return (parse_spec_json if path.suffix == ".json" else parse_spec)(text, str(path))


def parse_spec(text: str, source: str) -> Spec:
    """Read a spec from TOML text; `source` names it in errors.

    Raises:
        SpecError: with one line per mistake.

    """
    if text.count(".") > MAX_DOTS:
        raise SpecError(source, [f"no spec: it has more than {MAX_DOTS} dots"])
    if LONG_KEY.search(text):
        raise SpecError(source, ["not valid TOML: nested too deeply"])
    try:
        data = as_tuples(tomllib.loads(text))
    except RecursionError:
        raise SpecError(source, ["not valid TOML: nested too deeply"]) from None
    except tomllib.TOMLDecodeError as error:
        raise SpecError(source, [f"not valid TOML: {error}"]) from None
    except LargeIntegersError as error:
        raise SpecError(source, error.problems) from None
    except ValueError:  # in `int`, which refuses thousands of digits
        raise SpecError(source, ["not valid TOML: an integer of more than 64 bits"]) from None
    return _checked(data, source)


def parse_spec_json(text: str, source: str) -> Spec:
    """Read a spec from JSON, of whoever it may be, as `model_dump_json` writes it.

    Raises:
        SpecError: with one line per mistake.

    """
    try:
        data = as_tuples(json.loads(text))
    except RecursionError:
        raise SpecError(source, ["no JSON of a spec: nested too deeply"]) from None
    except LargeIntegersError as error:
        raise SpecError(source, error.problems) from None
    except ValueError as error:
        raise SpecError(source, [f"no JSON of a spec: {error}"]) from None
    return _checked(data, source)


def _checked(data: Any, source: str) -> Spec:
    """Return the spec that `data` is, if it is one that can be computed."""
    try:
        spec = Spec.model_validate(data)
        infer(spec)
    except ValidationError as error:
        raise SpecError(source, describe_errors(error)) from None
    except SpecError as error:  # from `infer`, which knows the spec's name only
        raise SpecError(source, error.problems) from None
    return spec


def spec_from_json(text: str) -> Spec:
    """Return the spec whose `model_dump_json` is `text`: how one is handed to a worker."""
    return Spec.model_validate(as_tuples(json.loads(text)))


class LargeIntegersError(ValueError):
    """Integers that TOML has not; `problems` holds one line for each, with its path."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


def as_tuples(value: Any) -> Any:
    """TOML has arrays, the strict spec has tuples; nothing else is converted.

    Raises:
        LargeIntegersError: there are integers of more than 64 bits.

    """
    large: list[str] = []
    found = _as_tuples(value, (), large)
    if large:
        raise LargeIntegersError(large)
    return found


def _as_tuples(value: Any, place: tuple[int | str, ...], large: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _as_tuples(item, (*place, key), large) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_as_tuples(item, (*place, n), large) for n, item in enumerate(value))
    # The number itself is not shown: of thousands of bits, Python refuses to write the digits.
    if isinstance(value, int) and value.bit_length() > 63 and len(large) < MAX_LISTED:
        problem = f"{_path(place)}: an integer of more than 64 bits, which TOML has not"
        large.append(problem.removeprefix(": "))  # of JSON that is nothing else
    return value


def describe_errors(
    error: ValidationError,
    fields_beside: Callable[[tuple[int | str, ...]], list[str]] | None = None,
) -> list[str]:
    """One line per mistake: its path, the value received, what is allowed.

    `fields_beside` returns the fields of the part in which an unknown one lies; a spec's, if not
    given.
    """
    fields_beside = fields_beside or _fields_beside
    lines = []
    for item in error.errors(include_url=False)[:MAX_LISTED]:
        path = _path(item["loc"])
        if item["type"] == "extra_forbidden":
            field = str(item["loc"][-1])
            allowed = fields_beside(item["loc"])
            hint = did_you_mean(field, allowed)
            lines.append(f"{path}: unknown field; allowed: {', '.join(allowed)}.{hint}")
        elif item["type"] == "missing":
            lines.append(f"{path}: is missing")
        elif item["type"].startswith("union_tag"):
            lines.append(_wrong_type(path, item["loc"], item.get("input")))
        elif not path:  # of the spec as a whole: lines that bring their own paths
            lines += item["msg"].removeprefix("Value error, ").split("\n")
        else:
            hint = _hint(item)
            lines.append(f"{path}: {_short(_toml(item['input']))} {_allowed(item)}{hint}")
    if error.error_count() > MAX_LISTED:
        lines.append(f"and {error.error_count() - MAX_LISTED} more")
    return lines


# What is allowed, in the words of TOML where pydantic has those of Python.
ALLOWED = {
    "int_type": "should be an integer",
    "float_type": "should be a number",
    "bool_type": "should be true or false",
    "string_type": "should be a string",
    "tuple_type": "should be an array",
    "model_type": "should be a table",
    "model_attributes_type": "should be a table",
}


def _allowed(item: ErrorDetails) -> str:
    if item["loc"] == ("layers",):
        return "should be an array of tables, each begun by [[layers]]"
    if item["type"] == "too_long":
        return f"should have at most {item['ctx']['max_length']} values"
    message = item["msg"]
    if item["loc"][-1:] == (FORMS[0],):
        message = f'{message.replace(" or ", ", ")} or {{type = "constant", value = ...}}'
    for prefix in ("Value error, ", "Input ", "String "):
        message = message.removeprefix(prefix)
    return ALLOWED.get(item["type"], message)


def _hint(item: ErrorDetails) -> str:
    """Of a word that is nearly one of those allowed, which one may be meant."""
    received, expected = item["input"], str(item.get("ctx", {}).get("expected", ""))
    if not isinstance(received, str) or len(received) > 60:
        return ""
    hint = did_you_mean(received, re.findall(r"'(\w+)'", expected))
    return f".{hint}" if hint else ""


def _toml(value: object, depth: int = 0) -> str:
    """Write a value as its author did, or nearly so; what lies deep is left out."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | dict) and depth == 3:
        return "..."
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item, depth + 1) for item in value)}]"
    if isinstance(value, dict):
        items = (f"{_key(key)} = {_toml(item, depth + 1)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    return repr(value) if isinstance(value, str) else str(value)


def _key(name: str) -> str:
    """Quote it where TOML would want quotes: it may hold dots or line ends."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name) else _short(repr(name))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _wrong_type(path: str, loc: tuple[int | str, ...], value: object) -> str:
    allowed = TAGGED.get(str(loc[-1]), LAYER_TYPES)
    received = value.get("type") if isinstance(value, dict) else value
    hint = did_you_mean(received, allowed) if isinstance(received, str) else ""
    shown = "is missing" if received is None else _short(_toml(received))
    return f"{path}.type: {shown}; allowed: {', '.join(allowed)}.{hint}"


def _path(loc: Sequence[int | str]) -> str:
    """`('layers', 2, 'conv2d', 'filters')` as `layers[2].filters`: union tags are no fields."""
    path = ""
    for position, part in enumerate(loc):
        before = loc[position - 1] if position else None
        is_tag = (isinstance(before, int) and part in LAYER_TYPES) or (
            isinstance(before, str) and part in TAGGED.get(before, ())
        )
        if isinstance(part, int):
            path += f"[{part}]"
        elif not is_tag:
            path += f".{_key(part)}" if path else _key(part)
    return path


def _fields_beside(loc: Sequence[int | str]) -> list[str]:
    """The fields of the part of the spec in which an unknown one was found."""
    from harness.spec import blocks, layers, training

    parts: dict[str, type[BaseModel]] = {
        "table": ConstantInitializer,
        "training": training.Training,
        "augment": training.Augment,
    }
    for kind in (*vars(layers).values(), *vars(blocks).values(), *vars(training).values()):
        if isinstance(kind, type) and issubclass(kind, BaseModel) and "type" in kind.model_fields:
            parts[str(kind.model_fields["type"].default)] = kind
    parent = str(loc[-2]) if len(loc) > 1 else ""
    return sorted(parts.get(parent, Spec).model_fields)
