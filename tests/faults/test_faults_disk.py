"""Every write of a run fails in turn, and every new name: nothing is lost, and it goes on.

Workers are fake and answer at once, so that a run of the harness itself takes a tenth of a second.
"""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_disk import Disk, Unwritable
from fault_runs import Counting, go, statuses, tables
from safetensors import SafetensorError

from benchmarks.fakes import FakeWorker, fake_workers
from harness.errors import HarnessError, StorageError, UsageError, WorkerError
from harness.run import bench, weights
from harness.run.durable import check_room
from harness.run.folder import read_rows
from harness.verdict.files import read_side

FEW = 12  # places in the short suite, spread over the run; all of them with more --inputs


@pytest.fixture(autouse=True)
def faked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fake workers, and as many writes of the summary on a slow machine as on any."""
    monkeypatch.setattr(bench, "QUICK_SECONDS", float("inf"))
    with fake_workers():
        yield


def check(out: Path, measured: list) -> None:
    """What is there can be read by the ordinary readers, and no finished block is missing."""
    if (out / "summary.csv").exists():
        assert read_rows(out / "summary.csv")
        assert read_side(out)
    if measured:
        stored = [s for s in read_rows(out / "samples.csv") if s["phase"] == "train"]
        found = [(s["backend"], s["seed"], s["epoch"], s["loss"]) for s in stored]
        assert found[: len(measured)] == measured, "a block that was reported is not there"
        assert len(found) <= len(measured) + 1


def begun(out: Path) -> bool:
    journal = out / "journal.jsonl"
    return journal.is_file() and b"\n" in journal.read_bytes()


def fail_and_go_on(out: Path, fault: Disk | Unwritable, whole: dict) -> bool:
    """A run that meets the fault ends with its own error, or does not need what was refused.

    Return whether it met it.
    """
    heard, met = Counting(), False
    try:
        with fault.used():
            go(out, listener=heard)
    except HarnessError as error:
        met = True
        assert isinstance(error, StorageError | UsageError)
        assert error.exit_code in (2, 5)
        assert "No space left" in str(error) or "Permission denied" in str(error)
    check(out, heard.measured)
    if begun(out):
        go(out, resume=True)
    else:  # there is nothing to go on with: a new run takes the place
        assert not heard.measured
        go(out)
    assert tables(out) == whole
    return met


def places(count: int, at_length: bool) -> list[int]:
    """Which writes fail: all, or some of them, the first and the last included."""
    few = count if at_length else FEW
    return sorted({1 + round(n * (count - 1) / (few - 1)) for n in range(few)})


@pytest.mark.parametrize("kind", [Disk, Unwritable], ids=["a full disk", "no new names"])
def test_whichever_write_fails_nothing_is_lost_and_the_run_goes_on(
    tmp_path, kind, at_length, record
):
    counting = kind(tmp_path / "whole")
    with counting.used():
        go(tmp_path / "whole")
    whole = tables(tmp_path / "whole")
    count = counting.writes if kind is Disk else counting.names
    assert count > 20
    met = 0
    for failing in places(count, at_length):
        out = tmp_path / str(failing)
        met += fail_and_go_on(out, kind(out, failing), whole)
    tried = len(places(count, at_length))
    record(f"{tried} of {count} failed in turn, of which {met} ended the run")
    assert met == tried, "none goes unnoticed"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few pages, which is truly full."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k,nr_inodes=64", "none", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()[:100]}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("taken", [72, 88, 104, 112, 120])
def test_a_disk_that_is_truly_full_loses_nothing(tmp_path, small_disk, taken):
    go(tmp_path / "whole")
    filler = small_disk / "filler"
    filler.write_bytes(bytes(taken * 1024))
    heard = Counting()
    with pytest.raises((StorageError, UsageError), match="No space left on device"):
        go(small_disk / "out", listener=heard)
    check(small_disk / "out", heard.measured)
    filler.unlink()
    os.sync()
    go(small_disk / "out", resume=begun(small_disk / "out"))
    assert tables(small_disk / "out") == tables(tmp_path / "whole")


def test_a_worker_that_finds_no_room_ends_the_run_and_is_no_failure_of_its_own(
    tmp_path, monkeypatch
):
    """What it writes is its source, and what frameworks keep while they compile."""
    go(tmp_path / "whole")
    out = tmp_path / "out"

    def no_room(worker: FakeWorker, fields: object, arrays: object) -> None:
        raise WorkerError(f"{worker.label}: OSError: No space left on device")

    def full(folder: Path) -> None:
        raise StorageError(folder, OSError(errno.ENOSPC, "No space left on device"))

    with monkeypatch.context() as patched:
        patched.setattr(FakeWorker, "_open", no_room)
        patched.setattr(bench, "check_room", full)
        with pytest.raises(StorageError, match=r"No space left on device; .*--resume"):
            go(out)
    assert {*statuses(out, "left"), *statuses(out, "right")} == {"planned"}
    go(out, resume=True)
    assert tables(out) == tables(tmp_path / "whole")


def test_weights_that_find_no_room_end_the_run_as_any_full_disk_does(tmp_path, monkeypatch):
    go(tmp_path / "whole", save_weights=True)
    out = tmp_path / "out"

    def full(arrays: object, name: str, metadata: object) -> None:
        Path(name).write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patched:
        patched.setattr(weights, "save_file", full)
        with pytest.raises(StorageError, match="No space left on device"):
            go(out, save_weights=True)
    assert list((out / "weights").iterdir()) == []
    go(out, resume=True, save_weights=True)
    assert tables(out) == tables(tmp_path / "whole")
    kept = sorted(path.name.partition(".")[0] for path in (out / "weights").iterdir())
    assert kept == ["left-cpu-0", "left-cpu-1", "right-cpu-0", "right-cpu-1"]


def test_no_room_for_temporary_files_ends_the_run_before_it_begins(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
        with pytest.raises(StorageError, match="cannot write temporary files"):
            go(tmp_path / "out")
    go(tmp_path / "out")  # the folder was let go of


def test_a_full_disk_has_no_room(small_disk):
    check_room(small_disk)
    (small_disk / "filler").write_bytes(bytes(120 * 1024))
    with pytest.raises(StorageError, match="No space left on device"):
        check_room(small_disk)
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
