from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.errors import StorageError, UsageError
from harness.run.durable import AppendFile, check_room, temporary_folder
from harness.run.folder import SAMPLE_COLUMNS, SUMMARY_COLUMNS, ResultsFolder, now, read_rows
from harness.run.pairs_folder import Pair, PairsFolder

# What others rely on; a column may be added, never renamed or taken away.
SUMMARY = """
schema_version run_id started_at status error backend variant framework_version model model_hash
dataset dataset_hash device precision environment threads seed epochs batch_size parameters
flops_per_image order_hash init_hash equivalent import_seconds build_seconds compile_seconds
train_seconds eval_seconds train_images_per_second train_images_per_second_low
train_images_per_second_high step_ms_p50 step_ms_p95 step_ms_p99 predict_images_per_second
predict_ms_p50 predict_ms_p99 peak_host_bytes peak_device_bytes train_loss test_loss test_accuracy
machine_key commit dirty
""".split()
SAMPLES = """
run_id backend variant device seed round position phase block steps images seconds loss started_at
""".split()


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_summary_and_the_samples_have_the_promised_columns_once_each():
    for columns, promised in ((SUMMARY_COLUMNS, SUMMARY), (SAMPLE_COLUMNS, SAMPLES)):
        assert set(promised) <= set(columns)
        assert [name for name in columns if name in promised] == promised
        assert len(set(columns)) == len(columns)


def test_a_run_has_folders_for_models_and_logs_and_a_table_of_samples(tmp_path):
    folder = ResultsFolder(tmp_path / "deep" / "out")
    assert folder.path == tmp_path / "deep" / "out"
    assert folder.models == folder.path / "models"
    assert folder.logs.is_dir()
    assert folder.models.is_dir()
    assert table(folder.path / "samples.csv") == [SAMPLE_COLUMNS]


def test_a_run_without_a_folder_gets_one_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, other = ResultsFolder(None), ResultsFolder(None)
    assert one.path == Path("results") / one.run_id
    assert one.run_id != other.run_id
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", one.run_id)


def test_rows_are_read_as_they_were_written(tmp_path):
    folder = ResultsFolder(tmp_path)
    nasty = 'a "quoted", text\nof two lines, with ünïcode ✓ and \t tab'
    sample = {"backend": "torch", "seed": 0, "seconds": 0.1 + 0.2, "loss": float("nan")}
    folder.add_samples([sample, {"backend": "flax", "phase": "train", "images": 12345678901234567}])
    folder.write_summary([{"backend": "torch", "error": nasty, "equivalent": True, "dirty": None}])
    folder.close()
    first, second = read_rows(tmp_path / "samples.csv")
    assert first["run_id"] == second["run_id"] == folder.run_id
    assert (first["seed"], first["seconds"], first["phase"]) == (0, 0.1 + 0.2, None)
    assert type(first["seed"]) is int
    assert first["loss"] != first["loss"]
    assert second["images"] == 12345678901234567
    (row,) = read_rows(tmp_path / "summary.csv")
    assert list(row) == SUMMARY_COLUMNS
    assert row["error"] == nasty
    assert row["schema_version"] == 1
    assert row["equivalent"] is True
    assert row["dirty"] is None


def test_a_hash_of_digits_stays_a_text(tmp_path):
    folder = ResultsFolder(tmp_path)
    folder.write_summary([{"model_hash": "0012345678901234", "order_hash": "12345678901234e5"}])
    (row,) = read_rows(tmp_path / "summary.csv")
    assert row["model_hash"] == "0012345678901234"
    assert row["order_hash"] == "12345678901234e5"


def test_a_column_that_does_not_exist_is_not_written(tmp_path):
    folder = ResultsFolder(tmp_path)
    with pytest.raises(ValueError, match="sceonds"):
        folder.add_samples([{"sceonds": 1.0}])
    with pytest.raises(ValueError, match="speed"):
        folder.write_summary([{"speed": 1.0}])
    assert not (tmp_path / "summary.csv").exists()


def test_a_sample_is_on_disk_as_soon_as_it_is_added(tmp_path, monkeypatch):
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    folder = ResultsFolder(tmp_path)
    for block in range(3):
        folder.add_samples([{"block": block}])
        assert len(table(tmp_path / "samples.csv")) == 2 + block
        assert synced[-1] == (tmp_path / "samples.csv").stat().st_size


