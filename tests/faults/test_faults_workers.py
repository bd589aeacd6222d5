"""Workers that crash, hang, lie and babble, all in one run with a sound one."""

from __future__ import annotations

import itertools
import json
import select
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from fault_runs import go, is_alive, paths, row, statuses, tables

from harness.run import folder, process
from harness.run.folder import read_rows
from harness.verdict.files import read_side

PLACES = ("import", "open", "reset", "train", "evaluate", "predict", "close")
BEFORE = ("import", "open", "versions")  # any seed: what fails there fails all of them
CRASHES = {"raises": "failed", "segfault": "crashed", "aborts": "crashed", "exits": "crashed"}
FEW_CRASHES = list(zip(PLACES, itertools.cycle(CRASHES), strict=False))

# What else a worker does instead of an answer: how its cell ends, and what is said of it.
LIES = {
    "train_babbles": ("crashed", "not a message"),
    "train_breaks_off": ("crashed", "cut short"),
    "train_boasts": ("crashed", "at most 16777216 are allowed"),
    "train_boasts_arrays": ("crashed", "at most 8589934592 are allowed"),
    "train_claims": ("crashed", "cut short: 7999920 of 8000000 bytes"),
    "train_impersonates": ("crashed", "answered another question"),
    "train_orphans": ("crashed", "exit code 5"),
    "train_shuts": ("crashed", "left its pipe unusable"),
    "train_killed": ("out-of-memory", "SIGKILL"),
    "train_runs_out": ("out-of-memory", "Unable to allocate"),
    "train_backwards": ("failed", "by its clock a block took -3"),
    "evaluate_backwards": ("failed", "by its clock an evaluation took -3"),
    "predict_backwards": ("failed", "by its clock a prediction took -3"),
    "train_slanders": ("failed", "xxxxxxxxxxxxxxxx"),
    "losses_few": ("failed", "the block has 4 steps"),
    "losses_nan": ("nan", "the loss became nan in step 1, epoch 1"),
    "memory_words": ("failed", "device is '12 MB', no number"),
    "memory_list": ("failed", "device is [1], no number"),
    "versions_list": ("failed", "an answer of no use"),
    "versions_long": ("failed", "characters; allowed: 10,000"),
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list]:
    """What the sound backend gives in a run without any fault."""
    out = tmp_path_factory.mktemp("alone") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", paths())
        go(out, "right")
    return of_sound(out)


def of_sound(out: Path) -> dict[str, list]:
    """The rows and samples of the sound backend, but for its place in each round's order."""
    found = {
        name: [{**row, "position": None} for row in rows if row["backend"] == "right"]
        for name, rows in tables(out).items()
    }
    found["samples"].sort(key=json.dumps)
    return found


def check(out: Path, names: list[str], alone: dict[str, list]) -> None:
    """The sound backend is as if it had been alone; all is read, and nothing is done again."""
    assert of_sound(out) == alone
    assert len(read_rows(out / "summary.csv")) == 2 * (len(names) + 1)
    assert read_side(out)
    before = [(out / name).read_bytes() for name in ("summary.csv", "samples.csv")]
    go(out, *names, "right", resume=True)
    assert [(out / name).read_bytes() for name in ("summary.csv", "samples.csv")] == before


def ended(name: str, status: str) -> list[str]:
    """The statuses of the two seeds of `does_PLACE_DEED`."""
    place = name.split("_")[1]
    if place == "close":
        return ["ok", "ok"]
    return [status if place in BEFORE else "ok", status]


def test_a_crash_in_any_phase_costs_its_own_cell_only(tmp_path, at_length, alone):
    chosen = itertools.product(PLACES, CRASHES) if at_length else FEW_CRASHES
    crashes = {f"does_{place}_{deed}": CRASHES[deed] for place, deed in chosen}
    go(tmp_path / "out", *crashes, "right")
    found = {name: statuses(tmp_path / "out", name) for name in crashes}
    assert found == {name: ended(name, status) for name, status in crashes.items()}
    check(tmp_path / "out", list(crashes), alone)


def test_whatever_a_worker_says_costs_its_own_cell_only(tmp_path, monkeypatch, alone):
    monkeypatch.setattr(process, "LAST_SECONDS", 0.5)
    monkeypatch.setattr(process, "ASKED_SECONDS", 0.5)
    lies = {f"does_{name}": found for name, found in LIES.items()}
    go(tmp_path / "out", *lies, "right")
    for name, (status, words) in lies.items():
        assert statuses(tmp_path / "out", name) == ended(name, status), name
        assert words in row(tmp_path / "out", name, 1)["error"]
    check(tmp_path / "out", list(lies), alone)
    assert not any(is_alive(pid) for pid in announced(tmp_path))


def announced(place: Path) -> list[int]:
    """The processes that were not to outlive the run."""
    return [int(pid) for pid in (place / "pids").read_text().split()]


def test_a_worker_that_hangs_in_any_phase_deaf_to_sigterm_is_ended(tmp_path, monkeypatch, alone):
    """The clock jumps when a worker says that it hangs, so that nobody waits for limits to pass."""
    pids = tmp_path / "pids"
    pids.touch()

    def jumping() -> float:
        return time.monotonic() + 10_000.0 * len(pids.read_text().splitlines())

    def waking(*descriptors: list[int]) -> object:
        *lists, timeout = descriptors
        return select.select(*lists, min(timeout, 0.05))

    monkeypatch.setattr(process, "monotonic", jumping)
    monkeypatch.setattr(process, "select", SimpleNamespace(select=waking))
    monkeypatch.setattr(process, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(process, "ASKED_SECONDS", 0.1)
    names = [f"does_{place}_hangs_deaf" for place in PLACES] + ["does_train_stammers"]
    go(tmp_path / "out", *names, "right", memory=10**12)
    for name in names:
        assert statuses(tmp_path / "out", name) == ended(name, "timed-out"), name
        if not name.startswith("does_close"):
            is_cold = name.split("_")[1] in BEFORE
            option = "--timeout" if is_cold else "--silence"
            assert option in row(tmp_path / "out", name, 1)["error"]
    gone = announced(tmp_path)
    assert len(gone) == 2 * len(PLACES) + 1
    assert not any(map(is_alive, gone))
    monkeypatch.setattr(process, "monotonic", time.monotonic)
    check(tmp_path / "out", names, alone)


def test_chatter_is_cut_out_of_the_log_and_costs_nothing(tmp_path, monkeypatch, at_length, alone):
    monkeypatch.setenv("FAULT_CHATTER", "1024" if at_length else "8")
    if not at_length:
        monkeypatch.setattr(process, "MOST_LOG_BYTES", 4 * 2**20)
    names = ["does_train_chatters"]
    go(tmp_path / "out", *names, "right")
    assert statuses(tmp_path / "out", names[0]) == ["ok", "ok"]
    (log,) = (tmp_path / "out" / "logs").glob("*chatters*")
    assert log.stat().st_size <= 2 * process.KEPT_LOG_BYTES + 1000
    assert "bytes were left out here" in log.read_text()
    check(tmp_path / "out", names, alone)


def test_a_calendar_that_goes_backwards_changes_no_figure(tmp_path, monkeypatch, alone):
    class Backwards(datetime):
        calls = 0

        @classmethod
        def now(cls, tz=None):
            cls.calls += 1
            return datetime(2026, 6, 1, tzinfo=UTC) - timedelta(hours=cls.calls)

    monkeypatch.setattr(folder, "datetime", Backwards)
    go(tmp_path / "out", "right")
    assert Backwards.calls > 10
    assert of_sound(tmp_path / "out") == alone
    check(tmp_path / "out", [], alone)
