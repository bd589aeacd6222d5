"""What was found where a backend differs, and all that is known around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from harness.check.material import Material
from harness.check.places import Answer, Array, Place
from harness.spec import Node, infer

CLOSE = 0.01  # of the difference that is to be explained
Again = Callable[[Material], Answer]


@dataclass(frozen=True, eq=False)
class Evidence:
    """The first place that differs, what was found there and what is right, and all around it.

    `again` asks the reference this rung's question about other material.
    """

    place: Place
    found: Answer
    right: Answer
    material: Material
    again: Again

    @property
    def here(self) -> tuple[Array, Array]:
        """What was found in the place, and what is right."""
        return self.found[self.place].astype(np.float64), self.right[self.place].astype(np.float64)

    @property
    def node(self) -> Node | None:
        """The layer that the place names, or that its parameter belongs to."""
        known = {node.path: node for node in infer(self.material.spec).nodes}
        path = self.place.path
        while path and path not in known:  # `conv1.kernel.velocity` belongs to `conv1`
            path = path.rpartition(".")[0]
        return known.get(path)

    def is_like(self, other: Array | None) -> bool:
        """Whether what was found is `other`, to a hundredth of its distance from what is right."""
        found, right = self.here
        if other is None or other.shape != found.shape:
            return False
        distance = float(np.abs(found - right).max(initial=0.0))
        return float(np.abs(found - other).max(initial=0.0)) <= CLOSE * distance

    @property
    def factor(self) -> float:
        """Return the number that all values are multiplied by; 0 where there is none."""
        found, right = self.here
        squares = float((right**2).sum())
        if found.shape != right.shape or not squares:
            return 0.0
        factor = float((found * right).sum()) / squares
        return factor if self.is_like(factor * right) else 0.0
