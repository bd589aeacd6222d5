"""Every field of every part of a spec, one mistake at a time: one message, with its place."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from spec_examples import problem, problems
from spec_mistakes import INSIDE, WRONG, Mistakes, inline

from harness.spec import Spec, parse_spec
from harness.spec.layers import Model

DATE = datetime.date(2020, 1, 31)


def models(kind: type[Model] = Spec, found: dict[str, type[Model]] | None = None) -> Any:
    """All models that a spec may be made of, by name, found through their fields."""
    found = {} if found is None else found
    if kind.__name__ not in found:
        found[kind.__name__] = kind
        for field in kind.model_fields.values():
            for one in _types(field.annotation):
                if isinstance(one, type) and issubclass(one, Model):
                    models(one, found)
    return found


def _types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for inner in get_args(annotation):
        yield from _types(inner)


MODELS = models()

# A sound part of each kind: its fields besides the type, and the input of a network that has it.
IMAGE, DROP = [8, 8, 4], {"type": "dropout", "rate": 0.1}
CONV = {"filters": 4, "kernel": 3}
LAYERS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "Conv1D": (CONV, [9, 4]),
    "Conv2D": (CONV, IMAGE),
    "Conv3D": (CONV, [5, 5, 5, 4]),
    "Conv2DTranspose": (CONV, IMAGE),
    "MaxPool": ({"size": 2}, IMAGE),
    "AvgPool": ({"size": 2}, IMAGE),
    "GlobalAvgPool": ({}, IMAGE),
    "GlobalMaxPool": ({}, IMAGE),
    "BatchNorm": ({"decay": 0.9, "epsilon": 1e-3}, IMAGE),
    "LayerNorm": ({"epsilon": 1e-3}, IMAGE),
    "GroupNorm": ({"groups": 2, "epsilon": 1e-3}, IMAGE),
    "ChannelScale": ({}, IMAGE),
    "Flatten": ({}, IMAGE),
    "Dense": ({"units": 3}, IMAGE),
    "Dropout": ({"rate": 0.1}, IMAGE),
    "ActivationLayer": ({"function": "relu"}, IMAGE),
    "Sequence": ({"layers": [DROP]}, IMAGE),
    "Residual": ({"body": [DROP]}, IMAGE),
    "Concat": ({"branches": [[], [DROP]]}, IMAGE),
    "SqueezeExcite": ({"units": 2}, IMAGE),
}
OPTIMIZERS = {"Sgd": {"learning_rate": 0.1}, "Adam": {}, "AdamW": {}, "RmsProp": {}}
SCHEDULES = {"Constant": {}, "Step": {"epochs": [1]}, "Cosine": {}, "OneCycle": {}}
FLATTEN, DENSE = {"type": "flatten"}, {"type": "dense", "units": 3}


def place(name: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """A whole spec, the part of that kind in it, and its path."""
    part: dict[str, Any] = {}
    spec: dict[str, Any] = {"name": "example", "input": IMAGE, "layers": [FLATTEN, DENSE]}
    kind = MODELS[name].model_fields.get("type")
    tag = {"type": get_args(kind.annotation)[0]} if kind else {}
    if name in LAYERS:
        fields, size = LAYERS[name]
        part = {**tag, **fields}
        before = [FLATTEN] if name == "Dense" else []
        spec |= {"input": size, "layers": [*before, part, FLATTEN, DENSE]}
        return spec, part, f"layers[{len(before)}]."
    for field, kinds in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
        if name in kinds:
            part = {**tag, **kinds[name]}
            return {**spec, "training": {field: part}}, part, f"training.{field}."
    if name == "ConstantInitializer":
        part = {**tag, "value": 1.0}
        return {**spec, "initializer": part}, part, "initializer."
    if name == "Augment":
        part = {"flip": True}
        return {**spec, "training": {"augment": part}}, part, "training.augment."
    if name == "Training":
        return {**spec, "training": part}, part, "training."
    assert name == "Spec", f"{name} is a new part of a spec: where does it belong?"
    return spec, spec, ""


def toml(spec: dict[str, Any]) -> str:
    return "\n".join(f"{field} = {inline(value)}" for field, value in spec.items()) + "\n"


FIELDS = [
    (name, field) for name, kind in MODELS.items() for field in kind.model_fields if field != "type"
]


def mistakes(name: str, field: str) -> Mistakes:
    return WRONG.get(f"{name}.{field}", WRONG.get(field, []))


def cases() -> Iterator[Any]:
    for name, field in FIELDS:
        for number_, (value, words) in enumerate(mistakes(name, field)):
            yield pytest.param(name, field, value, words, id=f"{name}.{field}-{number_}")


@pytest.mark.parametrize("name", MODELS)
def test_the_parts_are_sound_before_a_mistake_is_made(name):
    parse_spec(toml(place(name)[0]), "example.toml")


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_there_is_a_mistake_to_be_made_in_every_field_of_every_part(name, field):
    assert mistakes(name, field), f"{name}.{field} is new: add what may be wrong in it to WRONG"


@pytest.mark.parametrize(("name", "field", "value", "words"), list(cases()))
def test_a_mistake_is_one_message_with_its_place_the_value_and_what_is_allowed(
    name, field, value, words
):
    spec, part, path = place(name)
    part[field] = value
    assert problem(toml(spec)) == f"{path}{field}: {words}"


@pytest.mark.parametrize("key", INSIDE)
def test_a_mistake_within_an_array_has_its_place_there(key):
    name, _, field = key.rpartition(".")
    value, words = INSIDE[key]
    name = name or ("Spec" if field == "input" else "")
    name = name or next(n for n, f in FIELDS if f == field and n != "Spec")
    spec, part, path = place(name)
    part[field] = value
    assert problem(toml(spec)).startswith(f"{path}{field}{words}")


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_date_is_right_nowhere(name, field):
    spec, part, path = place(name)
    part[field] = DATE
    assert problem(toml(spec)).startswith(f"{path}{field}: 2020-01-31 ")


@pytest.mark.parametrize("name", MODELS)
def test_as_many_mistakes_as_there_are_fields_are_as_many_messages(name):
    spec, part, path = place(name)
    fields = [field for field in MODELS[name].model_fields if field != "type"]
    part |= dict.fromkeys(fields, DATE)
    found = problems(toml(spec)) if fields else []
    assert sorted(line.partition(": ")[0] for line in found) == sorted(path + f for f in fields)


@pytest.mark.parametrize("name", MODELS)
def test_a_misspelt_field_is_named_with_the_one_that_is_meant(name):
    spec, part, path = place(name)
    field = max(MODELS[name].model_fields, key=len)
    part[f"{field}x"] = 1
    line = problem(toml(spec))
    assert line.startswith(f"{path}{field}x: unknown field; allowed: ")
    assert line.endswith(f"Did you mean {field!r}?")


@pytest.mark.parametrize("name", MODELS)
def test_each_field_that_must_be_there_is_missed(name):
    for field, info in MODELS[name].model_fields.items():
        if info.is_required():
            spec, part, path = place(name)
            del part[field]
            assert problem(toml(spec)) == f"{path}{field}: is missing"
