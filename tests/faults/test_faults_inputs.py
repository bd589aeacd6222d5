"""Files of strangers: each reader takes one or refuses it by its own error, and does nothing else.

    python -m pytest tests/faults -k inputs --inputs 100000

makes so many for each reader; see `fault_files` for what is done to them, and `fault_watch` for
what is looked at while one is read.
"""

from __future__ import annotations

import io
import os
import random
import resource
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fault_files
import pytest
from fault_choices import Choices
from fault_watch import judge, measured
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from harness.data.idx import read_idx
from harness.data.npz import load_npz
from harness.errors import DataError, MessageError, SpecError, UsageError
from harness.exchange import keras_file
from harness.exchange.hdf5 import read_groups
from harness.exchange.keras_import import import_keras
from harness.exchange.onnx_import import import_onnx
from harness.run.journal import Journal
from harness.run.messages import read_message
from harness.run.weights import read_weights
from harness.show.gather import read_run
from harness.show.page.ladder import find_checks
from harness.spec import load_spec, parse_spec_json
from harness.verdict import history
from harness.verdict.compare import compare

MB = 2**20
LIMITS = {"train": 0.05, "predict": 0.05, "accuracy": 0.01, "memory": 0.1, "compile": 0.1}


def read_json_spec(path: Path) -> None:
    parse_spec_json(path.read_text(encoding="utf-8", errors="replace"), path.name)


def read_messages(path: Path) -> None:
    with io.BytesIO(path.read_bytes()) as stream:
        while read_message(stream) is not None:
            pass


def read_images(path: Path) -> None:
    with path.open("rb") as file:
        array, _ = read_idx(file, fault_files.IDX_SHAPE)
    assert array.shape == fault_files.IDX_SHAPE


def read_data(path: Path) -> None:
    found = load_npz(f"npz:{path}")
    assert found.train_images.ndim == 4


def read_results(folder: Path) -> None:
    """As `compare` and `report` do."""
    with suppress(UsageError):
        read_run(folder)
    compare(folder, [folder], LIMITS)


def read_history(path: Path) -> None:
    rows = history.read(path.parent)
    for measure in history.MEASURES:
        for trend in history.trends(rows, measure):
            assert trend.label
            assert all(isinstance(value, float) for value in trend.values)


def read_journal(path: Path) -> None:
    found = Journal(path)
    try:
        assert isinstance(found.head["run_id"], str)
        list(found.current())
        sorted(key.seed for key in found.rows)
    finally:
        found.close()


@dataclass(frozen=True)
class Reader:
    """How a file is made and read, its one error, and how much memory a file may cost.

    That is `more` bytes, and `times` those of the file.
    """

    make: Callable[[Choices], Any]
    read: Callable[[Path], object]
    error: type[Exception]
    name: str
    more: int = 4 * MB
    times: int = 100


READERS = {
    "a spec in TOML": Reader(
        fault_files.spec_toml, lambda path: load_spec(str(path)), UsageError, "in.toml", 20 * MB
    ),
    "a spec in JSON": Reader(fault_files.spec_json, read_json_spec, SpecError, "in.json", 20 * MB),
    "messages of a worker": Reader(fault_files.message, read_messages, MessageError, "in"),
    "an idx file": Reader(fault_files.idx, read_images, DataError, "in-idx3-ubyte"),
    "an idx file in gzip": Reader(fault_files.idx_gz, read_images, DataError, "in.gz"),
    "an npz file": Reader(fault_files.npz, read_data, DataError, "in.npz", times=4 * 1032),
    # Rows may lack 100,000 fields in all.
    "a folder of results": Reader(fault_files.results, read_results, UsageError, "", 12 * MB),
    "a history": Reader(fault_files.history, read_history, UsageError, "in.csv", 12 * MB),
    "a journal": Reader(fault_files.journal, read_journal, UsageError, "journal.jsonl"),
    "an ONNX file": Reader(fault_files.onnx_file, import_onnx, UsageError, "in.onnx", 20 * MB),
    "a Keras file": Reader(fault_files.keras_file, import_keras, UsageError, "in.keras", 40 * MB),
    "a safetensors file": Reader(
        fault_files.safetensors_file, read_weights, UsageError, "in.safetensors", 20 * MB
    ),
}
SMALLEST = b""
COUNTED = 8  # of about so many batches, the memory of one is counted; by what is in it
MUCH = 300 * MB  # of resident memory, for all inputs of one reader
BATCH = 20  # inputs in one example; what Hypothesis does for each takes longer than most readers


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to read in, beside a file that nobody may read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "in" / "cache"))
    monkeypatch.setattr(keras_file, "read_groups", lambda *_: fault_files.KERAS_GROUPS)
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(bytes(4096))
    return tmp_path / "in"


