"""The reference as if it rounded worse: what does rounding alone make of a network?

Frameworks add in other orders, so each rounds otherwise. Whatever goes into a layer, forward and
backward, is moved here by some roundings of the precision asked for, each value up or down at
random, and so are the weights. A sum so computed is a right one of such inputs (Wilkinson's
backward analysis): what differs no more than this does from the reference cannot be told from
rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from backends.numpy_backend import NumpySession
from backends.numpy_layers import Floats, Layer
from backends.numpy_norms import Norm
from harness.spec import Spec

# By how much a value is moved, relative: sixteen roundings, as a framework rounds in every
# operation. TF32 rounds what is multiplied, once, and nothing else: two roundings.
REACH = {"float32": 16 * 2.0**-24, "tf32": 2 * 2.0**-11, "float64": 16 * 2.0**-53}


class RoundedSession(NumpySession):
    """The reference, moved; what moves it is drawn from the seed of `reset`."""

    def __init__(self, module: Any, spec: Spec, reach: float) -> None:
        super().__init__(module, spec)
        self.reach = reach
        self.noise = np.random.default_rng(0)
        for layer in self.leaves:
            self._move_inputs(layer)

    def reset(self, parameters: Mapping[str, Floats], seed: int) -> None:
        """As the reference's, from weights that are moved."""
        self.noise = np.random.default_rng(seed)
        moved = {path: self._moved(np.asarray(v, np.float64)) for path, v in parameters.items()}
        super().reset(moved, seed)

    def _move_inputs(self, layer: Layer) -> None:
        forward, backward = layer.forward, layer.backward
        layer.forward = lambda x, training: forward(self._moved(x), training)  # type: ignore[method-assign]

        def moved_backward(dy: Floats) -> Floats:
            # A norm subtracts from a gradient what mean and variance take away again: of two
            # channels that is all but a millionth, if epsilon is small. What the subtraction
            # loses no change of the norm's input or gradient shows.
            if isinstance(layer, Norm):
                layer.normal = self._moved(layer.normal)
            return backward(self._moved(dy))

        layer.backward = moved_backward  # type: ignore[method-assign]

    def _moved(self, values: Floats) -> Floats:
        signs = np.where(self.noise.random(values.shape) < 0.5, -1.0, 1.0)
        return np.asarray(values * (1 + signs * self.reach))  # zeros stay
