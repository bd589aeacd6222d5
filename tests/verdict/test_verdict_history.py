"""`harness history`: what is kept of runs and comparisons, and where a trend changes."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from verdict_runs import write_run

from harness.cli import main
from harness.errors import UsageError
from harness.verdict.history import COLUMNS, add, changes, read, trends


def code(*arguments):
    with pytest.raises(SystemExit) as end:
        main(["history", *map(str, arguments)])
    return int(end.value.code or 0)


def nightly(folder, number, step, **columns):
    started = f"2026-01-{number + 1:02}T02:00:00.000+00:00"
    more = {"started_at": started, "step_ms_p50": 1000 * step, "commit": f"{number:02}" * 20}
    return write_run(folder / f"run-{number:02}", number, step, **{**more, **columns})


def test_a_run_is_added_once_under_one_header_for_each_machine(tmp_path):
    history = tmp_path / "history"
    first = nightly(tmp_path, 0, 0.01, backends=("torch", "flax"))
    assert add([first], history) == (2, 0)
    before = (history / "k1.csv").read_text()
    assert add([first, nightly(tmp_path, 1, 0.01)], history) == (1, 2)
    other = nightly(tmp_path, 2, 0.01, machine_key="k2")
    assert add([other], history) == (1, 0)
    assert (history / "k1.csv").read_text().startswith(before), "nothing is rewritten"
    assert sorted(path.name for path in history.iterdir()) == ["k1.csv", "k2.csv"]
    for path in history.iterdir():
        lines = path.read_text().splitlines()
        assert lines[0] == ",".join(COLUMNS)
        assert sum(line == lines[0] for line in lines) == 1
    rows = read(history)
    assert [row["started_at"][:10] for row in rows] == [
        "2026-01-01", "2026-01-01", "2026-01-02", "2026-01-03",
    ]  # fmt: skip
    assert rows[0]["step_ms_p50"] == 10
    assert rows[0]["seeds"] == 3
    assert rows[0]["commit"] == "00" * 20, "a commit of digits stays text"


def test_what_failed_or_is_another_network_has_no_row(tmp_path):
    add([nightly(tmp_path, 0, 0.01)], tmp_path / "history")
    bad = nightly(tmp_path, 1, 0.01, status="crashed")
    wrong = nightly(tmp_path, 2, 0.01, equivalent=False)
    assert add([bad, wrong, tmp_path / "run-00"], tmp_path / "history") == (0, 1)


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path):
    history = tmp_path / "history"
    add([nightly(tmp_path, 0, 0.01)], history)
    with (history / "k1.csv").open("a") as file:
        file.write("2026-01-09,2026-01-09,another,k1,run,torch")
    add([nightly(tmp_path, 1, 0.01)], history)
    assert len(read(history)) == 2


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(UsageError, match="harness run"):
        add([tmp_path], tmp_path / "history")


def test_a_change_of_level_is_found_where_it_is_and_noise_is_none():
    generator = np.random.default_rng(1)
    noise = 1 + 0.02 * generator.standard_normal((50, 30))
    level = np.where(np.arange(30) < 18, 10.0, 11.5)
    found = [changes(level * row) for row in noise]
    alone = [of_row[0] for of_row in found if len(of_row) == 1]
    assert len(alone) > 45
    assert all(abs(change.place - 18) <= 1 for change in alone)
    assert all(change.ratio == pytest.approx(1.15, abs=0.04) for change in alone)
    assert sum(bool(changes(10 * row)) for row in noise) < 5, "a hint, not a verdict"
    assert changes([1.0, 2.0, 1.0]) == []
    assert changes([5.0] * 20) == []


def test_show_prints_a_trend_for_each_cell_and_the_change_with_its_code(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    history = tmp_path / "history"
    for number in range(12):
        step = 0.01 if number < 6 else 0.013
        version = "2.11" if number < 6 else "2.12"
        nightly(tmp_path / "runs", number, step, framework_version=version)
    assert code("add", tmp_path / "runs", "--history", history) == 0
    assert "12 rows added" in capsys.readouterr().out
    assert code("show", "--history", history) == 0
    said = capsys.readouterr().out
    assert "run torch cpu small digits b8, 2 cores" in said
    assert "▁▁▁▁▁▁██████" in said
    assert "step_ms_p50 +30.0 % (worse) from 2026-01-07 on: version 2.11 → 2.12" in said
    assert "commit 0505050505 → 0606060606" in said
    assert code("show", "--history", history, "--json") == 0
    (trend,) = json.loads(capsys.readouterr().out)
    assert len(trend["results"]) == 12
    assert trend["changes"][0]["ratio"] == pytest.approx(1.3)


def test_without_ruptures_the_trend_is_shown_and_what_is_missing_named(
    tmp_path, capsys, monkeypatch
):
    history = tmp_path / "history"
    for number in range(8):
        nightly(tmp_path / "runs", number, 0.01)
    code("add", tmp_path / "runs", "--history", history)
    monkeypatch.setitem(sys.modules, "ruptures", None)
    assert code("show", "--history", history) == 0
    said = capsys.readouterr()
    assert "▁▁▁▁▁▁▁▁" in said.out
    assert "pip install 'cnn-harness[history]'" in said.err


def test_what_cannot_be_shown_says_what_can(tmp_path, capsys):
    assert code("show", "--history", tmp_path, "--measure", "step_ms") == 2
    assert "Did you mean 'step_ms_p50'?" in capsys.readouterr().err
    assert code("show", "--history", tmp_path) == 2
    assert "history add RESULTS" in capsys.readouterr().err


def test_a_comparison_is_kept_with_its_verdict(place, capsys):
    with pytest.raises(SystemExit):
        main(
            "ab steady slower --model small.toml -d synthetic:6x6x1:3:84 --cores 1 --rounds 4 "
            "--pairs 7 --out out".split()
        )
    capsys.readouterr()
    assert code("add", "out") == 0
    (row,) = read(place / "results" / "history")
    assert (row["kind"], row["backend"], row["against"]) == ("ab", "slower", "steady")
    assert (row["verdict"], row["threads"]) == ("REGRESSED", 1)
    assert 1.05 < row["change_low"] < row["change"] < row["change_high"]
    assert row["step_ms_p50"] == pytest.approx(11, rel=0.05)
    assert code("add", "out") == 0
    assert "0 rows added" in capsys.readouterr().out
    (trend,) = trends(read(place / "results" / "history"), "step_ms_p50")
    assert trend.label == "ab slower cpu small synthetic:6x6x1:3:84 b8, 1 core"
