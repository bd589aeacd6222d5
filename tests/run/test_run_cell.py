"""What a cell asks of its worker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.registry import BackendInfo
from harness.run.cell import Cell, begin_import, begin_open
from harness.run.folder import ResultsFolder
from harness.run.plan import make_plan
from harness.spec import parse_spec

MODEL = """
name = "small"
input = [2, 2, 1]
layers = [{ type = "flatten" }, { type = "dense", units = 3 }]
"""
PHASES = {"import": 11.0, "build": 12.0, "compile": 13.0, "train": 14.0, "predict": 15.0}


class Noting:
    """Takes questions as a worker's process does, and notes how long it may take for each."""

    longest_silence = 0.0

    def __init__(self) -> None:
        self.sent: list[tuple[str, float]] = []
        self.awaited: list[float] = []

    def send(self, command, arrays=None, *, timeout, **fields):
        self.sent.append((command, timeout))

    def receive(self, timeout, silence):
        self.awaited.append(timeout)
        return {}, {"seconds": np.ones(2)}


@pytest.fixture
def cell() -> Cell:
    known = [BackendInfo(name, "", "no:One", True, (), {}, "") for name in ("fake", "numpy")]
    plan = make_plan(
        parse_spec(MODEL, "small"), "digits", known[:1], known, device="cpu", timeouts=PHASES
    )
    return Cell(known[0], "cpu", "fake", Noting(), plan)


def test_the_taking_of_every_question_has_the_limit_of_its_phase(cell, tmp_path):
    """One that hangs with a full pipe would else be waited for without end."""
    folder = ResultsFolder(tmp_path)
    begin_import(cell)
    begin_open(cell, folder, Path("data"))
    cell.ask("reset", {}, seed=0)
    cell.is_warm = True
    cell.ask("train", {})
    cell.predict(8, 2)
    folder.close()
    sent = [("prepare", 11.0), ("open", 12.0), ("reset", 13.0), ("train", 14.0), ("predict", 15.0)]
    assert cell.worker.sent == sent
    assert cell.worker.awaited == [13.0, 14.0, 15.0]
