"""`harness compare` on results folders with known contents."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from verdict_runs import write_run, write_runs

from harness.cli import main
from harness.errors import UsageError
from harness.verdict import files
from harness.verdict.compare import compare
from harness.verdict.files import read_side

TRAIN = {"train": 0.025}


@pytest.fixture
def code(capsys):
    """Run the command and return its exit code and what it printed."""

    def run(*arguments: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main(["compare", *map(str, arguments)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(end.value.code or 0), said.out + said.err

    return run


def only(report):
    (finding,) = report.findings
    return finding


def test_enough_runs_of_a_slower_step_are_a_regression(tmp_path, code):
    old = write_runs(tmp_path / "old", 8)
    new = write_runs(tmp_path / "new", 8, first=50, step=0.011)
    finding = only(compare(old, [new], TRAIN))
    assert finding.verdict == "REGRESSED"
    assert finding.judgement.pairs == 8
    assert finding.judgement.ratio == pytest.approx(1.1, abs=0.02)
    assert finding.judgement.low < 1.1 < finding.judgement.high
    assert code(old, new, "--fail-on", "train:2.5%")[0] == 1
    assert only(compare(new, [old], TRAIN)).verdict == "IMPROVED"


def test_enough_runs_of_the_same_step_are_ok(tmp_path, code):
    old, new = write_runs(tmp_path / "old", 8), write_runs(tmp_path / "new", 8, first=50)
    assert only(compare(old, [new], TRAIN)).verdict == "OK"
    assert code(old, new, "--fail-on", "train:2.5%")[0] == 0


def test_two_single_runs_never_prove_a_regression_and_the_command_that_would_is_named(
    tmp_path, code
):
    old, new = write_run(tmp_path / "old"), write_run(tmp_path / "new", 1, step=0.1)
    finding = only(compare(old, [new], TRAIN))
    assert finding.verdict == "INCONCLUSIVE"
    assert finding.judgement.ratio == pytest.approx(10, rel=0.05)
    assert finding.within is not None
    named = "python -m harness ab torch torch --model {} --dataset digits"
    assert named.format("small.toml") in finding.detail, "the file that it once was"
    (old / "spec.json").write_text("{}")
    assert named.format(old / "spec.json") in only(compare(old, [new], TRAIN)).detail
    for place in (old, new):
        write_run(place, step=0.01, model="lenet-5")
    assert named.format("lenet-5") in only(compare(old, [new], TRAIN)).detail
    assert code(old, new, "--fail-on", "train:2.5%")[0] == 3
    assert code(old, new, "--fail-on", "train:2.5%", "--inconclusive-ok")[0] == 0


def test_live_pairs_do_not_measure_memory_so_more_runs_are_named(tmp_path):
    old, new = write_run(tmp_path / "old"), write_run(tmp_path / "new", 1)
    found = {
        f.measure: f.detail for f in compare(old, [new], {"memory": 0.1, "compile": 1}).findings
    }
    assert "seven or more runs of each side" in found["memory"]
    assert "harness ab" not in found["memory"]
    assert found["compile"].endswith("--measure compile")


def test_the_ratio_is_paired_by_round(tmp_path):
    left, right = write_run(tmp_path / "old"), write_run(tmp_path / "new", 1, rounds=10)
    (old,), (new,) = read_side(left), read_side(right)
    (key,) = old
    ratios = old[key].train.log_ratios(new[key].train)
    assert len(ratios) == 30, "three seeds of ten rounds that both have"
    expected = [math.log(b / a) for a, b in zip(_seconds(left), _seconds(right), strict=True)]
    assert np.allclose(np.sort(ratios), np.sort(expected))


def test_large_results_are_read_side_by_side(tmp_path, monkeypatch):
    old, new = write_run(tmp_path / "old"), write_run(tmp_path / "new", 1, step=0.011)
    alone = compare(old, [new, old], TRAIN)
    asked = []
    monkeypatch.setattr(files, "LARGE", 0)
    monkeypatch.setattr(files, "available_cpus", lambda: 2)
    pool = files.ProcessPoolExecutor
    monkeypatch.setattr(
        files, "ProcessPoolExecutor", lambda *a, **k: asked.append(a) or pool(*a, **k)
    )
    assert compare(old, [new, old], TRAIN).findings == alone.findings
    assert [workers for workers, _ in asked] == [2]
    (new / "samples.csv").write_text("no,samples\n1,2\n")
    with pytest.raises(UsageError, match="that a run wrote"):
        compare(old, [new], TRAIN)


def _seconds(folder):
    lines = (folder / "samples.csv").read_text().splitlines()
    names = lines[0].split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
    return [float(row["seconds"]) for row in rows if int(row["round"]) < 10]


def test_without_samples_the_summary_s_speeds_are_compared(tmp_path):
    old, new = write_run(tmp_path / "old"), write_run(tmp_path / "new", 1, step=0.02)
    (old / "samples.csv").unlink()
    finding = only(compare(old / "summary.csv", [new], TRAIN))
    assert finding.judgement.ratio == pytest.approx(2)
    assert finding.within is None


CHANGES = {
    "model": {"model_hash": "m2"},
    "dataset": {"dataset_hash": "d2"},
    "machine": {"machine_key": "k2"},
    "versions": {"versions": '{"torch": "2.12"}'},
    "code": {"commit": "d" * 40},
    "threads": {"threads": 1},
    "weights": {"init_hash": "i2"},
    "order": {"order_hash": "o2"},
    "network": {"equivalent": False},
    "stream": {"streamed": True},
}


@pytest.mark.parametrize("word", CHANGES)
def test_what_differs_is_named_and_compared_only_when_asked_to(tmp_path, word, code):
    old = write_run(tmp_path / "old")
    new = write_run(tmp_path / "new", 1, **CHANGES[word])
    finding = only(compare(old, [new], TRAIN))
    assert finding.verdict == "CHANGED"
    assert finding.changed == (word,)
    assert f"{word} differs" in finding.detail
    assert f"--allow-changed {word}" in finding.detail
    assert only(compare(old, [new], TRAIN, {word})).verdict == "INCONCLUSIVE"
    assert code(old, new)[0] == 3


def test_uncommitted_changes_on_both_sides_may_be_different_code(tmp_path):
    old, new = (write_run(tmp_path / side, dirty=True) for side in ("old", "new"))
    finding = only(compare(old, [new], TRAIN))
    assert finding.changed == ("code",)
    assert "with changes" in finding.detail


def test_of_two_sides_that_are_another_network_neither_is_judged_unless_asked_to(tmp_path):
    old, new = (write_runs(tmp_path / side, 8, equivalent=False) for side in ("old", "new"))
    finding = only(compare(old, [new], TRAIN))
    assert (finding.verdict, finding.changed) == ("CHANGED", ("network",))
    assert "on both sides" in finding.detail
    assert only(compare(old, [new], TRAIN, {"network"})).verdict == "OK"


def test_other_commits_and_versions_are_in_the_command_that_would_settle_it(tmp_path):
    old = write_run(tmp_path / "old")
    new = write_run(tmp_path / "new", 1, **CHANGES["code"], **CHANGES["versions"])
    detail = only(compare(old, [new], TRAIN, {"code", "versions"})).detail
    assert "--checkout-a cccccccccccc --checkout-b dddddddddddd" in detail
    assert "--python-a OLD/bin/python" in detail


def test_a_failed_row_is_4_and_a_missing_cell_3(tmp_path, code):
    old = write_run(tmp_path / "old", backends=("torch", "flax"))
    failed = write_run(tmp_path / "failed", 1, backends=("torch", "flax"), status="crashed")
    fewer = write_run(tmp_path / "fewer", 1)
    done, said = code(old, failed)
    assert done == 4
    assert "crashed" in said
    verdicts = {f.cell.split()[0]: f.verdict for f in compare(old, [fewer], TRAIN).findings}
    assert verdicts == {"flax": "MISSING", "torch": "INCONCLUSIVE"}
    assert code(old, fewer, "--inconclusive-ok")[0] == 3


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ([0.980, 0.981, 0.979], "OK"),
        ([0.90, 0.901, 0.899], "REGRESSED"),
        ([0.97, 0.99, 0.95], "INCONCLUSIVE"),
    ],
)
def test_accuracy_is_paired_by_seed(tmp_path, accuracies, verdict):
    old = write_run(tmp_path / "old", test_accuracy=[0.9801, 0.9812, 0.9790])
    new = write_run(tmp_path / "new", 1, test_accuracy=accuracies)
    finding = only(compare(old, [new], {"accuracy": 0.01}))
    assert finding.verdict == verdict
    if verdict != "INCONCLUSIVE":
        assert finding.low <= finding.difference <= finding.high
    else:
        assert "--seeds" in finding.detail


def test_seeds_of_several_runs_are_taken_together_and_each_counts_once(tmp_path):
    for side, accuracies in (("old", [0.98, 0.981, 0.979]), ("new", [0.90, 0.902, 0.899])):
        for number, accuracy in enumerate(accuracies):
            one = {"seed": number, "test_accuracy": accuracy}
            write_run(tmp_path / side / f"run-{number}", number, seeds=1, **one)
        write_run(tmp_path / side / "run-again", 9, seeds=1, seed=0, test_accuracy=0.5)
    finding = only(compare(tmp_path / "old", [tmp_path / "new"], {"accuracy": 0.01}))
    assert finding.verdict == "REGRESSED"
    assert finding.difference == pytest.approx(-0.0796, abs=1e-4)


def test_two_seeds_that_lose_as_many_images_each_are_no_regression(tmp_path):
    old = write_run(tmp_path / "old", seeds=2, test_accuracy=[350 / 360, 352 / 360])
    new = write_run(tmp_path / "new", 1, seeds=2, test_accuracy=[345 / 360, 347 / 360])
    finding = only(compare(old, [new], {"accuracy": 0.01}))
    assert finding.verdict == "INCONCLUSIVE"
    assert "--seeds 3" in finding.detail


def test_where_nothing_at_all_was_measured_a_gate_does_not_pass(tmp_path, code):
    nothing = {"peak_host_bytes": None, "test_accuracy": None, "train_images_per_second": None}
    sides = [write_run(tmp_path / side, rounds=0, **nothing) for side in ("old", "new")]
    done, said = code(*sides)
    assert done == 2, said
    assert "neither side has train, accuracy, memory" in said
    assert code(*sides, "--fail-on", "train:5%")[0] == 3, "asked for, it is MISSING"


def test_memory_and_compile_time_are_compared_too(tmp_path):
    old = write_runs(tmp_path / "old", 8)
    new = write_runs(tmp_path / "new", 8, 50, peak_host_bytes=600_000_000, compile_seconds=1.5)
    limits = {"memory": 0.1, "compile": 0.05}
    found = {f.measure: f for f in compare(old, [new], limits).findings}
    assert found["memory"].verdict == "REGRESSED"
    assert found["memory"].judgement.ratio == pytest.approx(1.2)
    assert found["compile"].verdict == "OK"


def test_many_cells_need_more_than_one_does(tmp_path):
    names = tuple(f"b{number}" for number in range(12))
    old = write_runs(tmp_path / "old", 7, backends=names)
    slower = write_runs(tmp_path / "new", 7, 50, backends=names, step=0.011)
    verdicts = {f.verdict for f in compare(old, [slower], TRAIN).findings}
    assert verdicts == {"INCONCLUSIVE"}, "12 times 2^-7 is not below .01"
    one = [write_runs(tmp_path / s, 7, f, step=x) for s, f, x in (("a", 0, 0.01), ("b", 50, 0.011))]
    assert only(compare(one[0], [one[1]], TRAIN)).verdict == "REGRESSED"


def test_several_new_results_are_each_compared_with_the_old(tmp_path, code):
    old = write_runs(tmp_path / "old", 9)
    same = write_runs(tmp_path / "same", 9, 50)
    slower = write_runs(tmp_path / "slower", 9, 70, step=0.012)
    report = compare(old, [same, slower], TRAIN)
    assert [f.verdict for f in report.findings] == ["OK", "REGRESSED"]
    done, said = code(old, same, slower, "--fail-on", "train:2.5%", "--json")
    assert done == 1
    whole = json.loads(said)
    assert whole["exit_code"] == 1
    assert [f["against"] for f in whole["findings"]] == [str(same), str(slower)]


BAD = {
    "holds no summary.csv": ("{old}", "{empty}"),
    "cannot read": ("{old}", "nowhere.csv"),
    "is no summary of a run": ("{old}", "{old}/samples.csv"),
    "unknown measure 'trian'; allowed: train, predict": ("{old}", "{old}", "--fail-on", "trian:5%"),
    "allowed: a number above 0, then pt": ("{old}", "{old}", "--fail-on", "accuracy:1%"),
    "then %. Try: --fail-on train:5%": ("{old}", "{old}", "--fail-on", "train:0%"),
    "names no measure": ("{old}", "{old}", "--fail-on", ","),
    "--allow-changed 'verions'; allowed: model,": ("{old}", "{old}", "--allow-changed", "verions"),
    "no folder to write to": ("{old}", "{old}", "--junit", "no/such/place.xml"),
    "GITHUB_STEP_SUMMARY is not set": ("{old}", "{old}", "--github-summary"),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_gives_one_clear_message_and_exit_code_2(tmp_path, code, message, monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    (tmp_path / "empty").mkdir()
    places = {"old": write_run(tmp_path / "old"), "empty": tmp_path / "empty"}
    done, said = code(*(part.format(**places) for part in BAD[message]))
    assert done == 2, said
    assert message in said


def test_a_damaged_samples_file_is_named(tmp_path, code):
    old, new = write_run(tmp_path / "old"), write_run(tmp_path / "new", 1)
    text = (new / "samples.csv").read_text()
    (new / "samples.csv").write_text(text.replace(",32,", ",many,", 1))
    done, said = code(old, new)
    assert done == 2
    assert "samples.csv" in said
    (new / "samples.csv").write_text("seconds\n1\n")
    assert code(old, new)[0] == 2
