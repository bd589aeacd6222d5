"""What a run tells whoever watches it; the run itself prints nothing."""

from __future__ import annotations

from dataclasses import dataclass

from harness.run.agreement import Agreement
from harness.run.plan import Plan


@dataclass(frozen=True)
class Progress:
    """Where a backend is in its training, after one block of `steps`; epochs count from 1."""

    label: str
    seed: int
    epoch: int
    loss: float
    images_per_second: float
    steps: int


class Listener:
    """Hears everything and says nothing: the base of those that show it."""

    def started(self, plan: Plan, path: str) -> None:
        """A run begins; its results go to `path`."""

    def phase(self, label: str, phase: str) -> None:
        """`label` starts to import, build, compile, check, warm up, predict, …"""

    def agreed(self, label: str, agreement: Agreement) -> None:
        """The backend was compared with the reference."""

    def judged(self, label: str, rung: str, judgement: str) -> None:
        """The backend was compared with the reference on one rung of the equivalence ladder."""

    def seed_begins(self, seed: int, steps: int) -> None:
        """Training begins on a seed: so many steps, those of all backends together."""

    def trained(self, progress: Progress) -> None:
        """One backend finished one block."""

    def evaluated(
        self, label: str, seed: int, epoch: int, split: str, loss: float, accuracy: float | None
    ) -> None:
        """One backend was evaluated after an epoch (counted from 1)."""

    def reached(self, label: str, seed: int, epoch: int, seconds: float, steps: int) -> None:
        """A backend reached the accuracy that ends its training; `steps` will not be trained."""

    def failed(self, label: str, status: str, message: str) -> None:
        """One backend failed; the others go on."""

    def finished(self) -> None:
        """Nothing more will come."""
