"""Pairs of identical sides: what is kept of them, and how a comparison is planned by it."""

from __future__ import annotations

import json

import pytest

from harness.cli import main
from harness.run.folder import read_rows
from harness.verdict.ab import Rule, plan_rule
from harness.verdict.calibration import (
    calibration,
    place_of,
    planned_most,
    read_calibrations,
    store,
)
from harness.verdict.judge import Limits

COMMON = ["--model", "small.toml", "--dataset", "synthetic:6x6x1:3:84", "--cores", "1"]
ROUNDS = ["--rounds", "4"]


def test_calibrations_are_added_to_those_of_the_machine(place):
    first = calibration("torch", "train", [0.01, -0.02, 0.0, 0.01, -0.01])
    store("key", {"one": first})
    store("key", {"two": first})
    assert set(read_calibrations("key")) == {"one", "two"}
    assert read_calibrations("another") == {}
    place_of("key").write_text("{ damaged")
    assert read_calibrations("key") == {}


def test_more_scatter_takes_more_pairs_within_bounds():
    most = [planned_most(deviation, 0.05, 1) for deviation in (0.0, 0.01, 0.03, 0.06, 1.0)]
    assert most == sorted(most)
    assert most[0] < most[2] < most[3]
    assert (most[0], most[-1]) == (14, 60)
    assert planned_most(0.03, 0.05, 3) >= planned_most(0.03, 0.05, 1)


def test_a_rule_is_planned_only_where_the_user_left_it_open():
    rule = Rule({"train": Limits()})
    assert plan_rule(rule, None, is_free=True) == rule
    assert plan_rule(rule, 0.05, is_free=True).most == planned_most(0.05, 0.05, 1)
    assert plan_rule(rule, 0.05, is_free=False).most == rule.most
    assert plan_rule(rule, 0.05, is_free=False).deviation == 0.05


def test_calibrate_measures_each_backend_against_itself_and_ab_plans_by_it(place, capsys):
    with pytest.raises(SystemExit) as end:
        main(["calibrate", "-b", "steady,slower", *COMMON, *ROUNDS, "--pairs", "5", "--json"])
    said = capsys.readouterr()
    assert end.value.code == 0, said.err
    found = json.loads(said.out)
    assert [row["backend"] for row in found["calibrations"]] == ["steady", "slower"]
    for row in found["calibrations"]:
        assert 0.003 < row["deviation"] < 0.04, "each process has 1 % of luck"
        assert 7 <= row["pairs_needed"] <= 15
    (folder,) = (place / "results" / "ab").iterdir()
    rows = read_rows(folder / "pairs.csv")
    assert [(row["backend_a"], row["backend_b"]) for row in rows] == (
        [("steady", "steady")] * 5 + [("slower", "slower")] * 5
    )
    with pytest.raises(SystemExit):
        main(["ab", "steady", "slower", *COMMON, *ROUNDS, "--pairs", "1", "--out", "planned"])
    assert "calibrated: pairs of identical code scatter by" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        other = ["--batch-size", "4", "--pairs", "1", "--out", "unplanned"]
        main(["ab", "steady", "slower", *COMMON, *ROUNDS, *other])
    assert "calibrated" not in capsys.readouterr().err, "another batch size is another question"


def test_a_backend_that_fails_ends_only_itself_with_exit_code_4(place, capsys):
    with pytest.raises(SystemExit) as end:
        main(["calibrate", "-b", "crashing", *COMMON, "--rounds", "40", "--pairs", "9", "-q"])
    assert end.value.code == 4
    assert "crashing" not in capsys.readouterr().out
