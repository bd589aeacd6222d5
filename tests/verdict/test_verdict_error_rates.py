"""`benchmarks.error_rates`: what is scheduled, sealed, resumed, judged and printed; with fakes."""

from __future__ import annotations

import ast
import shutil
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # the benchmarks are no part of what is installed

from benchmarks.error_rates.__main__ import go_on, measured, prepare  # noqa: E402
from benchmarks.error_rates.calibrate import Line, fault_of, find_points, line  # noqa: E402
from benchmarks.error_rates.given import EXTRA, own_source, slowed  # noqa: E402
from benchmarks.error_rates.in_turn import decisions_in_turn  # noqa: E402
from benchmarks.error_rates.rivals import asv, pyperf, pytest_benchmark  # noqa: E402
from benchmarks.error_rates.schedule import SAME, Schedule, Series, round_of  # noqa: E402
from benchmarks.error_rates.series import (  # noqa: E402
    DEFAULT,
    SHARP,
    Settings,
    Taped,
    decide,
    rival_rows,
)
from benchmarks.error_rates.table import joined, judged, report  # noqa: E402
from benchmarks.kept import read  # noqa: E402
from harness.errors import UsageError  # noqa: E402
from harness.output import append_rows  # noqa: E402
from harness.run.pairs_folder import Pair  # noqa: E402
from harness.spec import load_spec  # noqa: E402
from harness.verdict.ab import ab  # noqa: E402

BACKENDS = ("torch", "flax", "tensorflow", "keras")
WORK = {(b, c, s): int(s) * 7 for b in BACKENDS for c in ("1", "all") for s in ("2", "5", "10")}


def schedule(folder, seed=0):
    sources = {name: f"# {name}\n" for name in BACKENDS}
    return Schedule(folder, BACKENDS, sources, WORK, lambda text, _, n: text + "+\n" * n, seed)


class Bench:
    """Pairs of a slowdown that a test chooses."""

    measures = ("train",)

    def __init__(self, slowdown, deviation=0.005, seed=0):
        self.generator = np.random.default_rng(seed)
        self.slowdown, self.deviation, self.measured = slowdown, deviation, 0
        self.differences = {}

    def measure(self, number):
        self.measured += 1
        pair = Pair(number, "A", f"2026-01-02T00:00:{number:02}")
        ratio = np.log1p(self.slowdown) + self.deviation * self.generator.standard_normal()
        pair.log_ratios["train"] = float(ratio)
        pair.seconds["train"] = (0.01, 0.01 * float(np.exp(ratio)))
        return pair


class Clock:
    """Goes on by `step` seconds whenever it is read."""

    def __init__(self, step):
        self.seconds, self.step = 0.0, step

    def __call__(self):
        self.seconds += self.step
        return self.seconds


def test_half_of_the_identical_sides_run_beside_a_neighbour_and_torch_and_flax_most():
    cells = [cell for number in range(6) for cell in round_of(number, BACKENDS)]
    same = [cell for cell in cells if cell.slowdown == SAME]
    assert sum(cell.neighbour for cell in same) == len(same) / 2
    assert {(c.backend, c.cores, c.neighbour) for c in same} == {
        (b, c, n) for b in BACKENDS for c in ("1", "all") for n in (False, True)
    }
    counts = Counter(cell.backend for cell in cells)
    assert min(counts["torch"], counts["flax"]) > max(counts["tensorflow"], counts["keras"])
    slow = {(c.backend, c.cores, c.slowdown) for c in cells if c.slowdown != SAME}
    assert slow == {(b, "1", s) for b in BACKENDS for s in ("2", "5", "10")} | {
        (b, "all", "5") for b in BACKENDS
    }


def test_the_judge_gets_a_source_without_a_label_and_the_seal_says_which_it_was(tmp_path):
    found = schedule(tmp_path)
    found.upcoming(set())
    rows, sealed = read(tmp_path / "schedule.csv"), read(tmp_path / "sealed.csv")
    assert "slowdown" not in rows[0]
    assert len({row["source"] for row in rows}) == len(rows)
    assert [row["source"] for row in rows] == [row["source"] for row in sealed]
    assert "2" in {row["slowdown"] for row in sealed}
    for row in sealed:
        text = (tmp_path / row["source"]).read_text()
        assert text.count("+\n") == int(row["slowdown"]) * 7 == int(row["repetitions"])


