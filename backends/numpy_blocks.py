"""Blocks of layers in NumPy: sums, branches and gates, forward and backward by hand.

A block holds lists of layers, `branches`, and is a layer itself: its gradient with respect to
its input is the sum of what comes back through all that the input went into.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from backends.numpy_layers import Floats, Layer

Layers = list[Layer]


def forward(layers: Layers, x: Floats, training: bool) -> Floats:
    """Return the output of `layers`, one after the other; each keeps its own as `output`."""
    for layer in layers:
        x = layer.output = layer.forward(x, training)
    return x


def backward(layers: Layers, dy: Floats) -> Floats:
    """Return the gradient with respect to the input of `layers`."""
    for layer in reversed(layers):
        dy = layer.backward(dy)
    return dy


def leaves(layers: Layers) -> Iterator[Layer]:
    """Yield the layers that are no blocks, in the order in which they run."""
    for layer in layers:
        if isinstance(layer, Block):
            for branch in layer.branches:
                yield from leaves(branch)
        else:
            yield layer


class Block(Layer):
    """Base: branches of layers that all take the block's input."""

    def __init__(self, name: str, *branches: Layers) -> None:
        super().__init__(name)
        self.branches = branches


class Residual(Block):
    """`y = body(x) + shortcut(x)`; a shortcut without layers is `x`."""

    def forward(self, x: Floats, training: bool) -> Floats:
        """Add what the branches return."""
        body, shortcut = self.branches
        return forward(body, x, training) + forward(shortcut, x, training)

    def backward(self, dy: Floats) -> Floats:
        """The gradient of a sum goes to both of its terms."""
        body, shortcut = self.branches
        return backward(body, dy) + backward(shortcut, dy)


class Concat(Block):
    """`y = [branch1(x), branch2(x), ...]`, beside each other along the channels."""

    def forward(self, x: Floats, training: bool) -> Floats:
        """Put the branches' channels beside each other."""
        outputs = [forward(branch, x, training) for branch in self.branches]
        self.ends = np.cumsum([output.shape[-1] for output in outputs])[:-1]
        return np.concatenate(outputs, axis=-1)

    def backward(self, dy: Floats) -> Floats:
        """Each branch gets the gradient of its own channels."""
        parts = np.split(dy, self.ends, axis=-1)
        back = [backward(branch, part) for branch, part in zip(self.branches, parts, strict=True)]
        return np.sum(back, axis=0)


class Gate(Block):
    """`y[n,...,c] = x[n,...,c] g[n,c]`, where `g` is what the branch makes of `x`."""

    def forward(self, x: Floats, training: bool) -> Floats:
        """Multiply the channels."""
        gate = forward(self.branches[0], x, training)
        self.x = x
        self.gate = np.expand_dims(gate, tuple(range(1, x.ndim - 1)))
        return x * self.gate

    def backward(self, dy: Floats) -> Floats:
        """By the product rule: through the factor `x`, and through the gate."""
        pixels = tuple(range(1, dy.ndim - 1))
        return dy * self.gate + backward(self.branches[0], (dy * self.x).sum(pixels))
