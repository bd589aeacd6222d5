"""What probably went wrong: the value that was found, beside what known mistakes would give.

Each trap is a numeric test: either of the two arrays alone, or with the reference, which is asked
the same question after it was given the same mistake. A trap that fits to a hundredth of the
difference is named. To add one, write a function of `Evidence` and put it into `TRAPS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from harness.check.material import Material
from harness.check.places import Answer, Array, Place
from harness.check.variants import Variant, variants
from harness.run.agreement import relative_difference
from harness.spec import AvgPool, BatchNorm, Flatten, MaxPool, Node, Sgd, infer

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


def likely_cause(evidence: Evidence) -> str:
    """Return what the difference looks like, as a phrase; empty where no trap fits."""
    for trap in TRAPS:
        cause = trap(evidence)
        if cause:
            return cause
    return ""


def _presence(evidence: Evidence) -> str:
    place = evidence.place
    if place not in evidence.found:
        return "it is missing"
    if place not in evidence.right:
        return "the spec has no such layer or parameter"
    return ""


def _layout(evidence: Evidence) -> str:
    """The same values with axes in another order, or another shape altogether."""
    found, right = evidence.here
    if evidence.place.topic == "shape of the output":
        return f"the shape is {_shape(found)} instead of {_shape(right)}"
    for order in permutations(range(right.ndim)):
        turned = right.transpose(order)
        if turned.shape == found.shape and list(order) != sorted(order):
            difference = relative_difference(found, turned)
            if difference <= 1e-6:
                return f"as with the axes in another order: {order}"
    if found.shape != right.shape:
        return f"its shape is {found.shape} instead of {right.shape}"
    return ""


def _shape(values: Array) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _not_a_number(evidence: Evidence) -> str:
    bad = ~np.isfinite(evidence.here[0])
    return f"{int(bad.sum())} of {bad.size} values are no finite number" if bad.any() else ""


def _not_trained(evidence: Evidence) -> str:
    before = evidence.material.parameters.get(evidence.place.path)
    is_state = evidence.place.topic.startswith("after")
    if is_state and before is not None and evidence.is_like(before.astype(np.float64)):
        return "it is as it was before the training"
    return ""


def _other_mode(evidence: Evidence) -> str:
    topic, path = evidence.place
    training, predicted = Place("training", path), Place("evaluation", path)
    if topic == "evaluation" and evidence.is_like(evidence.right.get(training)):
        return "as in training mode"
    if topic == "training" and evidence.is_like(evidence.right.get(predicted)):
        return "as in evaluation mode: nothing dropped, running statistics used"
    return ""


def _softmax(evidence: Evidence) -> str:
    right = evidence.here[1]
    if right.ndim < 2:
        return ""
    shifted = np.exp(right - right.max(-1, keepdims=True))
    probabilities = shifted / shifted.sum(-1, keepdims=True)
    if evidence.is_like(probabilities):
        return "as with a softmax after it: the outputs should be logits"
    return ""


def _flatten(evidence: Evidence) -> str:
    node = evidence.node
    if node is None or not isinstance(node.layer, Flatten) or len(node.input_shape) < 2:
        return ""
    _, right = evidence.here
    by_pixels = right.reshape(len(right), *node.input_shape)
    by_channels = np.moveaxis(by_pixels, -1, 1).reshape(right.shape)
    return "as flattened by channels (NCHW)" if evidence.is_like(by_channels) else ""


def _pool_padding(evidence: Evidence) -> str:
    node = evidence.node
    found, right = evidence.here
    if node is None or evidence.place.topic != "evaluation" or found.shape != right.shape:
        return ""
    if isinstance(node.layer, MaxPool) and evidence.is_like(
        np.where(found == right, right, np.maximum(right, 0))
    ):
        return "as with padding that counts as zero, not as minus infinity"
    if isinstance(node.layer, AvgPool):
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = found / right
        first = shares[:1, ..., :1]
        if np.isfinite(first).all() and evidence.is_like(right * first) and (first <= 1).all():
            return "as with padding that counts in the mean"
    return ""


def _shifted(evidence: Evidence) -> str:
    """The same picture, one pixel further; what has come in at the edge does not count."""
    found, right = evidence.here
    if evidence.place.topic != "evaluation" or found.shape != right.shape or right.ndim != 4:
        return ""
    if min(right.shape[1:3]) < 4:
        return ""
    inside = (slice(None), slice(2, -2), slice(2, -2))
    for dy, dx in ((0, 1), (1, 0), (1, 1), (0, -1), (-1, 0), (-1, -1), (1, -1), (-1, 1)):
        moved = np.roll(right, (dy, dx), (1, 2))[inside]
        if moved.size and np.allclose(found[inside], moved, rtol=1e-6, atol=1e-12):
            return f"as shifted by {dy} rows and {dx} columns: padding on the other side"
    return ""


def _unbiased(evidence: Evidence) -> str:
    """Torch's running variance, and that of TensorFlow's fused operation: times n / (n - 1)."""
    node, place = evidence.node, evidence.place
    if node is None or not isinstance(node.layer, BatchNorm) or place.topic != "after step 1":
        return ""
    if not place.path.endswith(".variance"):
        return ""
    right = evidence.here[1]
    count = evidence.material.batch * int(np.prod(node.input_shape[:-1]))
    old = node.layer.decay * evidence.material.parameters[place.path].astype(np.float64)
    unbiased = old + (right - old) * count / (count - 1)
    if evidence.is_like(unbiased):
        return f"as with the unbiased estimate of the batch's variance, n/(n-1) for n = {count}"
    return ""


RATE_INSIDE = "as with the learning rate inside the momentum's velocity, as Keras has it"


def _velocity(evidence: Evidence) -> str:
    """Whether a velocity is kept at all, and without the rate: the first step gives it away."""
    if not evidence.place.path.endswith(".velocity"):
        return ""
    if not evidence.here[0].any():
        return "as without momentum: nothing is kept"
    rate = evidence.material.trajectory[0].rates[0]
    return RATE_INSIDE if abs(abs(_factor(evidence)) / rate - 1) < 1e-6 else ""


def _momentum(evidence: Evidence) -> str:
    """Of plain momentum the second step gives away how much of the first velocity was kept.

    Keras keeps the learning rate inside the velocity, `v <- momentum v - rate g`: where the rate
    changes, that is as another momentum.
    """
    optimizer, place = evidence.material.spec.training.optimizer, evidence.place
    first = evidence.right.get(Place("after step 1", place.path))
    before = evidence.material.parameters.get(place.path)
    if not isinstance(optimizer, Sgd) or place.topic != "after step 2" or optimizer.nesterov:
        return ""
    if first is None or before is None:
        return ""
    found, right = evidence.here
    ratio = evidence.material.second_rate
    moved = (first - before.astype(np.float64)) * ratio  # - second rate * first velocity
    more = float(((found - right) * moved).sum() / max(float((moved**2).sum()), 1e-300))
    if not evidence.is_like(right + more * moved):
        return ""
    momentum = optimizer.momentum + more
    if abs(momentum - optimizer.momentum / ratio) < 1e-3:
        return RATE_INSIDE
    return f"as with momentum {momentum:.4g} instead of {optimizer.momentum:g}"


def _scaled(evidence: Evidence) -> str:
    """All values times one number, which often tells what it stands for."""
    factor = _factor(evidence)
    batch, outputs = evidence.material.batch, infer(evidence.material.spec).output_shape[0]
    known = {
        batch: "the sum over the batch, not the mean",
        1 / batch: "divided by the batch size once too often",
        outputs: "the sum over the outputs, not the mean",
        1 / outputs: "the mean over the outputs, not the sum",
        batch * outputs: "the sum over batch and outputs, not the mean",
        2.0: "a factor 2, as in the gradient of a square without its half",
        0.5: "a factor 1/2, as in half of the squared error",
        -1.0: "the sign changed",
    }
    for value, meaning in known.items():
        if abs(factor / value - 1) < 1e-6:
            return f"as with {meaning} (times {factor:.6g})"
    return ""


def _scaled_somehow(evidence: Evidence) -> str:
    factor = _factor(evidence)
    size = evidence.here[1].size
    return f"all values are {factor:.6g} times the right ones" if factor and size > 1 else ""


def _factor(evidence: Evidence) -> float:
    """Return the number that all values are multiplied by; 0 where there is none."""
    found, right = evidence.here
    squares = float((right**2).sum())
    if found.shape != right.shape or not squares:
        return 0.0
    factor = float((found * right).sum()) / squares
    return factor if evidence.is_like(factor * right) else 0.0


def _mistaken_reference(evidence: Evidence) -> str:
    """Give the reference the mistake, ask again, and look whether it answers the same."""
    for variant in _variants(evidence):
        try:
            answer = evidence.again(variant.material)
        except Exception:  # a spec that cannot be, such as a pool larger than its input
            continue
        if evidence.is_like(answer.get(evidence.place)):
            return variant.text
    return ""


def _variants(evidence: Evidence) -> Iterator[Variant]:
    return variants(evidence.material, evidence.place, evidence.node)


Trap = Callable[[Evidence], str]
TRAPS: tuple[Trap, ...] = (
    _presence,
    _layout,
    _not_a_number,
    _not_trained,
    _other_mode,
    _softmax,
    _flatten,
    _pool_padding,
    _unbiased,
    _velocity,
    _momentum,
    _scaled,
    _mistaken_reference,
    _scaled_somehow,
    _shifted,
)
