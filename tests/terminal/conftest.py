"""The command line in this process, in a folder of its own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from harness.cli import main


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    return tmp_path


@pytest.fixture
def harness(here, capsys):
    """Run a command; what it printed is what a terminal of any width would show."""

    def called(*arguments: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return Said(int(ended.value.code or 0), *capsys.readouterr())

    return called
