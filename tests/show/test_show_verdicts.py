"""Verdicts of `ab` on the page: those of the same network on the same machine, and no others."""

from __future__ import annotations

import json

import pytest
from show_results import FINDING, HOSTILE, spec_of, verdict_on, write_results

from harness.show.gather import read_run
from harness.show.page.build import write_report
from harness.show.page.verdicts import MOST, find_verdicts, verdicts


def report(**changes):
    return verdict_on(spec_of(), **changes)


@pytest.fixture
def results(tmp_path):
    return write_results(tmp_path / "run")


def shown(results, *reports):
    """Write each report, find them again, and return what is shown beside the results."""
    for number, content in enumerate(reports):
        place = results.parent / "ab" / str(number)
        place.mkdir(parents=True)
        (place / "verdict.json").write_text(json.dumps(content))
    (case,) = read_run(results).cases
    return verdicts(case, find_verdicts([results.parent / "ab"]))


def test_a_verdict_on_the_network_is_shown_with_what_it_rests_on(results):
    (one,) = shown(results, report())
    assert one.question == "torch → torch [HEAD~1]: mnist-1conv, digits, cpu, 2 cores"
    assert (one.measure, one.verdict, one.look) == ("train", "REGRESSED", "differs")
    assert (one.change, one.interval, one.pairs) == ("+10.0 %", "+5.0 to +15.0 %", "8")
    assert (one.detail, one.day) == (FINDING["detail"], "2026-01-03")


@pytest.mark.parametrize(
    "changes",
    [
        {"network_hash": "0" * 16},
        {"dataset_hash": "0" * 16},
        {"batch_size": 1},
        {"precision": "bfloat16"},
        {"environment": "stock"},
        {"machine_key": "0"},
        {"device": "gpu"},
    ],
    ids=str,
)
def test_a_verdict_on_anything_else_is_not_shown(results, changes):
    assert len(shown(results, report(), report(**changes))) == 1


def test_an_older_file_without_the_network_s_hash_goes_by_the_model_s(results):
    old = {name: value for name, value in report().items() if name != "network_hash"}
    other = {**old, "model_hash": "0" * 16}
    assert len(shown(results, old, other)) == 1


def test_the_newest_come_first_and_are_not_endless(results):
    days = [f"2026-01-{day:02}" for day in range(1, 29)]
    found = shown(results, *(report(finished_at=f"{day}T00:00:00") for day in days))
    assert [one.day for one in found] == days[::-1][:MOST]


def test_one_without_figures_says_its_verdict(results):
    failed = {"cell": "a → b", "measure": "train", "verdict": "FAILED", "detail": "b crashed"}
    (one,) = shown(results, report(findings=[failed]))
    assert (one.verdict, one.change, one.interval, one.pairs) == ("FAILED", "", "", "")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "3",
        "[" * 100_000,
        json.dumps({**report(), "findings": [{}]}),
        json.dumps({**report(), "findings": 3}),
        json.dumps({**report(), "findings": [{**FINDING, "pairs": float("inf")}]}),
        json.dumps({**report(), "findings": [{**FINDING, "ratio": "much"}]}),
    ],
    ids=lambda text: text[:20],
)
def test_a_damaged_file_is_left_out(results, text):
    place = results.parent / "ab" / "damaged"
    place.mkdir(parents=True)
    (place / "verdict.json").write_text(text)
    assert len(shown(results, report())) == 1


def test_it_stands_on_the_page_and_its_text_is_escaped(results, tmp_path):
    place = results / "ab"
    place.mkdir()
    bad = {**FINDING, "detail": HOSTILE, "measure": HOSTILE}
    (place / "verdict.json").write_text(json.dumps(report(findings=[bad], title=HOSTILE)))
    output = tmp_path / "page.html"
    write_report([results], output, checks=[])
    text = output.read_text()
    assert "<img" not in text
    assert text.count("REGRESSED") == 2, "in the table, and where verdicts are explained"
    assert text.count("onerror=") == 3