def test_another_process_goes_on_with_the_same_schedule(tmp_path):
    first = schedule(tmp_path)
    size = len(round_of(0, BACKENDS))
    before = [first.upcoming(set(range(number))) for number in range(size)]
    again = schedule(tmp_path)
    assert [again.upcoming(set(range(number))) for number in range(size)] == before
    assert again.upcoming(set(range(size))).series == size, "a second round is drawn"
    assert [asdict(series) for series in again.series] == [
        asdict(series) for series in schedule(tmp_path).series
    ]
    drawn = Counter((s.backend, s.cores, s.neighbour) for s in again.series[size:])
    assert drawn == Counter((c.backend, c.cores, c.neighbour) for c in round_of(1, BACKENDS))


def test_sources_are_written_anew_of_the_code_that_measures_with_the_work_that_was_sealed(tmp_path):
    schedule(tmp_path).upcoming(set())
    before = {path: path.read_text() for path in (tmp_path / "sources").iterdir()}
    for path in before:
        path.unlink()
    schedule(tmp_path)
    assert {path: path.read_text() for path in (tmp_path / "sources").iterdir()} == before
    newer = {name: f"# newer {name}\n" for name in BACKENDS}
    Schedule(tmp_path, BACKENDS, newer, {}, lambda text, _, n: text + "+\n" * n)
    for path, text in before.items():
        assert path.read_text() == text.replace("# ", "# newer ")


@pytest.mark.parametrize("backend", EXTRA)
def test_work_is_added_at_the_head_of_the_training_step_and_nothing_else_changes(backend):
    source = own_source(backend, load_spec("mnist-1conv"))
    assert slowed(source, backend, 0) == source
    tree = ast.parse(slowed(source, backend, 12))
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    step = functions["train_step"]
    call = ast.unparse(step.body[ast.get_docstring(step) is not None])
    assert "spend(12" in call
    before = ast.parse(source)
    kept = [n for n in tree.body if getattr(n, "name", "") not in ("spend", "train_step")]
    kept = [n for n in kept if not ast.unparse(n).startswith("WORK = ")]
    was = [n for n in before.body if getattr(n, "name", "") != "train_step"]
    assert [ast.unparse(n) for n in kept] == [ast.unparse(n) for n in was]


def test_the_work_is_found_from_pairs_whatever_one_repetition_costs():
    for each in (1e-5, 1e-3, 0.02):
        asked = []

        def measure(count, pairs, each=each, asked=asked):
            asked.append(count)
            return [float(np.log1p(0.004 + count * each))] * pairs

        found = line(find_points(measure))
        assert found.each == pytest.approx(each)
        assert found.start == pytest.approx(0.004)
        for percent in ("2", "5", "10"):
            got = found.start + found.each * found.repetitions(percent)
            assert abs(got - float(percent) / 100) <= each / 2 + 1e-9
    assert not fault_of(find_points(measure))
    assert "10 repetitions take 5.1 % longer" in fault_of({5: [0.1], 10: [0.05]}).replace("%", " %")
    assert Line(0.05, 0.01).repetitions("2") == 1


def test_several_rules_judge_the_same_pairs_and_each_as_ab_alone_would():
    rules = Settings().rules("1")
    assert list(rules) == [DEFAULT, SHARP]
    taped = Taped(Bench(0.02, 0.01, seed=4), lambda pair, ended: None, Clock(1.0))
    found = {decision.rule: decision for decision in decide(taped, rules, "x")}
    assert taped.bench.measured == max(decision.pairs for decision in found.values())
    for name, rule in rules.items():
        alone = ab(Bench(0.02, 0.01, seed=4), rule, "x").findings[0]
        assert found[name].finding == alone
        assert found[name].seconds == found[name].pairs
    assert found[DEFAULT].finding.verdict == "OK", "2 % is below ab's own threshold"
    assert found[SHARP].finding.verdict == "REGRESSED"
    assert list(Settings().rules("all")) == [DEFAULT]


def test_a_side_that_fails_is_a_decision_too():
    bench = Bench(0)
    measure = bench.measure

    def failing(number):
        pair = measure(number)
        pair.failed = "B given@torch: crashed" if number == 2 else ""
        return pair

    bench.measure = failing
    taped = Taped(bench, lambda pair, ended: None, Clock(1.0))
    found = decide(taped, Settings().rules("1"), "x")
    assert [decision.finding.verdict for decision in found] == ["FAILED", "FAILED"]
    assert rival_rows([], found[0]) == []


def test_other_tools_rules():
    generator = np.random.default_rng(0)
    old = list(0.01 * (1 + 0.01 * generator.standard_normal(60)))
    for factor, expected in (
        (1.2, ("slower", "slower", "slower")),
        (1.06, ("same", "slower", "slower")),
        (1.02, ("same", "same", "slower")),
        (1.0, ("same", "same", "same")),
        (0.8, ("faster", "same", "faster")),
    ):
        new = [factor * seconds for seconds in old]
        assert (asv(old, new), pytest_benchmark(old, new), pyperf(old, new)) == expected, factor
    assert asv([1.0] * 3, [2.0] * 3) == "same", "three samples a side are never enough at p < .002"


