"""Runs whose frameworks are given the training set in windows."""

from __future__ import annotations

import json

import pytest
from flow_model import DATASET, MODEL, info

from harness.data import load, store
from harness.errors import UsageError
from harness.run.folder import ResultsFolder
from harness.run.listener import Listener
from harness.run.plan import make_plan, settle_stream
from harness.run.run import run
from harness.spec import parse_spec

KEEPING = 'last_batch = "keep"\n'


def losses(ran) -> list[tuple]:
    return [(s["backend"], s["seed"], s["block"], s["loss"]) for s in ran.of("train")]


@pytest.fixture
def small_windows(monkeypatch):
    """Windows of one batch, as the small set would otherwise fit into one."""
    monkeypatch.setattr("harness.run.cell.WINDOW_BYTES", 1)


def test_losses_are_those_of_a_set_that_is_held(go, small_windows, tmp_path):
    held = go("twin", "other", model=MODEL + KEEPING, stream="never")
    (tmp_path / "out").rename(tmp_path / "held")
    ran = go("twin", "other", model=MODEL + KEEPING, stream="always")
    assert sorted(losses(ran)) == sorted(losses(held))
    assert [row["streamed"] for row in ran.rows] == [True] * 4
    assert [row["streamed"] for row in held.rows] == [None] * 4
    assert [row["test_loss"] for row in ran.rows] == [row["test_loss"] for row in held.rows]
    assert [row["equivalent"] for row in ran.rows] == [True] * 4


def test_what_there_is_no_room_for_is_streamed_unless_it_is_forbidden(monkeypatch):
    dataset = load(DATASET)
    both, one = make_plan_of(2), make_plan_of(1)
    monkeypatch.setattr(store, "MEMORY_LIMIT", 2 * dataset.train_images.nbytes)
    assert settle_stream(both(), dataset).stream == "never", "two copies fit"
    monkeypatch.setattr(store, "MEMORY_LIMIT", 2 * dataset.train_images.nbytes - 1)
    assert settle_stream(both(), dataset).stream == "always"
    assert settle_stream(one(), dataset).stream == "never"
    assert settle_stream(one(precision="float64"), dataset).stream == "always"
    assert settle_stream(both(stream="never"), dataset).stream == "never"
    monkeypatch.setattr(store, "MEMORY_LIMIT", 10**12)
    assert settle_stream(both(stream="always"), dataset).stream == "always"


def make_plan_of(count: int):
    known = [*[info(name) for name in ("twin", "other")[:count]], info("numpy")]
    spec = parse_spec(MODEL, "small")
    return lambda **options: make_plan(spec, DATASET, known[:-1], known, device="cpu", **options)


def test_a_run_goes_on_as_it_was_begun_however_much_memory_there_is_by_then(monkeypatch, tmp_path):
    plan, dataset = make_plan_of(1)(seeds=1, epochs=1), load(DATASET)
    monkeypatch.setattr(store, "MEMORY_LIMIT", 10)
    (row,) = run(plan, dataset, ResultsFolder(tmp_path / "out"), Listener())
    assert row["streamed"] is True
    monkeypatch.setattr(store, "MEMORY_LIMIT", 10**12)
    lines = (tmp_path / "out" / "journal.jsonl").read_text().splitlines(keepends=True)
    planned = next(n for n, line in enumerate(lines) if json.loads(line).get("status") == "planned")
    notes = [line for line in lines[planned + 1 :] if "event" in json.loads(line)]
    (tmp_path / "out" / "journal.jsonl").write_text("".join([*lines[: planned + 1], *notes]))
    (row,) = run(plan, dataset, ResultsFolder(tmp_path / "out", resume=True), Listener())
    assert (row["status"], row["streamed"]) == ("ok", True)


def test_another_word_is_refused():
    with pytest.raises(UsageError, match=r"--stream 'yes'; allowed: auto, never, always\."):
        make_plan_of(1)(stream="yes")
