"""Before anything is timed: do the backends compute the same network?

Every worker and the NumPy reference get the same weights, one batch of real images and the same
dropout masks, and return logits, loss and the gradient of every parameter and of the images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contract import Precision
from harness.spec import Dropout, Spec, infer

Array = NDArray[Any]
Measure = Callable[["Array | None", "Array", "float | None"], float]

# The largest difference allowed in an array, relative to its largest value. This is the one
# place that states it.
#
# Where one is exceeded, what the network makes of rounding is measured, see `moved` in `compare`:
# one ReLU of two million that is on in one framework and off in another, since its input is zero
# within rounding, changes the gradient of some pixels by a hundred times as much. Such places are
# few, so that differences are then compared in Euclidean norm.
#
# In bfloat16 and TF32 it is the least that is allowed, five roundings, of differences in Euclidean
# norm. What the network makes of roundings is measured in bfloat16 in any case, by a reference that
# moves what it rounds, and counts `GROWN_BY` times: no fixed bound would do.
# Which of two nearly equal pixels is a window's maximum, or on which side
# of a ReLU's bend a value lies, is decided by single roundings of 1/256 there, and gradients that
# nearly cancel are mostly rounding. Whether all is rounded that should be, this does not see;
# `harness check --precision bfloat16` does.
TOLERANCE: dict[Precision, float] = {
    "float32": 1e-4,
    "tf32": 0.0025,
    "float64": 1e-9,
    "bfloat16": 0.02,
}
MOVED_SEEDS = (1, 2, 3, 4)  # of resets after which the reference moves what it rounds
GROWN_BY = 3.0
# Gradients below this share of the largest are zero but for the reference's own rounding: of a
# bias before a batch_norm, for example, which takes every constant away again. They are no scale.
ROUNDING = 1e-10
CHECK_IMAGES = 16
CHECK_STREAM = 0xC4EC


@dataclass(frozen=True)
class Agreement:
    """The worst difference of one backend from the reference: how large, as part `of` what."""

    where: str
    difference: float
    tolerance: float
    of: str = "largest value"

    @property
    def equivalent(self) -> bool:
        """Whether the difference is within tolerance; NaN is not."""
        return self.difference <= self.tolerance

    @property
    def share(self) -> float:
        """How much of its tolerance the difference takes."""
        return self.difference / self.tolerance

    def __str__(self) -> str:
        """Say where and by how much."""
        relation = "within" if self.equivalent else "above"
        return (
            f"{self.where} differs by {self.difference:.1e} of its {self.of}, "
            f"{relation} {self.tolerance:.0e}"
        )


def check_batch(spec: Spec, images: Array, targets: Array) -> dict[str, Array]:
    """Return what is asked of everyone: images, targets and one mask for each dropout layer.

    A little noise is added to the real images: plain areas would make equal values meet in a
    max-pool's window, where rounding alone decides which of them takes the gradient.
    """
    generator = np.random.default_rng([CHECK_STREAM, 0])
    chosen = np.array(images[:CHECK_IMAGES], np.float32)
    noisy = chosen + generator.uniform(0, 0.1, chosen.shape).astype(np.float32)
    batch: dict[str, Array] = {"images": noisy, "targets": np.array(targets[:CHECK_IMAGES])}
    for node in infer(spec).dropouts:
        assert isinstance(node.layer, Dropout)
        kept = generator.random((len(chosen), *node.input_shape)) >= node.layer.rate
        batch[f"mask.{node.path}"] = kept / (1 - node.layer.rate)  # 1 / 0.75 is no float32
    return batch


def check_parameters(parameters: Mapping[str, Array]) -> dict[str, Array]:
    """Return the initial weights with a little noise, as a bias of zero would hide mistakes."""
    generator = np.random.default_rng([CHECK_STREAM, 1])
    return {
        path: (value + generator.normal(0, 0.02, value.shape)).astype(np.float32)
        for path, value in parameters.items()
    }


def compare(
    found: Mapping[str, Array],
    reference: Mapping[str, Array],
    precision: Precision,
    moved: Sequence[Mapping[str, Array]] = (),
) -> Agreement:
    """Return the worst difference between a backend's arrays and the reference's.

    `moved` is what the reference said where it moved what it rounds. With it, differences are in
    Euclidean norm, and may be `GROWN_BY` times those of `moved`.
    """
    if not reference:
        raise ValueError("there is no reference to compare with")
    gradients = [_largest(value) for name, value in reference.items() if name[:9] == "gradient."]
    largest = max(gradients, default=0.0)
    by_norm = precision in ("bfloat16", "tf32") or bool(moved)
    measure, of = (root_mean_square, "norm") if by_norm else (relative_difference, "largest value")
    worst = Agreement("", -1.0, TOLERANCE[precision])
    for name, right in reference.items():
        is_zero = name[:9] == "gradient." and _largest(right) < ROUNDING * largest
        scale = largest if is_zero else None
        grown = max((measure(other.get(name), right, scale) for other in moved), default=0.0)
        allowed = max(TOLERANCE[precision], GROWN_BY * grown)
        one = Agreement(name, measure(found.get(name), right, scale), allowed, of)
        if not one.share <= worst.share:  # also true of NaN, which must not pass unseen
            worst = one
        if np.isnan(one.difference):
            break
    return worst


def relative_difference(left: Array | None, right: Array, scale: float | None = None) -> float:
    """Return `max |left - right| / max |right|`; infinite where the shapes differ.

    `scale` takes the place of `max |right|`, where that is no measure.
    """
    if left is None or left.shape != right.shape:
        return float("inf")
    scale = _largest(right) if scale is None else scale
    with np.errstate(invalid="ignore"):  # infinite minus infinite is NaN, which does not agree
        difference = float(np.abs(left.astype(np.float64) - right).max(initial=0.0))
    return difference / scale if scale > 0 else difference


def root_mean_square(left: Array | None, right: Array, scale: float | None = None) -> float:
    """Return `|left - right| / |right|` in the Euclidean norm; infinite where shapes differ.

    `scale` takes the place of `|right|`. In float32, Adam gives a gradient that is zero but for
    rounding a sign at random: the largest difference of millions of weights is then always that
    of such a one, and tells nothing. So it is in bfloat16 with the pixel of a pool's window that
    wins.
    """
    if left is None or left.shape != right.shape:
        return float("inf")
    with np.errstate(invalid="ignore", over="ignore"):
        difference = float(np.linalg.norm((left.astype(np.float64) - right).ravel()))
    size = float(np.linalg.norm(right.astype(np.float64).ravel())) if scale is None else scale
    return difference / size if size > 0 else difference


def _largest(array: Array) -> float:
    return float(np.abs(array).max(initial=0.0))
