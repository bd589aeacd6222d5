"""The network drawn: what an image becomes from layer to layer, and what each layer costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.show.gather import Case
from harness.spec import Block, Network, Node, Part, infer

TALL, WIDE = 84.0, 46.0  # of the largest volume's front, in pixels
SLANT = 0.34  # how far depth is drawn to the right and upwards
# The families of layers that have colours of their own.
KINDS = {
    "conv2d": "conv",
    "conv1d": "conv",
    "conv3d": "conv",
    "conv2d_transpose": "conv",
    "dense": "dense",
    "max_pool": "pool",
    "avg_pool": "pool",
    "global_avg_pool": "pool",
    "global_max_pool": "pool",
    "batch_norm": "norm",
    "layer_norm": "norm",
    "group_norm": "norm",
    "residual": "block",
    "concat": "block",
    "gate": "block",
    "sequence": "block",
}


@dataclass(frozen=True)
class Volume:
    """What is between two layers, as a box: `front`, `top` and `side` are points of polygons."""

    name: str
    kind: str
    words: str
    shape: str
    width: float
    height: float
    front: str
    top: str
    side: str


@dataclass(frozen=True)
class Item:
    """A layer or block in the list of layers; `branches` are those of a block, and their names."""

    path: str
    kind: str
    words: str
    shape: str
    parameters: int
    flops: int
    parameter_share: float
    flop_share: float
    branches: Sequence[tuple[str, Sequence[Item]]] = ()


@dataclass(frozen=True)
class Drawing:
    """A network drawn, with its totals."""

    volumes: Sequence[Volume]
    items: Sequence[Item]
    parameters: int
    flops: int
    layers: int
    input: str


def draw(case: Case) -> Drawing | None:
    """Return the drawing of a case's network, if its spec is known."""
    if case.spec is None:
        return None
    network = infer(case.spec)
    largest = max(math.prod(part.output_shape[:-1]) for part in _shapes(network))
    first = _volume("images", "input", "", network.input_shape, largest)
    return Drawing(
        [first, *(_of_part(part, largest) for part in network.parts)],
        [_item(part, network) for part in network.parts],
        network.parameter_count,
        network.flops_per_image,
        len(network.nodes),
        _by(network.input_shape),
    )


@dataclass(frozen=True)
class _Input:
    output_shape: tuple[int, ...]


def _shapes(network: Network) -> list[_Input | Part]:
    return [_Input(network.input_shape), *network.parts]


def _of_part(part: Part, largest: int) -> Volume:
    return _volume(part.name, _kind(part), words_of(part), part.output_shape, largest)


def _volume(name: str, kind: str, words: str, shape: tuple[int, ...], largest: int) -> Volume:
    """Draw a volume: its front is as high as the image, as thick as there are channels.

    Sides go by the square root, and channels by the logarithm, so that a first layer and a last one
    can be seen in one drawing.
    """
    size, channels = math.prod(shape[:-1]), shape[-1]
    thick = 4 + WIDE * math.log2(1 + channels) / 13
    if len(shape) == 1:  # a vector: a thin pole, higher for more units
        high, thick, deep = 12 + (TALL - 12) * min(math.log2(1 + channels) / 12, 1), 7.0, 5.0
    else:
        high = 10 + (TALL - 10) * math.sqrt(math.sqrt(size / largest))
        deep = high * SLANT if len(shape) > 2 else 5.0
    top, right = TALL * (1 + SLANT) - high, thick + deep

    def polygon(*points: tuple[float, float]) -> str:
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)

    bottom = top + high
    return Volume(
        name,
        kind,
        words,
        _by(shape),
        right + 2,
        TALL * (1 + SLANT) + 2,
        polygon((0, top), (thick, top), (thick, bottom), (0, bottom)),
        polygon((0, top), (deep, top - deep), (right, top - deep), (thick, top)),
        polygon((thick, top), (right, top - deep), (right, bottom - deep), (thick, bottom)),
    )


def _item(part: Part, network: Network) -> Item:
    nodes = [part] if isinstance(part, Node) else _nodes(part)
    parameters = sum(p.size for node in nodes for p in node.parameters)
    flops = sum(node.flops for node in nodes)
    branches: list[tuple[str, Sequence[Item]]] = []
    if isinstance(part, Block):
        for name, branch in zip(_branch_names(part), part.branches, strict=False):
            branches.append((name, [_item(child, network) for child in branch]))
    return Item(
        part.path,
        _kind(part),
        words_of(part),
        _by(part.output_shape),
        parameters,
        flops,
        100 * parameters / max(network.parameter_count, 1),
        100 * flops / max(network.flops_per_image, 1),
        branches,
    )


def _nodes(block: Block) -> list[Node]:
    found: list[Node] = []
    for child in block.children:
        found += [child] if isinstance(child, Node) else _nodes(child)
    return found


def _branch_names(block: Block) -> list[str]:
    if block.kind == "residual":
        return ["body", "shortcut" if block.branches[1] else "shortcut: the block's input"]
    if block.kind == "concat":
        return [f"branch {n + 1}" for n in range(len(block.branches))]
    return ["gate" if block.kind == "gate" else ""]


def _kind(part: Part) -> str:
    kind = part.kind if isinstance(part, Block) else part.layer.type
    return KINDS.get(kind, "plain")


def words_of(part: Part) -> str:
    """Return what a layer is, with the numbers that people ask for first."""
    activation = "" if part.activation == "linear" else part.activation
    if isinstance(part, Block):
        kind = {"gate": "squeeze-excite"}.get(part.kind, part.kind)
        return ", ".join(filter(None, [kind, activation]))
    layer, kind = part.layer, part.layer.type
    if kind == "activation":
        return activation
    facts = [kind.replace("_", " ")]
    for name in ("kernel", "size"):
        value = getattr(layer, name, None)
        if value is not None:
            facts[0] += f" {_by(value) if isinstance(value, tuple) else value}"
    stride = getattr(layer, "stride", 1)
    if stride not in (1, (1,), (1, 1), (1, 1, 1), None) and "pool" not in kind:
        facts.append(f"stride {_by(stride) if isinstance(stride, tuple) else stride}")
    rate = getattr(layer, "rate", None)
    if rate is not None:
        facts.append(f"{rate:g}")
    return ", ".join(filter(None, [*facts, activation]))


def _by(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
