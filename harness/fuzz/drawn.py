"""Whole specs drawn at random: valid ones, of every layer, block, loss and optimizer there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from hypothesis import strategies as st

from harness.fuzz.blocks import drawn_block
from harness.fuzz.layers import (
    ACTIVATIONS,
    INNER_ACTIVATIONS,
    REDUCING,
    Draw,
    Fields,
    Shape,
    drawn_layer,
    one_of,
    output_shape,
    rarely,
    up_to,
)
from harness.fuzz.training import drawn_training
from harness.spec import Spec
from harness.spec.initializers import Scheme

MOST_LAYERS, MOST_DEPTH = 4, 3
SIDES = {1: (4, 16), 2: (3, 10), 3: (3, 5)}  # pixels, least and most, of as many axes
MOST_CHANNELS, MOST_OUTPUTS = 4, 4
# What a softmax comes through as one, and a second must not follow.
PASSING = ("activation", "dropout", "flatten")


@st.composite
def spec_fields(draw: st.DrawFn) -> Fields:
    """Draw a spec as the fields of its TOML file."""
    axes = one_of(draw, 2, 2, 1, 3)
    least, most = SIDES[axes]
    shape: Shape = (*(up_to(draw, most, least) for _ in range(axes)), up_to(draw, MOST_CHANNELS))
    training = drawn_training(draw)
    layers: list[Fields] = []
    for _ in range(MOST_LAYERS):
        if not up_to(draw, 4, 0):
            break
        now = output_shape(layers, shape)
        if up_to(draw, 3, 0) == 3:
            layers.append(drawn_block(draw, now, MOST_DEPTH, reduces=rarely(draw)))
        else:
            allowed = INNER_ACTIVATIONS if _passes_softmax(layers) else ACTIVATIONS
            layers.append(drawn_layer(draw, now, allowed, reduces=rarely(draw)))
    layers += _ending(draw, output_shape(layers, shape), training["loss"])
    initializer = one_of(draw, *get_args(Scheme))
    fields: Fields = {"name": "drawn", "input": shape}
    fields |= {} if initializer == get_args(Scheme)[0] else {"initializer": initializer}
    return {**fields, "layers": tuple(layers), "training": training}


def specs() -> st.SearchStrategy[Spec]:
    """Return a strategy for valid specs, small enough for a second of every backend."""
    return spec_fields().map(read_fields)


def read_fields(fields: Fields) -> Spec:
    """Return the spec with these fields."""
    return Spec.model_validate(fields)


def _passes_softmax(layers: Sequence[Fields]) -> bool:
    """Whether what comes out of `layers` has been through a softmax, and nothing since."""
    for layer in reversed(layers):
        if "softmax" in (layer.get("activation"), layer.get("function")):
            return True
        if layer["type"] not in PASSING:
            break
    return False


def _ending(draw: Draw, shape: Shape, loss: str) -> list[Fields]:
    """Draw the last layers: an output that is a vector, with an activation that suits the loss."""
    usual = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}.get(loss, "linear")
    unsuited = "softmax" if loss == "binary_cross_entropy" else ""
    last: list[str] = [name for name in (usual, *ACTIVATIONS) if name != unsuited]
    activation = one_of(draw, *last) if rarely(draw) else one_of(draw, usual, "linear")
    outputs = up_to(draw, MOST_OUTPUTS, 2 if loss == "cross_entropy" else 1)
    reduced: list[Fields] = [{"type": one_of(draw, *REDUCING)}] if len(shape) > 1 else []
    if reduced and rarely(draw):  # no dense layer at all, as in SqueezeNet
        kind = f"conv{len(shape) - 1}d"
        head: Any = {"type": kind, "filters": outputs, "kernel": 1, "padding": "same"}
        pool = {"type": one_of(draw, "global_avg_pool", "global_max_pool")}
        return [head, pool, {"type": "activation", "function": activation}]
    units = {"type": "dense", "units": outputs}
    return [*reduced, units if activation == "linear" else {**units, "activation": activation}]
