"""Blocks: layers made of layers, nested as deep as a network needs, and repeated.

A block's own layers are named within it, and reached by dotted paths: `stage1.0.conv1` is the
layer `conv1` of the first block of `stage1`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from harness.spec.layers import (
    Activation,
    ActivationLayer,
    Conv,
    Conv2DTranspose,
    Count,
    Dense,
    Dropout,
    Flatten,
    InnerActivation,
    LayerBase,
    Leaf,
    activation_of,
    spread,
)
from harness.spec.names import Name

MAX_REPEAT = 1000
MAX_DEPTH = 10


def _not_softmax(value: object) -> object:
    if value == "softmax":
        raise ValueError("does not belong inside a block; allowed: as the last layer of all")
    return value


def _not_empty(value: tuple[Any, ...]) -> tuple[Any, ...]:
    # Not min_length, which counts sound layers only: a mistake in one would be reported twice.
    if not value:
        raise ValueError("is empty; allowed: one layer or more")
    return value


def _several(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(value) < 2:
        raise ValueError("has fewer than two branches; allowed: two or more")
    return value


BlockActivation = Annotated[InnerActivation, BeforeValidator(_not_softmax)]


class BlockBase(LayerBase):
    """What every block has.

    `repeat` puts that many copies one after the other, each with weights of its own; a named
    block that is repeated becomes a sequence of that name. `family` is what the class of the
    block is called in generated source; blocks of one structure share one class.
    """

    repeat: Annotated[int, Field(ge=1, le=MAX_REPEAT)] = 1
    family: Name | None = None


class Sequence(BlockBase):
    """Layers one after the other. If all are blocks, those without a name are numbered from 0."""

    type: Literal["sequence"] = "sequence"
    layers: Body


class Residual(BlockBase):
    """The body's output plus the shortcut's, then the activation (He et al. 2015).

    A shortcut without layers is the identity. Its layers have paths such as
    `block1.shortcut.conv1`.
    """

    type: Literal["residual"] = "residual"
    body: Body
    shortcut: tuple[Layer, ...] = ()
    activation: BlockActivation = "linear"


class Concat(BlockBase):
    """The outputs of all branches, each from the same input, beside each other as channels.

    A branch without layers is the input itself. Layers have paths such as
    `block1.branch2.conv1`.
    """

    type: Literal["concat"] = "concat"
    branches: Annotated[
        tuple[tuple[Layer, ...], ...],
        AfterValidator(_several),
        Field(json_schema_extra={"minItems": 2}),
    ]


class SqueezeExcite(BlockBase):
    """Channels weighted by what all of them hold on average (Hu et al. 2018).

    The input times `gate(expand(activation(reduce(mean of the pixels))))`, of which `reduce` is
    a dense layer of `units`, `expand` one of as many units as there are channels.
    """

    type: Literal["squeeze_excite"] = "squeeze_excite"
    units: Count
    activation: BlockActivation = "relu"
    gate: BlockActivation = "sigmoid"


Body = Annotated[
    tuple["Layer", ...], AfterValidator(_not_empty), Field(json_schema_extra={"minItems": 1})
]
AnyBlock = Sequence | Residual | Concat | SqueezeExcite
AnyLayer = Leaf | AnyBlock
Layer = Annotated[AnyLayer, Field(discriminator="type")]
for _kind in (Sequence, Residual, Concat):
    _kind.model_rebuild()

LAYER_TYPES: tuple[str, ...] = tuple(
    kind.model_fields["type"].default for kind in (*get_args(Leaf), *get_args(AnyBlock))
)
BLOCK_TYPES = tuple(kind.model_fields["type"].default for kind in get_args(AnyBlock))

# What an unnamed layer is called: conv1, pool1, ... counted by kind.
NAME_STEMS = {
    "conv1d": "conv",
    "conv2d": "conv",
    "conv3d": "conv",
    "conv2d_transpose": "conv",
    "max_pool": "pool",
    "avg_pool": "pool",
    "global_avg_pool": "pool",
    "global_max_pool": "pool",
    "batch_norm": "bn",
    "layer_norm": "norm",
    "group_norm": "norm",
    "channel_scale": "scale",
    "sequence": "block",
    "residual": "block",
    "concat": "block",
    "squeeze_excite": "se",
}


def inner_lists(layer: AnyLayer) -> list[tuple[str, tuple[AnyLayer, ...]]]:
    """The lists of layers inside `layer`, each with its field: `[("body", ...), ...]`."""
    match layer:
        case Sequence():
            return [("layers", layer.layers)]
        case Residual():
            return [("body", layer.body), ("shortcut", layer.shortcut)]
        case Concat():
            return [(f"branches[{i}]", branch) for i, branch in enumerate(layer.branches)]
    return []


def name_layers(data: Any, axes: int, depth: int = 0, are_numbered: bool = False) -> Any:
    """Give unnamed layers of a raw list their kind's name and number: conv1, pool1, conv2, ...

    In lists within blocks too. `are_numbered`: of a sequence of nothing but blocks, which are
    numbered when the network is made, as a repeated block takes several numbers. `axes` is the
    number of those that windows slide along: `size = 2` of a pool means as many twos.

    Raises:
        ValueError: blocks are nested more than `MAX_DEPTH` deep.

    """
    if depth > MAX_DEPTH:
        raise ValueError(f"layers: blocks within blocks, more than {MAX_DEPTH} deep; nest less")
    if not isinstance(data, list | tuple):
        return data
    seen: Counter[str | None] = Counter()
    named = []
    for layer in data:
        if isinstance(layer, dict) and isinstance(layer.get("type"), str):
            kind = layer["type"]
            stem = NAME_STEMS.get(kind, kind)
            seen[stem] += 1
            if not are_numbered:
                layer = {"name": f"{stem}{seen[stem]}", **layer}
            elif layer.get("name") == "":  # as a spec that was written as JSON has it
                layer = {field: value for field, value in layer.items() if field != "name"}
            else:
                layer = {**layer}
            if kind in ("max_pool", "avg_pool") and axes != 2:
                layer = spread(layer, axes)
            for field in ("body", "shortcut", "layers"):
                if field in layer:
                    inner = layer[field]
                    is_stage = field == "layers" and _are_blocks(inner)
                    layer[field] = name_layers(inner, axes, depth + 1, is_stage)
            if isinstance(branches := layer.get("branches"), list | tuple):
                layer["branches"] = tuple(
                    name_layers(branch, axes, depth + 1) for branch in branches
                )
        named.append(layer)
    return tuple(named)


def _are_blocks(data: Any) -> bool:
    return isinstance(data, list | tuple) and all(
        isinstance(layer, dict) and layer.get("type") in BLOCK_TYPES for layer in data
    )


def repeated_names(layers: tuple[AnyLayer, ...], path: str = "layers") -> Iterator[str]:
    """Yield a message for each name that two layers of one list have, in every list."""
    seen: dict[str, int] = {}
    for index, layer in enumerate(layers):
        first = seen.setdefault(layer.name or f"[{index}]", index)
        if first != index:
            yield (
                f"{path}[{index}].name: {layer.name!r} is the name of {path}[{first}] too; "
                "names must be unique"
            )
        for field, inner in inner_lists(layer):
            yield from repeated_names(inner, f"{path}[{index}].{field}")


def inner_softmaxes(layers: tuple[AnyLayer, ...], path: str = "layers") -> Iterator[str]:
    """Yield a message for each softmax inside a block, which none of the losses could fold."""
    for index, layer in enumerate(layers):
        for field, inner in inner_lists(layer):
            place = f"{path}[{index}].{field}"
            for position, one in enumerate(inner):
                if not isinstance(one, BlockBase) and activation_of(one) == "softmax":
                    yield (
                        f"{place}[{position}] {one.name!r}: softmax does not belong inside a "
                        "block; allowed: as the last layer of all"
                    )
            yield from inner_softmaxes(inner, place)


def count_layers(layers: tuple[AnyLayer, ...]) -> int:
    """Number of layers once all repeats are written out; blocks count with what they hold."""
    total = 0
    for layer in layers:
        inner = sum(count_layers(each) for _, each in inner_lists(layer))
        total += (1 + inner) * (layer.repeat if isinstance(layer, BlockBase) else 1)
    return total


def passes_probabilities(layer: AnyLayer) -> bool:
    """Whether a softmax before `layer` would still be one after it, or merely be scaled."""
    return isinstance(layer, Dropout | Flatten | ActivationLayer)


def last_activation(layer: AnyLayer) -> Activation:
    """The activation that a top-level `layer` ends with; of a block, the one after its sum."""
    if isinstance(layer, Residual):
        return layer.activation
    return "linear" if isinstance(layer, BlockBase) else activation_of(layer)


def final_activation(layers: tuple[AnyLayer, ...]) -> Activation:
    """What the output of `layers` has been through last, at the end of a sequence as well."""
    for layer in reversed(layers):
        if isinstance(layer, Sequence):
            return final_activation(layer.layers)
        is_linear = isinstance(layer, ActivationLayer) and layer.function == "linear"
        if not is_linear and not isinstance(layer, Dropout | Flatten):
            return last_activation(layer)
    return "linear"


def has_activation(layer: AnyLayer) -> bool:
    """Whether the layer's `activation` may be folded into a loss."""
    return isinstance(layer, Conv | Conv2DTranspose | Dense | ActivationLayer)
