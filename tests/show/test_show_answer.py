"""The sentences on top of the page: what the rows bear, and no more."""

from __future__ import annotations

import pytest
from show_results import BASELINES, write_results

from harness.run.figures import median_interval
from harness.show.answer import ratios, say, say_all
from harness.show.gather import gather, read_run


@pytest.fixture
def case(tmp_path):
    """Write results, and read back their only case."""

    def made(*arguments, **options):
        (found,) = read_run(write_results(tmp_path / "run", *arguments, **options)).cases
        return found

    return made


def test_the_fastest_is_named_with_its_factors(case):
    said = say(case({"torch": 1000.0, "flax": 500.0, "tensorflow": 2000.0}))
    assert said[0] == (
        "In this run tensorflow trained mnist-1conv fastest: 2.00 times as fast as torch and "
        "4.00 times flax."
    )
    assert said[1] == "All three are the same network by the check before training."


def test_a_lead_within_the_scatter_of_rounds_is_no_lead(case, monkeypatch):
    found = case({"torch": 1000.0, "flax": 999.0})
    for index, block in enumerate(found.lines[0].blocks):
        block["seconds"] *= 1.1 if index % 2 else 0.9
    said = say(found)
    assert said[0] == (
        "In this run torch and flax trained mnist-1conv equally fast, as far as its rounds can "
        "tell."
    )
    (_, other) = ratios(found.lines)
    assert not other.is_settled
    assert other.low < 1 < other.high


def test_the_interval_of_a_factor_is_that_of_the_median_over_rounds(case):
    import numpy as np

    found = case()
    fast, slow = found.lines
    expected = [s["seconds"] / f["seconds"] for f, s in zip(fast.blocks, slow.blocks, strict=True)]
    ratio = ratios(found.lines)[1]
    assert (ratio.low, ratio.high) == median_interval(np.array(expected))


def test_without_samples_the_answer_says_that_it_goes_by_medians(tmp_path):
    folder = write_results(tmp_path / "run")
    (folder / "samples.csv").unlink()
    (found,) = read_run(folder).cases
    assert say(found)[0] == (
        "By medians alone tensorflow trained mnist-1conv fastest: 2.00 times as fast as torch. "
        "There are no rounds to pair."
    )


def test_a_backend_that_differs_is_named_and_never_the_fastest(case):
    wrong = {"equivalent": False, "equivalence_difference": 0.5}
    said = say(case({"torch": 9000.0, "flax": 500.0, "keras": 400.0}, changes={"torch": wrong}))
    assert said[0].startswith("In this run flax trained mnist-1conv fastest: 1.25 times as fast")
    assert "torch is NOT the same network; that speed is compared with nothing." in said
    assert "flax and keras are the same network by the check before training." in said


def test_verified_is_said_only_where_a_check_said_so_of_all(case, tmp_path):
    checked = {name: {"checked": "verified"} for name in ("tensorflow", "torch")}
    assert "Both are verified equivalent, rung by rung." in say(case(changes=checked))


def test_one_checked_backend_does_not_make_all_verified(case):
    said = say(case(changes={"torch": {"checked": "verified"}}))
    assert not any("verified" in sentence for sentence in said)


def test_failures_are_named_and_nothing_is_compared_with_them(case):
    said = say(case(changes={"torch": {"status": "crashed", "equivalent": None}}))
    assert said[0] == (
        "tensorflow trains mnist-1conv at 2,000 images a second; it is compared with nothing."
    )
    assert "torch: crashed." in said


def test_where_nothing_finished_no_backend_is_named_fastest(case):
    bad = {"status": "failed", "equivalent": None}
    said = say(case(changes={"torch": bad, "tensorflow": bad}))
    assert said[0].startswith("No backend can be compared on mnist-1conv")
    assert "tensorflow and torch: failed." in said


def test_one_seed_gives_no_verdict_on_accuracy(case):
    assert "no verdict" in say(case(accuracies={"torch": 0.9}))[-1]


def test_several_seeds_give_one(case):
    assert say(case(seeds=4))[-1].startswith("Accuracies are comparable within 1 point")


def test_devices_are_named_where_there_are_several(case):
    said = say(case({"torch": 1000.0}, devices=("cpu", "gpu")))
    assert said[0] == (
        "In this run torch on gpu trained mnist-1conv fastest: 10.00 times as fast as torch on cpu."
    )


def test_several_results_are_counted(tmp_path):
    for number, speeds in enumerate([{"a": 2.0, "b": 1.0}] * 2 + [{"a": 1.0, "b": 2.0}]):
        write_results(tmp_path / str(number), speeds)
    runs, _ = gather([tmp_path])
    cases = [case for run in runs for case in run.cases]
    assert say_all(cases) == "Fastest in three results: a in two and b in one."
    assert say_all([case for case in cases if case.lines[0].backend == "a"]) == (
        "a trained fastest in both results."
    )


def test_of_the_baselines_the_page_says_what_their_table_does():
    (case,) = read_run(BASELINES / "2026-11-27-epyc-zen5-2-cores" / "mnist-2conv").cases
    assert say(case)[0] == (
        "In this run tensorflow trained mnist-2conv fastest: 1.12 times as fast as keras, "
        "1.37 times torch and 1.74 times flax."
    )
