"""Faults injected into a run: what they cost, and what is left to go on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fault_runs import Counting, go, info, row, statuses

from benchmarks.fakes import FakeWorker, fake_workers
from harness.cli import main
from harness.errors import Interrupted, UsageError
from harness.machine import describe_machine
from harness.registry import BackendInfo
from harness.run.folder import ResultsFolder, read_rows

HERE = Path(__file__).parent


def test_a_worker_that_holds_too_much_memory_is_ended(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULT", "left:train:1:hoards")
    go(tmp_path / "out", memory=300_000_000)
    assert statuses(tmp_path / "out", "left") == ["ok", "out-of-memory"]
    assert statuses(tmp_path / "out", "right") == ["ok", "ok"]
    assert "--memory" in row(tmp_path / "out", "left", 1)["error"]


def test_a_crash_is_tried_again_in_rounds_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULT", "left:train:1:exits:once")
    go(tmp_path / "out", retries=1)
    assert statuses(tmp_path / "out", "left") == ["ok", "ok"]
    assert row(tmp_path / "out", "left", 1)["worker"] == 2
    (before,) = read_rows(tmp_path / "out" / "superseded" / "summary.csv")
    assert (before["backend"], before["status"], before["worker"]) == ("left", "crashed", 1)
    rounds: dict[str, set[int]] = {"left": set(), "right": set()}
    for sample in read_rows(tmp_path / "out" / "samples.csv"):
        if (sample["phase"], sample["seed"]) == ("train", 1):
            rounds[sample["backend"]].add(sample["round"])
    count = len(rounds["right"])
    assert rounds["right"] == set(range(count))
    assert rounds["left"] == set(range(count, 2 * count))


def test_after_two_seeds_in_a_row_no_third_worker_is_started(tmp_path, monkeypatch):
    monkeypatch.setenv("FAULT", "left:train:1:exits left:train:2:exits")
    go(tmp_path / "out", seeds=4)
    assert statuses(tmp_path / "out", "left") == ["ok", "crashed", "crashed", "skipped"]
    assert statuses(tmp_path / "out", "right") == ["ok"] * 4


def test_a_signal_that_was_to_be_ignored_does_not_end_the_run(tmp_path):
    """`nohup` is for that: the terminal is closed, and the run goes on."""

    class Leaving(Counting):
        def trained(self, progress):
            super().trained(progress)
            os.kill(os.getpid(), signal.SIGHUP)

    heard, before = Leaving(), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with fake_workers():
            go(tmp_path / "out", listener=heard)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert len(heard.measured) > 4
    assert statuses(tmp_path / "out", "left") == ["ok", "ok"]


@pytest.mark.parametrize("options", [{"timeout": 5}, {"seeds": "many"}, {"backend": 3}, {}])
def test_a_journal_that_asks_for_nonsense_is_refused_in_one_line(tmp_path, capsys, options):
    head = {"journal": 1, "run_id": "r", "identity": {}, "request": {"dataset": 7, **options}}
    (tmp_path / "journal.jsonl").write_text(json.dumps(head) + "\n")
    with pytest.raises(SystemExit) as ended:
        main(["run", "--resume", str(tmp_path)])
    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert "what was asked for there makes no sense" in said
    assert len(said.splitlines()) == 1


def test_what_has_changed_is_named_and_refused(tmp_path):
    go(tmp_path / "out", seeds=1)
    with pytest.raises(UsageError, match=r"spec.training.batch_size: 8 then, 4 now"):
        go(tmp_path / "out", resume=True, seeds=1, batch_size=4)
    with pytest.raises(UsageError, match="seeds: 1 then, 2 now"):
        go(tmp_path / "out", resume=True, seeds=2)
    before = (tmp_path / "out" / "summary.csv").read_bytes()
    go(tmp_path / "out", resume=True, seeds=1)
    assert (tmp_path / "out" / "summary.csv").read_bytes() == before, "nothing was done again"


def another_machine(patched: pytest.MonkeyPatch) -> None:
    found = {**describe_machine(), "cpu": "an abacus"}
    patched.setattr("harness.run.run.describe_machine", lambda: found)


def another_harness(patched: pytest.MonkeyPatch) -> None:
    patched.setattr("harness.run.identity.source_hash", lambda root: "changed")


def another_framework(patched: pytest.MonkeyPatch) -> None:
    def newer(name: str) -> BackendInfo:
        return replace(info(name), versions={"framework": "2.0"})

    patched.setattr("fault_runs.info", newer)


def another_framework_in_the_worker(patched: pytest.MonkeyPatch) -> None:
    """Whose metadata are as they were, such as one that is built from a checkout."""

    def prepare(worker: FakeWorker, fields: object, arrays: object) -> tuple[dict, dict]:
        device = {"kind": "cpu", "name": "none"}
        return {"seconds": 0.5, "versions": {"fake": "2.0"}, "devices": [device]}, {}

    patched.setattr(FakeWorker, "_prepare", prepare)


CHANGES = {
    another_machine: "machine.cpu: .* then, an abacus now",
    another_harness: "versions.harness code: .* then, changed now",
    another_framework: "backends.left.versions.framework: nothing then, 2.0 now",
    another_framework_in_the_worker: "left cpu.fake: 1.0 then, 2.0 now",
}


class Stopping(Counting):
    """Stops the run, as Ctrl-C does, after its first block."""

    def trained(self, progress):
        raise KeyboardInterrupt


def lines_of(path: Path) -> set[bytes]:
    return set(path.read_bytes().splitlines()) if path.exists() else set()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_has_changed_beside_the_spec_is_named_too_and_nothing_is_lost(
    tmp_path, monkeypatch, change
):
    with fake_workers():
        with pytest.raises(Interrupted):
            go(tmp_path / "out", listener=Stopping())
        measured = lines_of(tmp_path / "out" / "samples.csv")
        with monkeypatch.context() as patched:
            change(patched)
            with pytest.raises(UsageError, match=CHANGES[change]):
                go(tmp_path / "out", resume=True)
        kept = lines_of(tmp_path / "out" / "superseded" / "samples.csv")
        assert measured <= lines_of(tmp_path / "out" / "samples.csv") | kept
        go(tmp_path / "out", resume=True)
    assert statuses(tmp_path / "out", "left") == statuses(tmp_path / "out", "right") == ["ok", "ok"]


def test_a_second_run_into_one_folder_is_refused_until_the_first_is_gone(tmp_path):
    first = ResultsFolder(tmp_path / "out")
    with pytest.raises(UsageError, match=f"written to by another process .{os.getpid()}"):
        ResultsFolder(tmp_path / "out")
    first.close()
    ResultsFolder(tmp_path / "out").close()


def test_a_last_line_that_was_cut_short_is_left_out_and_written_over(tmp_path):
    go(tmp_path / "out", seeds=1)
    samples = tmp_path / "out" / "samples.csv"
    rows = read_rows(samples)
    with samples.open("ab") as file:
        file.write(b"20261127-1,left,,cpu,0,1,3")
    assert read_rows(samples) == rows
    with (tmp_path / "out" / "journal.jsonl").open("ab") as file:
        file.write(b'{"backend": "left", "sta')
    go(tmp_path / "out", resume=True, seeds=1)
    assert read_rows(samples) == rows


def test_samples_whose_moving_was_cut_short_are_moved_once_in_the_end(tmp_path, monkeypatch):
    folder = ResultsFolder(tmp_path)
    folder.add_samples({"phase": "train", "block": block, "seed": block % 2} for block in range(6))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    def is_odd(sample: dict) -> bool:
        return sample["seed"] == "1"

    with monkeypatch.context() as patched:
        patched.setattr("harness.run.folder.replace_file", die)
        with pytest.raises(KeyboardInterrupt):
            folder.set_aside(is_odd)
    assert len(read_rows(tmp_path / "samples.csv")) == 6
    assert len(read_rows(tmp_path / "superseded" / "samples.csv")) == 3
    folder.set_aside(is_odd)
    folder.close()
    assert [s["block"] for s in read_rows(tmp_path / "samples.csv")] == [0, 2, 4]
    moved = read_rows(tmp_path / "superseded" / "samples.csv")
    assert [s["block"] for s in moved] == [1, 3, 5]


@pytest.mark.parametrize("mode", ["", "--fake"], ids=["true workers", "fake workers"])
def test_runs_that_are_killed_lose_nothing_and_go_on(kills, mode, record):
    count = str(5 * kills if mode else kills)
    command = [sys.executable, str(HERE / "killing.py"), "--kills", count, "--seed", "1", mode]
    command = [word for word in command if word]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record(done.stdout.splitlines()[-1])