def fake_rows(series: Series, attempt: int, seconds: float, verdict: str = "OK"):
    shared = {**asdict(series), "attempt": attempt, "started_at": "2026-01-02T00:00:00"}
    pairs = [
        {**shared, "pair": n, "log_ratio": 0.05, "status": "ok", "ended_seconds": n}
        for n in range(8)
    ]
    more = {"verdict": verdict, "pairs": 8, "seconds": seconds, "series_seconds": seconds}
    decision = {**shared, **more, "rule": DEFAULT, "data": "pairs"}
    return pairs, [decision, {**decision, "rule": "asv", "data": "all pairs", "verdict": "SAME"}]


def test_no_series_is_begun_that_would_likely_not_end_and_a_later_run_goes_on(tmp_path):
    clock, said, run = Clock(0.0), [], []

    def measure(series, attempt):
        run.append(series.series)
        (tmp_path / "series" / f"{series.series:04}.{attempt}").mkdir(parents=True)
        clock.seconds += 100
        return fake_rows(series, attempt, 100.0)

    go_on(tmp_path, schedule(tmp_path), measure, 950.0, clock, said.append)
    assert run == list(range(9)), "300 s are kept for the first one, 100 s for each other"
    assert clock.seconds <= 950
    assert "would take about" in said[-1]
    assert not any("OK" in text for text in said), "who watches is blind, too"
    go_on(tmp_path, schedule(tmp_path), measure, clock.seconds + 250, clock, said.append)
    assert run == list(range(11))
    assert [row["series"] for row in read(tmp_path / "decisions.csv")] == [
        str(number) for number in range(11) for _ in range(2)
    ]


def test_an_interrupted_series_is_measured_again_and_counts_once(tmp_path):
    clock, calls = Clock(0.0), []

    def measure(series, attempt):
        calls.append((series.series, attempt))
        (tmp_path / "series" / f"{series.series:04}.{attempt}").mkdir(parents=True)
        pairs, decisions = fake_rows(series, attempt, 100.0)
        clock.seconds += 100
        if calls == [(0, 0)]:
            raise KeyboardInterrupt
        return pairs, decisions

    with pytest.raises(KeyboardInterrupt):
        go_on(tmp_path, schedule(tmp_path), measure, 1000.0, clock, lambda text: None)
    go_on(tmp_path, schedule(tmp_path), measure, 450.0, clock, lambda text: None)
    assert calls[:2] == [(0, 0), (0, 1)]
    decisions, pairs = joined(tmp_path)
    assert {row["attempt"] for row in decisions if row["series"] == "0"} == {"1"}
    assert {row["attempt"] for row in pairs if row["series"] == "0"} == {"1"}


def test_the_tables_join_what_was_sealed(tmp_path):
    found, alarmed = schedule(tmp_path), False

    def sealed():
        return {row["series"]: row["slowdown"] for row in read(tmp_path / "sealed.csv")}

    def measure(series, attempt):
        nonlocal alarmed
        is_slow = sealed()[str(series.series)] != SAME
        verdict = "REGRESSED" if is_slow or not alarmed else "OK"
        alarmed |= not is_slow
        return fake_rows(series, attempt, 100.0, verdict)

    go_on(tmp_path, found, measure, 520.0, Clock(10), lambda text: None)
    done = {row["series"] for row in read(tmp_path / "decisions.csv")}
    same = sum(sealed()[number] == SAME for number in done)
    machine = {"cpu": "CPU", "cpu_generation": "1.1 avx2", "cpus_available": 2}
    machine |= {"memory_bytes": 2**34, "machine_key": "abc"}
    text = report({tmp_path: machine})
    assert "Measured 2026-01-02 on CPU (1.1 avx2), 2 cores, 16 GiB" in text
    assert f"| ab, pairs | everywhere | {same} | 1 of {same}, " in text
    assert f"| asv, all pairs | everywhere | {same} | 0 of {same}, " in text
    slow = [line for line in text.splitlines() if line.startswith("| ab, pairs | `--cores 1` | 5")]
    assert len(slow) == 1
    assert "| 5 % | 5.1 % |" in slow[0]
    assert "99 %: met so far" in slow[0]
    asv_line = [
        line for line in text.splitlines() if line.startswith("| asv, all pairs | `--cores 1` | 5")
    ]
    assert "| 0 of " in asv_line[0]

    other = tmp_path.parent / "other"
    shutil.copytree(tmp_path, other)
    both = report({tmp_path: machine, other: {**machine, "cpu": "Another"}})
    assert "2 cores, 16 GiB" in both
    assert "on Another (1.1 avx2)" in both
    assert f"| ab, pairs | everywhere | {2 * same} | 2 of {2 * same}, " in both
    assert f"| ab, pairs | machine `other` | {same} | 1 of {same}, " in both


