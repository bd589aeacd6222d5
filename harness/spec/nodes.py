"""What a network is made of: nodes, which are layers in their place, and blocks of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from harness.spec.blocks import AnyBlock
from harness.spec.layers import Activation, Dropout, Leaf, Pads

Shape = tuple[int, ...]
Role = Literal["kernel", "bias", "scale", "offset", "mean", "variance"]
BlockKind = Literal["sequence", "residual", "concat", "gate"]


@dataclass(frozen=True)
class Parameter:
    """One array in canonical layout; `path` is `layer.role`, for example `conv1.kernel`.

    Kernels, biases, scales and offsets are trained; a mean and a variance are running
    statistics of a batch_norm.
    """

    path: str
    shape: Shape
    role: Role
    fan_in: int
    fan_out: int
    initial: float | None = None  # what it begins at, if that is not its role's

    @property
    def is_drawn(self) -> bool:
        """Whether its initial values are random."""
        return self.role == "kernel" and self.initial is None

    @property
    def begins_at(self) -> float:
        """What all values are before the first step, unless they are drawn."""
        return float(self.role in ("scale", "variance")) if self.initial is None else self.initial

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Node:
    """A layer in its place: what goes in, what comes out, what it learns and costs.

    `activation` is what the network itself applies: a final softmax or sigmoid that is folded
    into the loss is `linear` here. `statistics` are kept, but not trained. `flops` counts a
    multiply-add as two operations, forward, per image; only convolutions and matrix products
    count, as in torch.utils.flop_counter. `pads` is `((top, bottom), (left, right))` for layers
    with windows; a transposed convolution cuts off as many.

    `path` is unique in the network: `stage1.0.shortcut.conv1`. `name` is that within its block,
    as an identifier: `shortcut_conv1`.
    """

    layer: Leaf
    input_shape: Shape
    output_shape: Shape
    activation: Activation
    parameters: tuple[Parameter, ...] = ()
    statistics: tuple[Parameter, ...] = ()
    flops: int = 0
    pads: Pads = ((0, 0), (0, 0))
    path: str = ""
    name: str = ""


@dataclass(frozen=True)
class Block:
    """Layers of layers in their place: `branches` all begin at the block's input.

    A `sequence` has one branch. A `residual` has the body and the shortcut, empty if that is the
    identity; `activation` follows the sum. A `concat` has any number, whose outputs lie beside
    each other as channels; an empty one is the input. A `gate` has one, whose output `[c]`
    multiplies the channels of the input. `path` and `name` are as a node's.
    """

    layer: AnyBlock
    kind: BlockKind
    branches: tuple[tuple[Part, ...], ...]
    input_shape: Shape
    output_shape: Shape
    activation: Activation = "linear"
    path: str = ""
    name: str = ""

    @property
    def children(self) -> tuple[Part, ...]:
        """The parts of all branches, in the order in which they run."""
        return tuple(part for branch in self.branches for part in branch)

    @property
    def is_stage(self) -> bool:
        """Whether it is a sequence of nothing but blocks: a list in generated source, no class."""
        return self.kind == "sequence" and all(isinstance(part, Block) for part in self.children)


Part = Node | Block


def leaves(parts: tuple[Part, ...]) -> Iterator[Node]:
    """Yield the nodes of `parts` and of all blocks in them, in the order in which they run."""
    for part in parts:
        if isinstance(part, Node):
            yield part
        else:
            yield from leaves(part.children)


Address = tuple[str | int, ...]


def addresses(parts: tuple[Part, ...], prefix: Address = ()) -> dict[str, Address]:
    """Return how generated classes reach each node, by path.

    By attributes, which are names, and by places in the lists that stages are:
    `stage1.0.shortcut.conv1` is reached by `("stage1", 0, "shortcut_conv1")`.
    """
    found: dict[str, Address] = {}
    for part in parts:
        found |= _addresses(part, (*prefix, part.name))
    return found


def _addresses(part: Part, address: Address) -> dict[str, Address]:
    if isinstance(part, Node):
        return {part.path: address}
    if not part.is_stage:
        return addresses(part.children, address)
    found: dict[str, Address] = {}
    for index, child in enumerate(part.children):
        found |= _addresses(child, (*address, index))
    return found


@dataclass(frozen=True)
class Network:
    """The parts of a spec in the order in which they run."""

    input_shape: Shape
    parts: tuple[Part, ...]
    nodes: tuple[Node, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Gather the nodes once: they are asked for often."""
        object.__setattr__(self, "nodes", tuple(leaves(self.parts)))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, each after those inside it."""
        return tuple(_blocks(self.parts))

    @property
    def output_shape(self) -> Shape:
        """Shape of one image's output, without the batch dimension."""
        return self.parts[-1].output_shape

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All trainable arrays, in the order of the layers."""
        return tuple(p for node in self.nodes for p in node.parameters)

    @property
    def statistics(self) -> tuple[Parameter, ...]:
        """All running statistics, in the order of the layers."""
        return tuple(p for node in self.nodes for p in node.statistics)

    @property
    def parameter_count(self) -> int:
        """Number of trainable values."""
        return sum(p.size for p in self.parameters)

    @property
    def flops_per_image(self) -> int:
        """Operations of one forward pass over one image; see `Node.flops`."""
        return sum(node.flops for node in self.nodes)

    @property
    def dropouts(self) -> tuple[Node, ...]:
        """The nodes that take a mask in training."""
        return tuple(node for node in self.nodes if isinstance(node.layer, Dropout))


def _blocks(parts: tuple[Part, ...]) -> Iterator[Block]:
    for part in parts:
        if isinstance(part, Block):
            yield from _blocks(part.children)
            yield part
