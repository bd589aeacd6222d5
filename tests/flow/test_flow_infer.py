"""Timed predictions: in turns, by batch size, of backends that are the reference in disguise."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from flow_model import DATASET, MODEL, info

from harness import registry
from harness.cli import main
from harness.data import load
from harness.errors import UsageError
from harness.run.folder import read_rows
from harness.run.inference import (
    CALLS,
    INFERENCE_COLUMNS,
    InferenceFolder,
    check_request,
    drawn_images,
    measure,
    parse_sizes,
)
from harness.run.limit import prediction_limit
from harness.run.listener import Listener
from harness.run.peaks import known_peaks
from harness.run.plan import make_plan
from harness.spec import initial_parameters, parse_spec

SPEC = parse_spec(MODEL, "small")
ARRAYS = initial_parameters(SPEC, 5)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def timed(tmp_path):
    def timed(*names, sizes=(1, 4), dataset=None, rounds=2, **options):
        known = [info(name) for name in (*names, "numpy")]
        options = {"device": "cpu", "threads": 1, **options}
        plan = make_plan(SPEC, "drawn", known[:-1], known, **options)
        folder = InferenceFolder(tmp_path / "out")
        rows = measure(plan, ARRAYS, dataset, sizes, rounds, folder, Listener())
        kept = read_rows(folder.path / "inference.csv")
        assert len(kept) == len(rows)
        return kept, read_rows(folder.path / "samples.csv")

    return timed


def test_there_is_a_row_for_each_backend_and_size_and_it_follows_from_the_samples(timed):
    rows, samples = timed("twin", "other")
    assert [(row["batch_size"], row["backend"]) for row in rows] == [
        (1, "twin"),
        (1, "other"),
        (4, "twin"),
        (4, "other"),
    ]
    for row in rows:
        assert (row["status"], row["equivalent"]) == ("ok", True)
        seconds = [
            s["seconds"]
            for s in samples
            if (s["backend"], s["images"]) == (row["backend"], row["batch_size"])
            and s["round"] >= 0
        ]
        assert row["calls"] == len(seconds)
        assert row["ms_p50"] == pytest.approx(1000 * np.median(seconds))
        assert row["ms_p99"] == pytest.approx(1000 * np.percentile(seconds, 99))
        assert row["images_per_second"] == pytest.approx(row["batch_size"] / np.median(seconds))
        empty = {name for name, value in row.items() if value is None}
        assert empty <= {
            *("error", "variant", "peak_device_bytes", "commit", "dirty"),
            *("limit_images_per_second", "fraction_of_limit"),
        }


def test_the_first_call_is_kept_and_counts_in_nothing_else(timed):
    rows, samples = timed("twin", sizes=(4,))
    warm_up = [s["seconds"] for s in samples if s["round"] == -1]
    assert len(warm_up) == CALLS.warm_up
    assert rows[0]["first_call_seconds"] == warm_up[0]
    assert rows[0]["calls"] == len(samples) - CALLS.warm_up


def test_all_take_turns_in_every_round_as_often_and_in_orders_that_vary(timed):
    _, samples = timed("twin", "other", sizes=(1, 4), rounds=6)
    orders = Counter()
    by_round = defaultdict(dict)
    for sample in samples:
        if sample["round"] >= 0:
            by_round[sample["images"], sample["round"]][sample["position"]] = sample["backend"]
    assert len(by_round) == 2 * 6
    for turns in by_round.values():
        assert sorted(turns) == [0, 1]
        orders[tuple(turns[position] for position in (0, 1))] += 1
    assert set(orders) == {("twin", "other"), ("other", "twin")}


def test_images_of_a_dataset_are_taken_where_one_is_named(timed):
    rows, _ = timed("twin", dataset=load(DATASET), sizes=(64,))
    assert rows[0]["dataset"] == DATASET
    assert rows[0]["batch_size"] == 64, "more than there are: they are repeated"


def test_images_of_another_size_are_refused():
    with pytest.raises(UsageError, match="takes 6x6x1 images"):
        check_request(SPEC, load("synthetic:7x6x1:3:84"), 1)


def test_a_backend_that_is_another_network_is_marked(timed):
    rows, _ = timed("twin", "unlike")
    marks = {row["backend"]: row["equivalent"] for row in rows}
    assert marks == {"twin": True, "unlike": False}
    assert max(row["equivalence_difference"] for row in rows) > 1e-4


def test_one_that_fails_at_a_size_keeps_its_smaller_ones_and_the_others_go_on(timed):
    rows, _ = timed("twin", "smallonly", sizes=(1, 4, 8))
    found = {(row["backend"], row["batch_size"]): row for row in rows}
    assert all(found["twin", size]["status"] == "ok" for size in (1, 4, 8))
    assert found["smallonly", 1]["status"] == "ok"
    for size in (4, 8):
        row = found["smallonly", size]
        assert row["status"] == "out-of-memory"
        assert "CUDA out of memory" in row["error"]
        assert row["images_per_second"] is None


def test_the_limit_is_that_of_the_way_forward_at_the_size(timed):
    rows, _ = timed("prober", limit=True)
    peaks = known_peaks("cpu", 1, "float32")
    for row in rows:
        limit = prediction_limit(SPEC, row["batch_size"], peaks)
        assert row["limit_images_per_second"] == pytest.approx(limit)
        assert row["fraction_of_limit"] == pytest.approx(row["images_per_second"] / limit)


@pytest.mark.parametrize(
    ("text", "sizes"), [("1", (1,)), ("8, 1,8,", (1, 8)), ("1024,128", (128, 1024))]
)
def test_batch_sizes_are_read_in_rising_order(text, sizes):
    assert parse_sizes(text) == sizes


def test_drawn_images_fit_any_model():
    regression = MODEL.replace(', activation = "softmax"', "") + 'loss = "mean_squared_error"\n'
    for text in (MODEL, regression):
        spec = parse_spec(text, "small")
        images = drawn_images(spec)
        assert images.test_images.shape[1:] == spec.input
        assert images.hash == drawn_images(spec).hash


def harness(monkeypatch, *arguments):
    known = [info(name) for name in ("twin", "wrong", "smallonly", "unlike", "numpy")]
    monkeypatch.setattr(registry, "describe", lambda: known)
    with pytest.raises(SystemExit) as end:
        main(["infer", *arguments])
    return int(end.value.code or 0)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(MODEL)
    return ("-m", "small.toml", "--device", "cpu", "--threads", "1", "--rounds", "2")


def test_the_command_prints_a_table_and_writes_a_folder(here, monkeypatch, capsys):
    assert harness(monkeypatch, *here, "-b", "twin", "--batch-sizes", "1,4", "--quiet") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "ms p50" in said.out
    assert next(line for line in said.out.splitlines() if line.startswith("twin"))
    (folder,) = (Path("results") / "inference").iterdir()
    assert str(folder) in said.out
    with (folder / "inference.csv").open() as file:
        assert next(csv.reader(file)) == INFERENCE_COLUMNS
    assert "command" in json.loads((folder / "machine.json").read_text())
    assert (folder / "models" / "small_twin.py").is_file()


def test_the_command_prints_json(here, monkeypatch, capsys):
    options = ("-b", "twin", "--batch-sizes", "4", "--json", "--quiet", "--out", "out")
    assert harness(monkeypatch, *here, *options) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["backend"], row["batch_size"]) == ("twin", 4)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("unlike", 1, "NOT the same network"), ("smallonly", 4, "batches of 4: out-of-memory")],
)
def test_exit_codes_tell_what_became_of_it(here, name, code, words, monkeypatch, capsys):
    options = ("-b", f"twin,{name}", "--batch-sizes", "1,4", "--quiet", "--out", "out")
    assert harness(monkeypatch, *here, *options) == code
    assert words in " ".join(capsys.readouterr().out.split())


BAD = {
    "--batch-sizes 'many' is no number": ("--batch-sizes", "1,many"),
    "--batch-sizes 0; allowed: 1 to 65536": ("--batch-sizes", "0"),
    "--batch-sizes -1; allowed": ("--batch-sizes", "-1"),
    "--batch-sizes ',' has none": ("--batch-sizes", ","),
    "--rounds 0; allowed": ("--rounds", "0"),
    "unknown model 'smal'": ("--model", "smal"),
    "no such file of weights": ("--weights", "nowhere.safetensors"),
    "unknown dataset": ("--dataset", "digit"),
    "takes 6x6x1 images": ("--dataset", "digits"),
    "is the reference that all others are compared with": ("--backend", "numpy"),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_gives_one_clear_message_and_leaves_nothing(here, message, monkeypatch, capsys):
    assert harness(monkeypatch, *here, "-b", "twin", "--quiet", *BAD[message]) == 2
    said = capsys.readouterr().err
    assert message in " ".join(said.split())
    assert "Traceback" not in said
    assert not Path("results").exists()


def test_every_column_is_explained_beside_the_results():
    text = (Path(__file__).parents[2] / "results" / "README.md").read_text(encoding="utf-8")
    assert [name for name in INFERENCE_COLUMNS if f"`{name}`" not in text] == []
