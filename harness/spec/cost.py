"""What the layers of a network cost at least: operations, and bytes to and from memory.

The terms are those of the roofline model (Williams, Waterman and Patterson 2009). Operations are
those of `Node.flops`: of convolutions and matrix products, by their definition. Traffic is that of
a program which goes layer by layer, and reads and writes every value once:

- forward, a layer reads its input and its parameters, and writes its output
- backward, it reads the gradient of its output, and where something was learnt before it, writes
  that of its input; convolutions, dense layers and norms read their input once more, and write the
  gradients of their parameters
- the optimizer reads the gradient, and reads and writes each parameter and each of its slots

Activations, dropout, factors of channels, flattening and the sums, joins and gates of blocks cost
nothing here: they can be part of a neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from harness.spec.layers import (
    AvgPool,
    BatchNorm,
    Conv,
    Conv2DTranspose,
    Dense,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    MaxPool,
)
from harness.spec.model import Spec
from harness.spec.network import infer
from harness.spec.nodes import Node, Part

PRODUCTS = (Conv, Conv2DTranspose, Dense)
NORMS = (BatchNorm, LayerNorm, GroupNorm)
POOLS = (MaxPool, AvgPool, GlobalAvgPool, GlobalMaxPool)


@dataclass(frozen=True)
class Cost:
    """One layer's way forward or backward, or its update; `path` is the layer's.

    `values` are those of activations and their gradients that are moved for each image,
    `parameters` those of parameters, their gradients and slots that are moved for each batch.
    `flops` are for each image.
    """

    path: str
    flops: int
    values: int
    parameters: int


def prediction_costs(spec: Spec) -> list[Cost]:
    """Return the cost of every layer's way forward, in the order in which they run."""
    return [_forward(node) for node in infer(spec).nodes if _moves(node)]


def training_costs(spec: Spec) -> list[Cost]:
    """Return the costs of one training step: forward, backward and update of every layer.

    A convolution or dense layer multiplies twice as it goes back: for the gradient of its kernel,
    and for that of its input. The latter is needed only where something is learnt before it.
    """
    network, found = infer(spec), []
    slots = len(spec.training.optimizer.slots)
    for node, learnt_before in _with_past(network.parts, False):
        if _moves(node):
            found += [_forward(node), _backward(node, learnt_before)]
        if node.parameters:
            found.append(Cost(node.path, 0, 0, (3 + 2 * slots) * _size(node)))
    return found


def training_flops(spec: Spec) -> int:
    """Operations of one training step for each image, a multiply-add counted as two."""
    return sum(cost.flops for cost in training_costs(spec))


def _forward(node: Node) -> Cost:
    values = math.prod(node.input_shape) + math.prod(node.output_shape)
    return Cost(node.path, node.flops, values, _size(node))


def _backward(node: Node, learnt_before: bool) -> Cost:
    into, out = math.prod(node.input_shape), math.prod(node.output_shape)
    if isinstance(node.layer, POOLS):
        return Cost(node.path, 0, (into + out) * learnt_before, 0)
    if not learnt_before and not node.parameters:
        return Cost(node.path, 0, 0, 0)
    # The kernel is read for the gradient of the input, and its own gradient is written.
    parameters = _size(node) * (2 if learnt_before else 1)
    flops = node.flops * (2 if learnt_before else 1)
    return Cost(node.path, flops, into + out + into * learnt_before, parameters)


def _moves(node: Node) -> bool:
    return isinstance(node.layer, (*PRODUCTS, *NORMS, *POOLS))


def _size(node: Node) -> int:
    return sum(parameter.size for parameter in node.parameters)


def _with_past(parts: tuple[Part, ...], learnt: bool) -> Iterator[tuple[Node, bool]]:
    """Yield every node, and whether there are parameters on a way from the images to it."""
    for part in parts:
        if isinstance(part, Node):
            yield part, learnt
            learnt = learnt or bool(part.parameters)
        else:
            for branch in part.branches:
                yield from _with_past(branch, learnt)
            learnt = learnt or _learns(part.children)


def _learns(parts: tuple[Part, ...]) -> bool:
    return any(
        bool(part.parameters) if isinstance(part, Node) else _learns(part.children)
        for part in parts
    )