def test_a_series_that_failed_is_no_decision(tmp_path):
    ended = []

    def measure(series, attempt):
        ended.append(series.series)
        return fake_rows(series, attempt, 100.0, "FAILED" if len(ended) == 1 else "OK")

    go_on(tmp_path, schedule(tmp_path), measure, 520.0, Clock(10), lambda text: None)
    machine = {"cpu": "CPU", "cpu_generation": "1", "cpus_available": 2, "memory_bytes": 2**34}
    text = report({tmp_path: {**machine, "machine_key": "abc"}})
    assert "1 series failed" in text
    costs = text.partition("### What a decision takes")[2].splitlines()
    counts = [int(line.split("|")[3]) for line in costs if line.startswith("| ab")]
    assert sum(counts) == len(ended) - 1


def test_a_goal_is_shown_only_by_its_whole_interval():
    assert judged(0, 400, 0.01, True) == "shown"
    assert judged(0, 100, 0.01, True) == "met so far"
    assert judged(2, 100, 0.01, True) == "not met so far"
    assert judged(20, 100, 0.01, True) == "missed"
    assert judged(100, 100, 0.9) == "shown"
    assert judged(10, 10, 1.0) == "met so far"
    assert judged(99, 100, 1.0) == "missed"
    assert judged(9, 10, 0.9) == "met so far"


def test_a_folder_of_other_settings_or_of_none_is_refused(tmp_path):
    prepare(tmp_path / "abc", {"machine_key": "abc"}, {"rounds": 20})
    prepare(tmp_path / "abc", {"machine_key": "abc"}, {"rounds": 20})
    with pytest.raises(UsageError, match="was begun with"):
        prepare(tmp_path / "abc", {"machine_key": "abc"}, {"rounds": 4})
    assert measured(tmp_path) == {tmp_path / "abc": {"machine_key": "abc"}}
    with pytest.raises(UsageError, match="nothing was measured into it"):
        measured(tmp_path / "abc")


def test_rows_are_appended_under_one_header_and_a_torn_line_spoils_no_other(tmp_path):
    path = tmp_path / "rows.csv"
    append_rows(path, ["a", "b"], [{"a": 1, "b": 2}])
    with path.open("a") as file:
        file.write("3")
    append_rows(path, ["a", "b"], [{"a": 5, "b": 6}])
    assert read(path) == [{"a": "1", "b": "2"}, {"a": "5", "b": "6"}]
    with path.open("a") as file:
        file.write('"a line, that was cut sho')
    append_rows(path, ["a", "b"], [{"a": 7, "b": 8}])
    assert read(path)[-1] == {"a": "7", "b": "8"}
    with pytest.raises(UsageError, match="other columns"):
        append_rows(path, ["a", "c"], [])


def rows_in_turn(ratios, series_of=lambda number: 0, **changes):
    shared = {"folder": "f", "backend": "torch", "cores": "1", "neighbour": "False"}
    return [
        {
            **shared,
            "slowdown": "0",
            "attempt": "0",
            "first": "A",
            "started_at": "",
            **changes,
            "series": str(series_of(n)),
            "pair": str(n),
            "log_ratio": str(ratio),
        }
        for n, ratio in enumerate(ratios)
    ]


def test_pairs_that_a_decision_left_are_the_next_one_s_and_none_is_used_twice():
    quiet = list(np.random.default_rng(0).normal(0, 1e-3, 8))
    slow = [value + 0.1 for value in quiet]
    rows = rows_in_turn([*quiet, *slow, *quiet, *quiet[:7]], lambda n: n // 12)
    found = decisions_in_turn(reversed(rows), Settings())
    assert [row["verdict"] for row in found] == ["OK", "REGRESSED", "OK"], "and a rest of seven"
    assert [row["pairs"] for row in found] == ["8"] * 3
    assert {row["data"] for row in found} == {"pairs in turn"}


@pytest.mark.parametrize("name", ["folder", "backend", "cores", "neighbour", "slowdown"])
def test_pairs_of_different_cells_are_never_one_decision_s(name):
    quiet = list(np.random.default_rng(0).normal(0, 1e-3, 7))
    rows = [*rows_in_turn(quiet), *rows_in_turn(quiet, **{name: "all"})]
    assert decisions_in_turn(rows, Settings()) == []
    assert len(decisions_in_turn([*rows, *rows_in_turn(quiet)], Settings())) == 1
