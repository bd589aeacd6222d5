"""What probably went wrong: the value that was found, beside what known mistakes would give.

Each trap is a numeric test: either of the two arrays alone, or with the reference, which is asked
the same question after it was given the same mistake. A trap that fits to a hundredth of the
difference is named. To add one, write a function of `Evidence` in `layer_traps` or
`training_traps`, and put it into `TRAPS`; or a changed spec into `variants`.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.check import layer_traps as layers
from harness.check import mixed_traps as mixed
from harness.check import training_traps as training
from harness.check.evidence import Evidence
from harness.check.variants import variants


def likely_cause(evidence: Evidence) -> str:
    """Return what the difference looks like, as a phrase; empty where no trap fits."""
    for trap in TRAPS:
        cause = trap(evidence)
        if cause:
            return cause
    return ""


def _mistaken_reference(evidence: Evidence) -> str:
    """Give the reference the mistake, ask again, and look whether it answers the same."""
    for variant in variants(evidence.material, evidence.place, evidence.node):
        try:
            answer = evidence.again(variant.material)
        except Exception:  # a spec that cannot be, such as a pool larger than its input
            continue
        if evidence.is_like(answer.get(evidence.place)):
            return variant.text
    return ""


Trap = Callable[[Evidence], str]
TRAPS: tuple[Trap, ...] = (
    layers.presence,
    mixed.too_fine,
    layers.layout,
    layers.not_a_number,
    mixed.too_coarse,
    training.not_trained,
    layers.other_mode,
    layers.softmax,
    layers.flatten,
    layers.pool_padding,
    training.unbiased,
    layers.channels,
    training.bias_correction,
    training.velocity,
    training.momentum,
    training.scaled,
    _mistaken_reference,
    training.scaled_somehow,
    layers.shifted,
)
