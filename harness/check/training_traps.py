"""Known mistakes in losses, gradients, optimizers and running statistics."""

from __future__ import annotations

import numpy as np

from harness.check.evidence import CLOSE, Evidence
from harness.check.places import Place
from harness.spec import Adam, BatchNorm, Sgd, infer


def not_trained(evidence: Evidence) -> str:
    """A parameter that the optimizer was not given."""
    before = evidence.material.parameters.get(evidence.place.path)
    is_state = evidence.place.topic.startswith("after")
    if is_state and before is not None and evidence.is_like(before.astype(np.float64)):
        return "it is as it was before the training"
    return ""


def unbiased(evidence: Evidence) -> str:
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


def velocity(evidence: Evidence) -> str:
    """Whether a velocity is kept at all, and without the rate: the first step gives it away."""
    if not evidence.place.path.endswith(".velocity"):
        return ""
    if not evidence.here[0].any():
        return "as without momentum: nothing is kept"
    rate = evidence.material.trajectory[0].rates[0]
    return RATE_INSIDE if abs(abs(evidence.factor) / rate - 1) < 1e-6 else ""


def momentum(evidence: Evidence) -> str:
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


def bias_correction(evidence: Evidence) -> str:
    """Adam's first step: without corrections it is (1 - beta1) / sqrt(1 - beta2) times as long."""
    optimizer, place = evidence.material.spec.training.optimizer, evidence.place
    before = evidence.material.parameters.get(place.path)
    if not isinstance(optimizer, Adam) or place.topic != "after step 1" or before is None:
        return ""
    found, right = (values - before.astype(np.float64) for values in evidence.here)
    times = (1 - optimizer.beta1) / (1 - optimizer.beta2) ** 0.5
    is_like = np.abs(found - times * right).max() <= CLOSE * np.abs(found - right).max()
    return "as without the bias correction of the moments" if is_like else ""


def scaled(evidence: Evidence) -> str:
    """All values times one number, which often tells what it stands for."""
    factor = evidence.factor
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


def scaled_somehow(evidence: Evidence) -> str:
    """All values times a number that tells nothing."""
    factor = evidence.factor
    size = evidence.here[1].size
    return f"all values are {factor:.6g} times the right ones" if factor and size > 1 else ""
