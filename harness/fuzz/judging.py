"""What is asked about a drawn spec, and the verdict on one backend's answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.check.material import Material, make_material
from harness.check.places import Answer, Judgement, Place
from harness.check.questions import RUNGS, parts_of
from harness.errors import WorkerError
from harness.spec import Spec, infer

STEPS = 8  # of the trajectory: what differs shows early, and rounding has little time to grow
ASKED = tuple(rung for rung in RUNGS if rung != "evaluation")  # which compiles everything anew
PARTS = tuple((rung, part) for rung in ASKED for part in parts_of(rung))

REFUSAL = re.compile(r"NotImplementedError: layers '")


@dataclass(frozen=True)
class Outcome:
    """What became of one spec in one backend.

    `status` is `agrees`; `ill-conditioned`, where a difference above the fixed tolerance is no
    larger than what rounding makes of the reference; `overflows`, where the reference's own
    numbers do, before anything differed; `refused` by name, which a backend may do; `differs`; or
    how its worker failed. `kind` is the type of the layer in which it differs, or of the error.
    """

    status: str
    rung: str = ""
    judgement: Judgement | None = None
    kind: str = ""
    error: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether it is a finding: a difference, or a failure on a valid spec."""
        return self.status not in ("agrees", "ill-conditioned", "overflows", "refused")

    @property
    def signature(self) -> tuple[str, str, str]:
        """What two findings of the same cause most likely have in common."""
        return self.status, self.rung, self.kind

    def __str__(self) -> str:
        """Say it in a line."""
        if self.judgement is None:
            return f"{self.status}: {self.error}" if self.error else self.status
        found = self.judgement
        size = f"{found.difference:.1e}, allowed {found.tolerance:.0e}"
        return f"{self.status} at {self.rung}, in {found.place}, by {size}"


@dataclass(frozen=True, eq=False)
class Case:
    """A drawn spec, as a file's fields and as a spec, and what is asked about it."""

    number: int
    fields: Mapping[str, Any]
    spec: Spec
    material: Material = field(init=False)

    def __post_init__(self) -> None:
        """Make up the images, weights and masks."""
        object.__setattr__(self, "material", make_material(self.spec, STEPS))


def layer_kind(spec: Spec, place: Place) -> str:
    """Return the type of the layer that a place belongs to; its path where it is none."""
    known = {node.path: node.layer.type for node in infer(spec).nodes}
    path = place.path
    return known.get(path) or known.get(path.rpartition(".")[0]) or path


def is_finite(answer: Answer) -> bool:
    """Whether all numbers of an answer are."""
    return all(bool(np.isfinite(value).all()) for value in answer.values())


def of_failure(error: WorkerError, opening: bool) -> Outcome:
    """Tell a backend that refuses a layer by its path from one that fails.

    The first ends in a NotImplementedError, when the network is opened.
    """
    text = str(error).partition("\n")[0].removesuffix(".")
    text = text.partition(". Log: ")[0].partition(": ")[2] or text
    if opening and error.status == "failed" and REFUSAL.match(text):
        reason = re.sub(r"layers? '[^']*'( and '[^']*')?: ", "", text.partition(": ")[2])
        return Outcome("refused", kind=reason.partition(";")[0], error=text)
    return Outcome(error.status, kind=text.partition(":")[0], error=text)
