from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fault_runs import paths
from fault_watch import WATCH

SHORT = 200  # inputs for each reader
KILLS = 2  # of runs with true workers; of those with fake ones, five times as many
COUNTS: list[str] = []  # what was read, for the summary at the end


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--inputs", type=int, default=SHORT, help="hostile inputs for each reader of files"
    )
    parser.addoption("--kills", type=int, default=KILLS, help="runs killed at random moments")


def option(config: pytest.Config, name: str, default: int) -> int:
    """An option of above; pytest knows them only where it is started with this folder."""
    return int(config.getoption(name, default))


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PYTHONPATH", paths())
    monkeypatch.setenv("FAULT_ONCE", str(tmp_path / "once"))
    monkeypatch.setenv("FAULT_PIDS", str(tmp_path / "pids"))


@pytest.fixture(scope="session")
def inputs(pytestconfig: pytest.Config) -> int:
    return option(pytestconfig, "--inputs", SHORT)


@pytest.fixture(scope="session")
def at_length(inputs: int) -> bool:
    """Whether all is to be tried, and not a part that takes seconds."""
    return inputs > SHORT


@pytest.fixture(scope="session")
def kills(pytestconfig: pytest.Config) -> int:
    return option(pytestconfig, "--kills", KILLS)


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Any:
    """Count what is read in a test, and say so at the end of all."""
    WATCH.most = WATCH.inputs = WATCH.taken = 0
    WATCH.slowest = 0.0
    yield WATCH
    COUNTS.append(
        f"{request.node.name}: {WATCH.inputs:,} inputs, {WATCH.taken:,} taken, the others refused; "
        f"at most {WATCH.most / 1e6:.1f} MB and {WATCH.slowest:.2f} s for one"
    )


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Have something said of a test at the end of all."""
    return lambda text: COUNTS.append(f"{request.node.name}: {text}")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if COUNTS and option(config, "--inputs", SHORT) != SHORT:
        terminalreporter.section("what was tried")
        for line in COUNTS:
            terminalreporter.write_line(line)