def resident() -> int:
    """The most memory that this process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def attack(reader: Reader, folder: Path, recipe: bytes) -> bool:
    """Make a file and read it; return whether it was taken."""
    content = reader.make(Choices(recipe))
    path = fault_files.put(folder, content, reader.name)
    size = len(content) if isinstance(content, bytes) else sum(map(len, content.values()))
    return judge(path, reader.read, reader.error, reader.more + reader.times * size)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_hostile_inputs_are_taken_or_refused_and_nothing_else(reader, place, inputs, counted):
    if reader.read is import_onnx:
        pytest.importorskip("onnx")
        (place / "link").symlink_to(place.parent / "secret")
    path = fault_files.put(place, reader.make(Choices(SMALLEST)), reader.name)
    reader.read(path)  # imports what is imported late
    assert attack(reader, place, SMALLEST), "the sound one"

    @given(st.lists(st.binary(min_size=2, max_size=48), min_size=BATCH, max_size=BATCH))
    @settings(
        max_examples=inputs // BATCH,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    def several(recipes: list[bytes]) -> None:
        # To count memory takes more time than most readers do: that of a part is counted, and for
        # the others what the process holds must stay within bounds.
        is_counted = sum(recipes[0]) % COUNTED == 0
        with measured() if is_counted else nullcontext():
            for recipe in recipes:
                attack(reader, place, recipe)

    held = resident()
    several()
    assert resident() - held < MUCH
    assert counted.inputs > inputs // 2
    assert counted.taken < counted.inputs, "nothing was refused"


def test_hostile_weights_of_keras_are_taken_or_refused_in_a_process_of_their_own(
    tmp_path, inputs, record
):
    """A process for each file, as in truth: so there are fewer of them."""
    pytest.importorskip("h5py")
    count = max(inputs // 100, 3)
    taken = 0
    for number in range(count):
        recipe = random.Random(number).randbytes(24) if number else SMALLEST
        content = fault_files.hdf5_file(Choices(recipe))
        try:
            groups = read_groups(content, "model.weights.h5")
        except UsageError as error:
            assert "damaged" in str(error)
        else:
            taken += 1
            arrays = [a for group in groups.values() if isinstance(group, list) for a in group]
            assert sum(array.nbytes for array in arrays) <= len(content)
    assert taken, "the sound one"
    record(f"{count} inputs, {taken} taken, the others refused")


# What was found, each with the file that showed it.
COLUMNS = (
    b"run_id,status,backend,variant,device,model,dataset,batch_size,precision,environment,seed"
)
ROW = b"r,ok,torch,,cpu,small,digits,8,float32,tuned,0"
FOUND = {
    "a table of a byte for a row and thousands of columns": (
        {"summary.csv": b"run_id," + b",".join(b"c%d" % n for n in range(9000)) + b"\nx" * 9000},
        "lack more than 100000 fields",
    ),
    "two columns of a name": (
        {"summary.csv": COLUMNS + b",status\n" + ROW + b",failed\n"},
        "two columns have the same name",
    ),
    "a number of hundreds of digits": (
        {"summary.csv": COLUMNS + b",test_accuracy\n" + ROW + b",1" + b"0" * 400 + b"\n"},
        "test_accuracy is a number of 401 digits",
    ),
    "batches of half an image": (
        {"summary.csv": COLUMNS + b"\n" + ROW.replace(b",8,", b",8.5,") + b"\n"},
        "batch_size 8.5 is no whole number",
    ),
    "a round of no number": (
        {
            "summary.csv": COLUMNS + b"\n" + ROW + b"\n",
            "samples.csv": b"run_id,backend,variant,device,phase,seed,round,block,images,seconds\n"
            b"r,torch,,cpu,train,0,nan,0,8,0.5\n",
        },
        "is out of range",
    ),
    "seconds without end": (
        {
            "summary.csv": COLUMNS + b"\n" + ROW + b"\n",
            "samples.csv": b"run_id,backend,variant,device,phase,seed,round,block,images,seconds\n"
            b"r,torch,,cpu,train,0,0,0,8,inf\n",
        },
        "is out of range",
    ),
}


@pytest.mark.parametrize("what", FOUND)
def test_results_that_fooled_a_reader_once_are_refused(what, place):
    files, words = FOUND[what]
    path = fault_files.put(place, files, "")
    with pytest.raises(UsageError, match=words):
        compare(path, [path], LIMITS)


@pytest.mark.parametrize("name", ["summary.csv", "samples.csv"])
def test_a_pipe_in_the_place_of_a_table_is_not_waited_for(name, place):
    files = {"summary.csv": COLUMNS + b"\n" + ROW + b"\n"}
    path = fault_files.put(place, files, "")
    (path / name).unlink(missing_ok=True)
    os.mkfifo(path / name)
    with pytest.raises(UsageError, match="it is no file"):
        compare(path, [path], LIMITS)


def test_json_without_end_in_a_folder_of_results_costs_the_page_nothing(place):
    files = fault_files.results(Choices(SMALLEST))
    deep = dict.fromkeys(("machine.json", "spec.json", "check.json"), b"[" * 100_000)
    path = fault_files.put(place, {**files, **deep}, "")
    found = read_run(path)
    assert found.spec is None
    assert found.rows
    assert find_checks([path]) == []


@pytest.mark.parametrize(
    "line",
    [b'["event"]', b'{"event": "x", "facts": {"run_id": 5}}', b'{"event": "x", "facts": 1}',
     b'{"backend": "a", "variant": "", "device": "cpu", "seed": "1", "worker": 0, "status": ""}',
     b'{"backend": "a", "variant": "", "device": "cpu", "seed": 1, "worker": 1e999, "status": ""}'],
)  # fmt: skip
def test_a_journal_that_misled_its_reader_once_is_refused_by_line(line, tmp_path):
    head = b'{"journal": 1, "run_id": "r", "identity": {}, "request": {}}\n'
    (tmp_path / "journal.jsonl").write_bytes(head + line + b"\n")
    with pytest.raises(UsageError, match="line 2: no row of a journal"):
        Journal(tmp_path / "journal.jsonl")


def test_a_history_without_a_verdict_is_refused(tmp_path):
    (tmp_path / "m.csv").write_bytes(COLUMNS + b"\n" + ROW + b"\n")
    with pytest.raises(UsageError, match="is no history: there is no column"):
        history.read(tmp_path)
