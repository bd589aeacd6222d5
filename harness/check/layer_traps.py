"""Known mistakes in what a layer makes of its input; each looks for its own traces."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from harness.check.evidence import Evidence
from harness.check.places import Array, Place
from harness.run.agreement import relative_difference
from harness.spec import AvgPool, Flatten, MaxPool


def presence(evidence: Evidence) -> str:
    """A layer or parameter that one side does not have."""
    place = evidence.place
    if place not in evidence.found:
        return "it is missing"
    if place not in evidence.right:
        return "the spec has no such layer or parameter"
    return ""


def layout(evidence: Evidence) -> str:
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


MOST_CHANNELS = 512  # for which an order is looked for: every one is compared with every other


def channels(evidence: Evidence) -> str:
    """The right channels, in another order."""
    found, right = evidence.here
    if evidence.place.topic != "evaluation" or right.ndim < 3:
        return ""
    channels = right.shape[-1]
    if found.shape != right.shape or not 2 <= channels <= MOST_CHANNELS:
        return ""
    flat = [values.reshape(-1, channels)[:1000] for values in (found, right)]
    nearest = np.array([np.abs(flat[1] - one[:, None]).sum(0).argmin() for one in flat[0].T])
    if len(set(nearest)) < channels or not evidence.is_like(right[..., nearest]):
        return ""
    some = ", ".join(map(str, nearest[:8])) + (", ..." if channels > 8 else "")
    return f"as with the channels in another order: {some}"


def _shape(values: Array) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def not_a_number(evidence: Evidence) -> str:
    """NaN or infinity."""
    bad = ~np.isfinite(evidence.here[0])
    return f"{int(bad.sum())} of {bad.size} values are no finite number" if bad.any() else ""


def other_mode(evidence: Evidence) -> str:
    """Evaluation in training mode, or the reverse."""
    topic, path = evidence.place
    training, predicted = Place("training", path), Place("evaluation", path)
    if topic == "evaluation" and evidence.is_like(evidence.right.get(training)):
        return "as in training mode"
    if topic == "training" and evidence.is_like(evidence.right.get(predicted)):
        return "as in evaluation mode: nothing dropped, running statistics used"
    return ""


def softmax(evidence: Evidence) -> str:
    """Probabilities where logits should be."""
    right = evidence.here[1]
    if right.ndim < 2:
        return ""
    shifted = np.exp(right - right.max(-1, keepdims=True))
    probabilities = shifted / shifted.sum(-1, keepdims=True)
    if evidence.is_like(probabilities):
        return "as with a softmax after it: the outputs should be logits"
    return ""


def flatten(evidence: Evidence) -> str:
    """Flattened by channels, as it is where channels come first."""
    node = evidence.node
    if node is None or not isinstance(node.layer, Flatten) or len(node.input_shape) < 2:
        return ""
    _, right = evidence.here
    by_pixels = right.reshape(len(right), *node.input_shape)
    by_channels = np.moveaxis(by_pixels, -1, 1).reshape(right.shape)
    return "as flattened by channels (NCHW)" if evidence.is_like(by_channels) else ""


def pool_padding(evidence: Evidence) -> str:
    """A border that counts: as zero in a maximum, as a value in a mean."""
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
        # Where nothing is padding the share is 1, but for rounding, which differs by processor.
        is_share = np.isfinite(first).all() and (first <= 1.001).all()
        if is_share and evidence.is_like(right * first):
            return "as with padding that counts in the mean"
    return ""


def shifted(evidence: Evidence) -> str:
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
