"""Workers find the fakes."""

from __future__ import annotations

import pytest
from check_climb import PYTHONPATH


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
