"""A small model and dataset, and runs with backends that are the NumPy reference in disguise."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from flow_model import DATASET, MODEL, info

from harness.data import load
from harness.run.folder import ResultsFolder, read_rows
from harness.run.listener import Listener
from harness.run.plan import make_plan
from harness.run.run import run
from harness.spec import parse_spec

HERE = Path(__file__).parent


class Ran:
    """A finished run, as it lies on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = read_rows(path / "summary.csv")
        self.samples = read_rows(path / "samples.csv")

    def row(self, backend: str, seed: int = 0) -> dict:
        (found,) = [r for r in self.rows if (r["backend"], r["seed"]) == (backend, seed)]
        return found

    def of(self, phase: str, **fields: object) -> list[dict]:
        wanted = {"phase": phase, **fields}
        return [s for s in self.samples if all(s[k] == v for k, v in wanted.items())]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))


@pytest.fixture
def go(tmp_path: Path):
    """Run the named backends on the small model."""

    def gone(
        *names: str,
        model: str = MODEL,
        listener: Listener | None = None,
        resume: bool = False,
        **options,
    ) -> Ran:
        spec, dataset = parse_spec(model, "small"), options.pop("dataset", DATASET)
        options = {"seeds": 2, "device": "cpu", "threads": 1, "block_steps": 4, **options}
        known = [info(name) for name in (*names, "numpy")]
        plan = make_plan(spec, dataset, known[:-1], known, **options)
        folder = ResultsFolder(tmp_path / "out", resume=resume)
        run(plan, load(dataset), folder, listener or Listener())
        return Ran(folder.path)

    return gone
