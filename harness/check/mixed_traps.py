"""Traces of another type than mixed precision asks for."""

from __future__ import annotations

from harness.check.evidence import Evidence
from harness.check.mixed import TOO_FINE, share_too_fine


def too_fine(evidence: Evidence) -> str:
    """Outputs that are no bfloat16, or what should be float32 and is one."""
    if not evidence.place.topic.startswith(TOO_FINE):
        return ""
    if evidence.here[0] > evidence.here[1]:
        return "as computed in a finer type, float32 or float16"
    return "as kept or computed in bfloat16"


def too_coarse(evidence: Evidence) -> str:
    """What should be float32, rounded to bfloat16."""
    found, right = evidence.here
    if found.any() and not share_too_fine(found) and share_too_fine(right) > 0.5:
        return "as kept or computed in bfloat16"
    return ""