KILLED = """
import os, signal, sys
from pathlib import Path
from harness.run.folder import ResultsFolder
folder = ResultsFolder(Path(sys.argv[1]))
for block in range(50):
    folder.add_samples([{"block": block, "started_at": "x" * 1000}])
    folder.write_summary([{"seed": seed} for seed in range(block + 1)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_leaves_complete_rows(tmp_path):
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "samples.csv").read_bytes().endswith(b"\n")
    samples = read_rows(tmp_path / "samples.csv")
    assert [row["block"] for row in samples] == list(range(50))
    assert len(read_rows(tmp_path / "summary.csv")) == 50


def test_the_summary_is_replaced_at_one_stroke(tmp_path, monkeypatch):
    folder = ResultsFolder(tmp_path)
    folder.write_summary([{"seed": 0}])
    before = (tmp_path / "summary.csv").read_bytes()

    def fail(descriptor: int) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match="no space left"):
            folder.write_summary([{"seed": 0}, {"seed": 1}])
        assert (tmp_path / "summary.csv").read_bytes() == before
    with pytest.raises(ValueError, match="wrong"):
        folder.write_summary([{"seed": 0}, {"wrong": 1}])
    assert (tmp_path / "summary.csv").read_bytes() == before
    folder.write_summary([{"seed": 0}, {"seed": 1}])
    assert len(read_rows(tmp_path / "summary.csv")) == 2


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(tmp_path):
    folder = ResultsFolder(tmp_path)
    folder.add_samples([{"block": 0}])
    folder.write_summary([{"seed": 0}])
    folder.close()
    before = {path: path.read_bytes() for path in tmp_path.glob("*.csv")}
    with pytest.raises(UsageError) as caught:
        ResultsFolder(tmp_path)
    assert str(caught.value) == f"--out {tmp_path} holds a run already; name another folder"
    assert {path: path.read_bytes() for path in tmp_path.glob("*.csv")} == before


def test_the_samples_of_a_run_that_was_killed_are_left_alone_too(tmp_path):
    folder = ResultsFolder(tmp_path)
    folder.add_samples([{"block": 0}])
    folder.close()
    with pytest.raises(UsageError, match="holds a run already"):
        ResultsFolder(tmp_path)
    assert len(read_rows(tmp_path / "samples.csv")) == 1


def test_a_folder_whose_run_measured_nothing_can_be_used_again(tmp_path):
    ResultsFolder(tmp_path).close()
    folder = ResultsFolder(tmp_path)
    folder.add_samples([{"block": 7}])
    assert table(tmp_path / "samples.csv")[0] == SAMPLE_COLUMNS
    assert [row["block"] for row in read_rows(tmp_path / "samples.csv")] == [7]


def unusable(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "file").write_text("")
    (tmp_path / "logs").write_text("")
    return {
        "a file": tmp_path / "file",
        "below a file": tmp_path / "file" / "out",
        "with a file for a folder in it": tmp_path,
        "in a place where nothing can be made": Path("/proc/nowhere"),
        "with a long name": tmp_path / ("x" * 300),
    }


@pytest.mark.parametrize("which", range(5))
def test_a_place_where_nothing_can_be_written_is_said_plainly(tmp_path, which):
    path = list(unusable(tmp_path).values())[which]
    with pytest.raises(UsageError) as caught:
        ResultsFolder(path)
    assert str(caught.value).startswith(f"cannot write results to {path}: ")
    assert str(caught.value).endswith("Try: --out with a folder that you may write to")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_said_plainly(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"):
        ResultsFolder(tmp_path / "out")
    tmp_path.chmod(0o000)
    with pytest.raises(UsageError, match="Permission denied"):
        ResultsFolder(tmp_path / "out")
    tmp_path.chmod(0o700)


def test_json_is_written_for_people_too(tmp_path):
    folder = ResultsFolder(tmp_path)
    folder.write_json("machine.json", {"cpu": "Prozessor für alles", "gpus": []})
    text = (tmp_path / "machine.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"cpu": "Prozessor für alles", "gpus": []}
    assert '  "cpu": "Prozessor für alles",\n' in text


UNREADABLE = {
    "no table": b"some text\nof two lines\n",
    "another table": b"a,b\n1,2\n",
    "nothing": b"",
    "binary": bytes(range(256)),
    "words for numbers": b"run_id,seconds\r\nx,fast\r\n",
    "NUL": b"run_id,seconds\r\nx,\0\r\n",
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_no_run_wrote_is_not_read(tmp_path, content):
    path = tmp_path / "summary.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_rows(path)
    assert str(caught.value).startswith(f"cannot read {path}: ")
    assert str(caught.value).endswith("Try: a folder that a run wrote")


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_a_missing_table_is_said_plainly(tmp_path, name):
    with pytest.raises(UsageError, match="cannot read"):
        read_rows(tmp_path / name)


def test_times_are_in_utc():
    moment = datetime.fromisoformat(now())
    assert moment.tzinfo == UTC
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 60


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("no space left on device")])
def test_what_ends_an_append_leaves_nothing_of_it_before_the_next(tmp_path, monkeypatch, error):
    """As Ctrl-C does, most likely while the disk is waited for, when all has been written."""
    file = AppendFile(tmp_path / "x", b"head\n")

    def end(descriptor: int) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", end)
        with pytest.raises((KeyboardInterrupt, StorageError)):
            file.append(b"a long line\nand another\n")
    assert file.append(b"short\n") == len(b"head\n")
    assert (tmp_path / "x").read_bytes() == b"head\nshort\n"
    file.close()


@pytest.mark.parametrize("name", [".lock", "samples.csv"])
def test_a_file_of_the_folder_that_is_a_link_is_not_followed(tmp_path, name):
    mine = tmp_path / "mine"
    mine.write_text("not to be touched")
    out = tmp_path / "out"
    folder = ResultsFolder(out)
    folder.begin_journal({"identity": {}, "request": {}})
    folder.close()
    (out / name).unlink()
    (out / name).symlink_to(mine)
    with pytest.raises((UsageError, StorageError)):
        ResultsFolder(out, resume=True)
    assert mine.read_text() == "not to be touched"


def test_a_table_is_not_written_through_a_link_in_its_place(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("not to be touched")
    folder = ResultsFolder(tmp_path / "out")
    (folder.path / "summary.csv.new").symlink_to(mine)
    folder.write_summary([{"seed": 3}])
    assert mine.read_text() == "not to be touched"
    assert [row["seed"] for row in read_rows(folder.path / "summary.csv")] == [3]


def test_names_of_files_are_synced_with_their_folders(tmp_path, monkeypatch):
    """Else the folder of a run could be gone after a loss of power, and all that is in it."""
    synced = set()

    def fsync(descriptor: int) -> None:
        synced.add(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", fsync)
    folder = ResultsFolder(tmp_path / "out")
    assert {tmp_path, tmp_path / "out"} <= synced
    folder.add_samples([{"seed": 1, "phase": "train"}])
    folder.set_aside(lambda sample: True)
    assert tmp_path / "out" / "superseded" in synced


def test_pairs_are_on_disk_as_soon_as_they_are_added_and_a_full_disk_is_said(tmp_path, monkeypatch):
    folder = PairsFolder(tmp_path)
    pair = Pair(0, "A", now(), seconds={"train": (1.0, 1.1)})
    folder.add_pair(pair, ["train"])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="No space left on device"):
            folder.add_pair(pair, ["train"])
    folder.add_pair(Pair(1, "B", now(), failed='B: crashed\nof "it", he said'), ["train"])
    folder.close()
    first, second = read_rows(tmp_path / "pairs.csv")
    assert (first["pair"], first["seconds_b"], first["status"]) == (0, 1.1, "ok")
    assert (second["pair"], second["error"]) == (1, 'B: crashed\nof "it", he said')


def test_room_is_looked_for_by_writing_and_leaves_nothing(tmp_path, monkeypatch):
    check_room(tmp_path)
    assert list(tmp_path.iterdir()) == []

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        check_room(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_place_for_temporary_files_is_said_plainly(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(StorageError, match="cannot write temporary files: No such file"):
        temporary_folder()
