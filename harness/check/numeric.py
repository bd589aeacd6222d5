"""The reference's gradients against central differences of its own loss.

For a parameter p with the gradient g and a random direction d of length one,
`(loss(p + h d) - loss(p - h d)) / 2h` comes near `g . d` as h shrinks, until rounding takes over.
A step that crosses the bend of a ReLU, or lets another pixel win a max-pool's window, spoils it.
So several steps are tried, and the best counts: a gradient that is wrong is wrong with all.
"""

from __future__ import annotations

import numpy as np

from harness.check.material import Material
from harness.check.places import Answer, Array, Place, zero_gradients
from harness.check.questions import Ask

STEPS = (1e-6, 1e-7, 1e-5, 1e-4, 1e-8)
TOLERANCE = 1e-5
MOST = 24  # arrays that are checked, evenly chosen: each takes two passes or more


def compare_numerically(ask: Ask, material: Material, gradients: Answer) -> Answer:
    """Return, for the images and up to `MOST` parameters, how far the two derivatives differ.

    The difference is relative to what `g . d` is typically, `|g| / sqrt(size of p)`, or to
    `|g . d|` where that is more. Gradients that are zero but for rounding are left out.
    """
    random = np.random.default_rng([0xD1FF, 0])
    zeros = zero_gradients(gradients)
    places = [p for p in gradients if p.topic == "gradient" and p not in zeros]
    chosen = {round(n) for n in np.linspace(0, len(places) - 1, min(MOST, len(places)))}
    found: Answer = {}
    for number in sorted(chosen):
        place = places[number]
        gradient = gradients[place].astype(np.float64)
        direction = random.normal(size=gradient.shape)
        direction /= np.linalg.norm(direction)
        right = float((gradient * direction).sum())
        scale = max(abs(right), float(np.linalg.norm(gradient)) / gradient.size**0.5)
        slope, _ = nearest_slope(ask, material, place, direction, right, scale)
        found[Place("by hand and numeric", place.path)] = np.array(abs(slope - right) / scale)
    return found


def nearest_slope(
    ask: Ask, material: Material, place: Place, direction: Array, right: float, scale: float
) -> tuple[float, float]:
    """Return the central difference nearest to `right`, as parts of `scale`, and its step."""
    best = (np.inf, np.nan, np.nan)
    for step in STEPS:
        slope = _slope(ask, material, place, direction, step)
        best = min(best, (abs(slope - right) / scale, slope, step))
        if best[0] <= TOLERANCE / 10:
            break
    return best[1], best[2]


def _slope(ask: Ask, material: Material, place: Place, direction: Array, step: float) -> float:
    """Return the central difference of the loss along `direction`."""
    batch = material.checked
    at = batch["images"] if place.path == "images" else material.parameters[place.path]
    losses = []
    for sign in (1, -1):
        moved = at.astype(np.float64) + sign * step * direction
        if place.path == "images":
            ask("reset", material.parameters, seed=0)
            fields, _ = ask("gradients", {**batch, "images": moved})
        else:
            ask("reset", {**material.parameters, place.path: moved}, seed=0)
            fields, _ = ask("gradients", batch)
        losses.append(float(fields["loss"]))
    return (losses[0] - losses[1]) / (2 * step)
