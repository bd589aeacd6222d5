"""Workers find the fakes; a fuzz with some of them."""

from __future__ import annotations

import pytest
from fuzz_making import NUMPY, PYTHONPATH, fake

from harness.fuzz.fuzz import Watcher, fuzz, make_fuzz_plan
from harness.fuzz.report import FuzzFolder


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)


@pytest.fixture
def carry_out(tmp_path):
    """Fuzz with fakes; return what was found, and the folder."""

    def carry_out(*variants, specs=30, seed=0, seconds=300.0, watcher=None):
        fakes = [fake(variant) for variant in variants]
        plan, rounded = make_fuzz_plan(fakes, [*fakes, *NUMPY], timeout=60.0)
        folder = FuzzFolder(tmp_path / "found")
        options = {"specs": specs, "seconds": seconds, "seed": seed}
        try:
            return fuzz(plan, rounded, folder, watcher or Watcher(), **options), folder
        finally:
            folder.close()  # so that another may take it

    return carry_out
