"""Mixed precision on the ladder: what may differ in bfloat16, and what must not.

The reference rounds where the contract says so, and everything else follows from that: another
backend may differ by the order of its sums, which now and then takes a value to the next bfloat16,
and by a rounding more, where it computes a layer in two operations. What that comes to is measured,
on every rung and for every array: the reference is asked again with each of its values moved by
up to a step before it is rounded. That is further than others get, for the same reason as in
`tolerances`; so a factor of 3 is enough.

Such bounds are wide, and a network that is float32 throughout would pass them, as it is the more
exact one. But types show in the values themselves. What is to be a bfloat16 has no more than eight
bits; of what is to be float32, next to nothing has so few by chance. So of every array that share
is compared, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from harness.check.material import Material
from harness.check.places import Answer, Array, Arrays, Place, Tolerances
from harness.check.questions import Ask, asking, seeded
from harness.check.tolerances import GROWTH_FLOOR, by_growth
from harness.run.agreement import (
    GROWN_BY,
    MOVED_SEEDS,
    Measure,
    relative_difference,
    root_mean_square,
)
from harness.run.score import score
from harness.spec import BatchNorm, infer

STEP = 2.0**-8  # of bfloat16, relative: the least that what is one may be off by
TOO_FINE = "share of values that are no bfloat16"
OUTPUTS = ("evaluation", "training", "test set")
OWN_LOSS = Place("training", "loss, from the backend's own logits")
FLOAT32 = 1e-5  # how far a loss may be from that of the same logits
NEAR = 0.02  # of a step: where a float32 that was computed from a bfloat16 lies beside it


def share_too_fine(values: Array) -> float:
    """Return which share of float32 values has more than the eight bits of a bfloat16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return float((bits & 0xFFFF != 0).mean()) if bits.size else 0.0


def share_off_steps(values: Array) -> float:
    """Return which share of values is far from any bfloat16, where some bits were lost."""
    steps = values / 2.0 ** (np.frexp(values)[1] - 8)
    return float((np.abs(steps - np.round(steps)) > NEAR).mean()) if values.size else 0.0


def asking_mixed(part: str, material: Material, trained: Arrays) -> Callable[[Ask], Answer]:
    """Return a question to which the answer tells, too, what the values are made of."""
    question = asking(part, material, trained)

    def ask_mixed(ask: Ask) -> Answer:
        answer = with_shares(question(ask))
        if part == "gradients":
            return {OWN_LOSS: _distance_from_own_loss(ask, material), **answer}
        return answer | _batch_statistics(answer, material)

    return ask_mixed


def with_shares(answer: Answer) -> Answer:
    """Add, after every array, the share of its values that are no bfloat16."""
    found: Answer = {}
    for place, value in answer.items():
        found[place] = value
        share = np.array(share_too_fine(value))
        found[Place(f"{TOO_FINE}, {place.topic}", place.path)] = share
    return found


def measured(
    part: str, material: Material, trained: Arrays, ask: Ask
) -> tuple[Answer, Tolerances, Measure]:
    """Return the reference's answer, how much may differ from it, and how that is measured."""
    right = asking_mixed(part, material, trained)(ask)
    question = asking(part, material, trained)
    moved = [question(seeded(ask, seed)) for seed in MOVED_SEEDS]
    if OWN_LOSS in right:
        right[OWN_LOSS] = np.zeros(())  # of what is next to nothing, nothing can be a share
    plain = {place: value for place, value in right.items() if place in moved[0]}
    # Of logits each one counts: they choose a class.
    measure = relative_difference if part == "evaluation" else root_mean_square
    grown = by_growth(plain, moved, measure, partial(_floor, material), GROWN_BY)

    def tolerances(place: Place) -> float:
        if place == OWN_LOSS:
            return FLOAT32
        if not place.topic.startswith(TOO_FINE):
            return grown(place)
        share = float(right.get(place, np.zeros(())))
        if share == 0:
            return 0.0
        # A few values may be coarse by chance; and all of a gradient, which some round once.
        is_gradient = "gradient" in place.topic or (
            _is_slot(material, place) and place.topic.endswith("after step 1")
        )
        return 0.5 if share > 0.9 and not is_gradient else math.inf

    return right, tolerances, measure


def _floor(material: Material, place: Place) -> float:
    """Return what may differ at least: a step of what is rounded, next to nothing of the rest."""
    is_rounded = place.topic in (*OUTPUTS, "gradient") and place.path != "loss"
    return STEP if is_rounded or _is_slot(material, place) else GROWTH_FLOOR


def _is_slot(material: Material, place: Place) -> bool:
    """Whether an array is what the optimizer keeps of a parameter."""
    return place.path.rpartition(".")[2] in material.spec.training.optimizer.slots


def _distance_from_own_loss(ask: Ask, material: Material) -> Array:
    """Return how far a loss is, relatively, from what its logits give in float64."""
    fields, found = ask("gradients", material.checked)
    logits, targets = found["logits"].astype(np.float64), material.checked["targets"]
    loss = score(material.spec, logits, targets).loss
    if smoothing := material.spec.training.label_smoothing:
        others = [score(material.spec, logits, np.full_like(targets, k)).loss
                  for k in range(logits.shape[1])]  # fmt: skip
        loss = (1 - smoothing) * loss + smoothing * float(np.mean(others))
    return np.array(abs(float(fields["loss"]) - loss) / max(abs(loss), 1e-30))


def _batch_statistics(answer: Answer, material: Material) -> Answer:
    """Return, of what a first step added to running statistics, the share that is no bfloat16."""
    found: Answer = {}
    for node in infer(material.spec).nodes:
        for path in (parameter.path for parameter in node.statistics):
            after = answer.get(Place("after step 1", path))
            if after is not None and isinstance(node.layer, BatchNorm):
                before = material.parameters[path].astype(np.float64)
                decay = node.layer.decay
                batch = (after.astype(np.float64) - decay * before) / (1 - decay)
                share = np.array(share_off_steps(batch))
                found[Place(f"{TOO_FINE}, batch statistics", path)] = share
    return found
