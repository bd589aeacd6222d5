"""A second reference, which makes mistakes on purpose: does it then answer as a backend did?"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from harness.check.material import Material
from harness.check.places import Answer, Arrays
from harness.check.questions import asking
from harness.errors import HarnessError
from harness.run.bench import Bench
from harness.run.cell import Cell
from harness.run.reference import reopen, start_reference

MOST_SECONDS = 60.0  # for all mistakes of one backend


class Detective:
    """Its worker starts when the first difference is to be explained."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.cell: Cell | None = None
        self.opened = 0

    def again(self, part: str, trained: Arrays) -> Callable[[Material], Answer]:
        """Return a function that asks a question about other material.

        It raises a TimeoutError once its time is over, and what a worker raises that fails.
        """
        deadline = monotonic() + MOST_SECONDS

        def again(material: Material) -> Answer:
            if monotonic() > deadline:
                raise TimeoutError("enough mistakes were tried")
            return asking(part, material, trained)(self._open(material).ask)

        return again

    def _open(self, material: Material) -> Cell:
        """Open the spec of `material`."""
        self.opened += 1
        if self.cell is None or self.cell.worker.ended:
            self.cell = start_reference(self.bench, f"detective {self.opened}")
        try:
            reopen(self.cell, material.spec, f"mistake_{self.opened}", self.bench)
        except HarnessError:
            self.cell.worker.kill()
            raise
        return self.cell

    def close(self) -> None:
        """End the worker."""
        if self.cell is not None:
            self.cell.worker.close()
