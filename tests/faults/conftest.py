from __future__ import annotations

import pytest
from fault_runs import paths


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PYTHONPATH", paths())
    monkeypatch.setenv("FAULT_ONCE", str(tmp_path / "once"))
    monkeypatch.setenv("FAULT_PIDS", str(tmp_path / "pids"))
