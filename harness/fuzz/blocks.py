"""Blocks drawn for the shape that they get, nested and repeated; branches that meet fit."""

from __future__ import annotations

from pydantic import ValidationError

from harness.errors import SpecError
from harness.fuzz.layers import (
    INNER_ACTIVATIONS,
    MOST_FILTERS,
    MOST_UNITS,
    Draw,
    Fields,
    Shape,
    bias_and_activation,
    drawn_layer,
    one_of,
    output_shape,
    rarely,
    up_to,
)

MOST_INNER, MOST_DEPTH, MOST_REPEAT, MOST_VALUES = 3, 3, 3, 2000
FAMILIES = ("unit", "cell", "adam")  # the last is the name of a class that a source may have


def drawn_layers(draw: Draw, shape: Shape, depth: int, reduces: bool = False) -> list[Fields]:
    """Draw the layers of a block, one or more; blocks among them, unless `depth` is 0."""
    layers = [drawn_item(draw, shape, depth, reduces)]
    while len(layers) < MOST_INNER and up_to(draw, 2, 0):
        layers.append(drawn_item(draw, output_shape(layers, shape), depth, reduces))
    return [_perhaps_named(draw, layer, number) for number, layer in enumerate(layers)]


def drawn_item(draw: Draw, shape: Shape, depth: int, reduces: bool) -> Fields:
    """Draw a layer, or a block, of whose activations none is a softmax."""
    if depth and rarely(draw):
        return drawn_block(draw, shape, depth, reduces)
    return drawn_layer(draw, shape, INNER_ACTIVATIONS, reduces)


def drawn_block(draw: Draw, shape: Shape, depth: int, reduces: bool) -> Fields:
    """Draw a block for an input of `shape`, in which blocks are nested up to `depth` deep."""
    kinds = ("sequence", "residual", "concat", *(["squeeze_excite"] if len(shape) > 1 else []))
    kind = one_of(draw, *kinds)
    fields: Fields = {"type": kind}
    match kind:
        case "sequence":
            fields["layers"] = tuple(_sequence(draw, shape, depth - 1, reduces))
        case "residual":
            fields |= _residual(draw, shape, depth - 1)
        case "concat":
            fields["branches"] = _branches(draw, shape, depth - 1)
        case "squeeze_excite":
            fields["units"] = up_to(draw, MOST_UNITS)
            for field, default in (("activation", "relu"), ("gate", "sigmoid")):
                function = one_of(draw, default, *INNER_ACTIVATIONS)
                fields |= {} if function == default else {field: function}
    if rarely(draw):
        fields["family"] = one_of(draw, *FAMILIES)
    counts = range(1, MOST_REPEAT + 1)
    repeats = [n for n in counts if n == 1 or _fits({**fields, "repeat": n}, shape)]
    repeat = one_of(draw, *repeats) if rarely(draw) else 1
    return fields if repeat == 1 else {**fields, "repeat": repeat}


def _fits(block: Fields, shape: Shape) -> bool:
    """Whether the copies of a block can follow each other, without growing too large."""
    try:
        output = output_shape([block], shape)
    except (SpecError, ValidationError):
        return False
    size = 1
    for pixels in output:
        size *= pixels
    return size <= MOST_VALUES


def _sequence(draw: Draw, shape: Shape, depth: int, reduces: bool) -> list[Fields]:
    """Draw a sequence; one time in five of nothing but blocks, which are numbered then."""
    if not depth or not rarely(draw):
        return drawn_layers(draw, shape, depth, reduces)
    blocks = [drawn_block(draw, shape, depth, False)]
    if up_to(draw, 1, 0):
        blocks.append(drawn_block(draw, output_shape(blocks, shape), depth, False))
    return blocks


def _residual(draw: Draw, shape: Shape, depth: int) -> Fields:
    body = drawn_layers(draw, shape, depth)
    output = output_shape(body, shape)
    fields: Fields = {"body": tuple(body)}
    if output != shape or rarely(draw):
        fields["shortcut"] = (*_before(draw, shape), _fitting(draw, shape, output, output[-1]))
    activation = one_of(draw, *INNER_ACTIVATIONS)
    return fields if activation == "linear" else {**fields, "activation": activation}


def _branches(draw: Draw, shape: Shape, depth: int) -> tuple[tuple[Fields, ...], ...]:
    """Draw branches that end in as many pixels as the first; an empty one is the input."""
    first = drawn_layers(draw, shape, depth)
    output = output_shape(first, shape)
    branches = [tuple(first)]
    for _ in range(up_to(draw, 2)):
        if output[:-1] == shape[:-1] and rarely(draw):
            branches.append(())
        else:
            channels = up_to(draw, MOST_FILTERS)
            fitting = _fitting(draw, shape, output, channels)
            branches.append((*_before(draw, shape), fitting))
    if rarely(draw):
        branches.reverse()
    return tuple(branches)


def _before(draw: Draw, shape: Shape) -> list[Fields]:
    """Draw a layer that changes no shape, or none."""
    if not rarely(draw):
        return []
    kind = one_of(draw, "activation", "channel_scale", "batch_norm")
    options: dict[str, Fields] = {
        "activation": {"function": one_of(draw, *INNER_ACTIVATIONS)},
        "batch_norm": {"decay": 0.9, "epsilon": 1e-3},
    }
    return [{"type": kind, **options.get(kind, {})}]


def _fitting(draw: Draw, shape: Shape, wanted: Shape, channels: int) -> Fields:
    """Draw a layer from `shape` to as many pixels as `wanted` has, and so many channels."""
    end = bias_and_activation(draw, INNER_ACTIVATIONS)
    if len(shape) == 1:
        return {"type": "dense", "units": channels, **end}
    kernel, pads = [], []
    for n, m in zip(shape[:-1], wanted[:-1], strict=True):
        kernel.append(max(n - m + 1, 1))
        pads.append((max(m - n, 0) // 2, max(m - n, 0) - max(m - n, 0) // 2))
    fields: Fields = {"type": f"conv{len(kernel)}d", "filters": channels, "kernel": tuple(kernel)}
    steps = {-(-n // m) for n, m in zip(shape[:-1], wanted[:-1], strict=True)}
    step = min(steps)
    if len(steps) == 1 and all(
        -(-n // step) == m for n, m in zip(shape[:-1], wanted[:-1], strict=True)
    ):
        # What a person would write: kernel 1 with the stride of the other way.
        return {**fields, "kernel": 1, **({"stride": step} if step > 1 else {}), **end}
    return {**fields, **({"padding": tuple(pads)} if any(map(sum, pads)) else {}), **end}


def _perhaps_named(draw: Draw, layer: Fields, number: int) -> Fields:
    """Give a layer a name of its own, now and then, instead of its kind's and a number."""
    return {**layer, "name": f"own_{number}"} if rarely(draw) else layer
