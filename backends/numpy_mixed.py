"""Mixed precision of the reference: its layers, rounded to bfloat16 where the contract says so.

The layers themselves stay as they are, in float64: what goes in and comes out is rounded. So sums
are more exact than anyone else's, and what another backend may differ by is the order of its sums,
and a rounding more where it computes a layer in two operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends.numpy_blocks import Block, Layers
from backends.numpy_layers import ChannelScale, Conv, ConvTranspose, Dense, Layer

Floats = NDArray[np.float64]
DROPPED = 45  # of the 52 bits of a float64's fraction: a bfloat16 has 7


def to_bfloat16(values: Floats) -> Floats:
    """Round to the nearest bfloat16, ties to even; the result is float64 still.

    The exponents of bfloat16 are those of float32; what is too small or too large for them is
    not looked at.
    """
    bits = np.ascontiguousarray(values, np.float64).view(np.uint64)
    is_odd = (bits >> np.uint64(DROPPED)) & np.uint64(1)
    half = np.uint64(2 ** (DROPPED - 1) - 1)  # and one more for an odd number: to the even one
    kept = (bits + half + is_odd) & ~np.uint64(2**DROPPED - 1)
    return kept.view(np.float64)


def moved(values: Floats, random: np.random.Generator) -> Floats:
    """Return the values off by up to one step of bfloat16, as two more roundings may leave them.

    What is a bfloat16 already, rounding leaves alone.
    """
    step = 2.0 ** (np.frexp(values)[1] - 8)  # a fraction in [1/2, 1) has steps of 2^-8
    off = values + step * random.uniform(-1, 1, values.shape)
    return np.where(to_bfloat16(values) == values, values, off)


class Mixed:
    """Makes the layers of a model round.

    After a reset with a seed other than 0, every value is off by up to a step before it is
    rounded. What that makes of a network is the measure of how far others may be from it.
    """

    def __init__(self, layers: Layers) -> None:
        self.random: np.random.Generator | None = None
        self._wrap(layers)

    def reset(self, seed: int) -> None:
        """Round to nearest, or with another seed, nearly so."""
        self.random = np.random.default_rng(seed) if seed else None

    def rounded(self, values: Floats) -> Floats:
        """Return the values as bfloat16 has them."""
        return to_bfloat16(values if self.random is None else moved(values, self.random))

    def _wrap(self, layers: Layers) -> None:
        for layer in layers:
            if isinstance(layer, Block):
                for branch in layer.branches:
                    self._wrap(branch)
            # Of these, all parameters are rounded where they are used; a norm's are not.
            multiplies = isinstance(layer, Conv | ConvTranspose | Dense | ChannelScale)
            replaced: dict[str, Callable[..., Floats]] = {
                "forward": self._rounding(layer, layer.forward, multiplies),
                "backward": self._rounding(layer, layer.backward, multiplies),
            }
            vars(layer).update(replaced)

    def _rounding(
        self, layer: Layer, function: Callable[..., Floats], multiplies: bool
    ) -> Callable[..., Floats]:
        """Return a pass of a layer that rounds what it returns, and the parameters that it uses."""

        def call(*given: Any) -> Floats:
            kept = layer.parameters
            if multiplies:
                layer.parameters = {role: to_bfloat16(value) for role, value in kept.items()}
            result = function(*given)
            layer.parameters = kept
            if multiplies and function.__name__ == "backward":
                for role, gradient in layer.gradients.items():
                    layer.gradients[role] = self.rounded(gradient)
            return self.rounded(result)

        return call
