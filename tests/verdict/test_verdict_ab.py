"""`harness ab`: by fake pairs, and from end to end with backends that a fake clock times."""

from __future__ import annotations

import errno
import itertools
import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from harness.cli import main
from harness.commands.options import PAIR_ROUNDS
from harness.errors import StorageError
from harness.run.checked import network_hash
from harness.run.durable import AppendFile
from harness.run.folder import read_rows
from harness.run.pairs import ROUNDS, PairBench
from harness.run.pairs_folder import Pair
from harness.spec import load_spec
from harness.verdict.ab import Rule, ab, parse_rule
from harness.verdict.control import control
from harness.verdict.judge import Limits

LIMITS = {"train": Limits()}


class Pairs:
    """Pairs as they come from a distribution that a test chooses."""

    def __init__(self, draw, measures=("train",), fails_at=None, **differences):
        self.draw, self.measures, self.fails_at = draw, measures, fails_at
        self.differences = differences
        self.measured = 0

    def measure(self, number):
        self.measured += 1
        pair = Pair(number, "A", "now")
        if number == self.fails_at:
            pair.failed = "B torch: crashed"
            return pair
        for measure in self.measures:
            pair.log_ratios[measure] = float(self.draw())
            pair.seconds[measure] = (1.0, float(np.exp(pair.log_ratios[measure])))
        return pair


def normal(mean, deviation=0.02, seed=0):
    generator = np.random.default_rng(seed)
    return lambda: generator.normal(np.log1p(mean), deviation)


def verdict(pairs, rule=None, **options):
    rule = rule or Rule(dict.fromkeys(pairs.measures, Limits()))
    report = ab(pairs, rule, "a against b", **options)
    return [finding.verdict for finding in report.findings], report


def test_a_ten_percent_slower_side_is_a_regression_at_the_first_look():
    pairs = Pairs(normal(0.1))
    verdicts, report = verdict(pairs)
    assert verdicts == ["REGRESSED"]
    assert report.exit_code == 1
    assert pairs.measured == 8
    found = report.findings[0].judgement
    assert found.low < 1.1 < found.high
    assert found.p_slower <= found.level


def test_a_faster_side_is_an_improvement_and_passes():
    assert verdict(Pairs(normal(-0.1)))[0] == ["IMPROVED"]
    assert verdict(Pairs(normal(-0.1)))[1].exit_code == 0


def test_the_same_on_both_sides_is_ok():
    verdicts, report = verdict(Pairs(normal(0, 0.01)))
    assert verdicts == ["OK"]
    assert report.findings[0].judgement.high < 1.05


def test_a_small_slowdown_that_is_certain_is_ok_below_the_threshold():
    verdicts, report = verdict(Pairs(normal(0.01, 0.001)))
    assert verdicts == ["OK"]
    assert report.findings[0].judgement.p_slower < 0.01


def test_much_noise_is_inconclusive_and_says_what_would_have_been_seen_and_what_would_settle_it():
    pairs = Pairs(normal(0, 0.3, seed=3))
    verdicts, report = verdict(pairs)
    assert verdicts == ["INCONCLUSIVE"]
    assert report.exit_code == 3
    assert pairs.measured == 28
    found = report.findings[0]
    assert 0.1 < found.judgement.smallest_effect < 0.6
    assert found.judgement.pairs_needed > 28
    assert f"--pairs {found.judgement.pairs_needed}" in found.detail
    assert verdict(Pairs(normal(0, 0.3, seed=3)), inconclusive_ok=True)[1].exit_code == 0


def test_too_few_pairs_prove_nothing_however_slow():
    rule = Rule(LIMITS, 6, is_fixed=True)
    assert verdict(Pairs(normal(5.0)), rule)[0] == ["INCONCLUSIVE"]
    assert verdict(Pairs(normal(5.0)), Rule(LIMITS, 7, is_fixed=True))[0] == ["REGRESSED"]


def test_a_fixed_number_of_pairs_is_judged_once_with_all_of_alpha():
    pairs = Pairs(normal(0.1))
    _, report = verdict(pairs, Rule(LIMITS, 20, is_fixed=True))
    assert pairs.measured == 20
    assert len(report.facts["looks_taken"]) == 1
    assert 0.009 < report.facts["looks_taken"][0][1] <= 0.01


def test_when_the_seconds_are_over_what_is_there_is_judged():
    clock = iter(range(0, 10_000, 10))
    pairs = Pairs(normal(0.1, 0.001))
    _, report = verdict(pairs, Rule(LIMITS, seconds=90), now=lambda: next(clock))
    assert pairs.measured == 8, "declared look"
    clock = iter(range(0, 10_000, 10))
    draws = itertools.cycle([0.2, -0.2])
    pairs = Pairs(lambda: next(draws))
    verdicts, report = verdict(pairs, Rule(LIMITS, seconds=100), now=lambda: next(clock))
    assert pairs.measured == 10
    assert verdicts == ["INCONCLUSIVE"]
    assert [pairs for pairs, _ in report.facts["looks_taken"]] == [8, 10]
    assert sum(level for _, level in report.facts["looks_taken"]) <= 0.01


def test_each_measure_has_its_verdict_and_keeps_it():
    draws = {"train": normal(0.1, seed=1), "predict": normal(0, 0.01, seed=2)}
    pairs = Pairs(None, ("train", "predict"))

    def measure(number):
        pair = Pair(number, "A", "now")
        for name, draw in draws.items():
            pair.log_ratios[name] = float(draw())
            pair.seconds[name] = (1.0, 1.0)
        return pair

    pairs.measure = measure
    verdicts, report = verdict(pairs)
    assert verdicts == ["REGRESSED", "OK"]
    assert report.exit_code == 1


def test_a_side_that_fails_ends_it_with_exit_code_4():
    pairs = Pairs(normal(0.1), fails_at=3)
    verdicts, report = verdict(pairs)
    assert verdicts == ["FAILED"]
    assert report.exit_code == 4
    assert "crashed" in report.findings[0].detail


def test_another_network_is_changed_unless_allowed():
    verdicts, report = verdict(Pairs(normal(0.1), B="gradient differs"))
    assert verdicts == ["CHANGED"]
    assert report.exit_code == 3
    assert verdict(Pairs(normal(0.1), B="gradient differs"), allow_changed=True)[0] == ["REGRESSED"]


def test_identical_sides_alarm_in_less_than_one_of_a_hundred_each_way_with_outlying_pairs():
    generator, counts = np.random.default_rng(5), Counter()
    for _ in range(700):
        draw = lambda: generator.normal(0, 0.02) * generator.choice([1, 10], p=[0.9, 0.1])  # noqa: E731
        counts[verdict(Pairs(draw), Rule(LIMITS, alpha=0.01))[0][0]] += 1
    assert counts["REGRESSED"] <= 7 + 8, "three standard deviations above 1 %"
    assert counts["IMPROVED"] <= 7 + 8
    assert counts["OK"] > 500


def test_ok_is_said_of_a_slowdown_beyond_the_tolerance_in_less_than_one_of_a_hundred():
    generator, counts = np.random.default_rng(6), Counter()
    for _ in range(700):
        counts[verdict(Pairs(lambda: generator.normal(np.log1p(0.0501), 0.05)))[0][0]] += 1
    assert counts["OK"] <= 7 + 8
    assert counts["REGRESSED"] > 300


def test_all_pairs_are_kept_and_told():
    kept, told = [], []
    ab(Pairs(normal(0.1)), Rule(LIMITS), "x", kept.append, lambda pair, found: told.append(found))
    assert [pair.number for pair in kept] == list(range(8))
    assert told[-1]["train"].ratio == pytest.approx(1.1, abs=0.03)
    assert told[0]["train"].low is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trian", "2.5%", None, None, None, None), "Did you mean 'train'?"),
        (("", "2.5%", None, None, None, None), "--measure ''; allowed: train, predict, compile"),
        (("train", "fast", None, None, None, None), "--threshold 'fast'; allowed"),
        (("train", "5%", "2%", None, None, None), "is below --threshold"),
        (("train", "5%", None, 8, 9, None), "give one of the two"),
        (("train", "5%", None, 0, None, None), "--pairs 0; allowed: 1 to 500"),
        (("train", "5%", None, None, None, float("nan")), "--seconds nan"),
    ],
)
def test_a_rule_out_of_range_is_refused(arguments, message):
    with pytest.raises(Exception, match=r".") as caught:
        parse_rule(*arguments)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.fixture
def code(place, capsys):
    """Run `harness ab` on the small model and return exit code, output and messages."""

    def run(*arguments: str) -> tuple[int, str, str]:
        common = ["--model", "small.toml", "--dataset", "synthetic:6x6x1:3:84", "--out", "out"]
        with pytest.raises(SystemExit) as end:
            main(["ab", *arguments, *common, "--cores", "1", "--rounds", "4"])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return run


def test_ten_percent_slower_exits_1_and_all_blocks_are_on_disk(place, code):
    done, out, err = code("steady", "slower")
    assert done == 1, out + err
    assert "REGRESSED" in out
    assert "looks declared: 8 pairs" in err
    assert "pair   8 train" in err
    pairs = read_rows(place / "out" / "pairs.csv")
    assert [row["pair"] for row in pairs] == list(range(8))
    assert all(0.05 < row["log_ratio"] < 0.15 for row in pairs)
    assert Counter(row["first"] for row in pairs) == {"A": 4, "B": 4}, "slots are balanced"
    blocks = [s for s in read_rows(place / "out" / "samples.csv") if s["phase"] == "train"]
    assert len(blocks) == 8 * 4 * 2
    assert Counter((s["side"], s["position"]) for s in blocks) == dict.fromkeys(
        [("A", 0), ("A", 1), ("B", 0), ("B", 1)], 16
    )
    assert len({(s["pair"], s["round"], s["side"]) for s in blocks}) == 64
    kept = json.loads((place / "out" / "verdict.json").read_text())
    assert kept["exit_code"] == 1
    assert kept["pairs"] == 8
    assert kept["second_opinions"]["train"]["permutation_p_slower"] == pytest.approx(2**-8)
    assert kept["sides"]["B"]["versions"]["steady"] == "1.0"
    assert (kept["model"], kept["batch_size"], kept["threads"]) == ("small", 8, 1)
    assert sorted(path.name for path in (place / "out" / "models").iterdir()) == [
        "small_numpy.py",
        "small_slower_B.py",
        "small_steady_A.py",
    ]


def test_a_against_a_exits_0(code):
    done, out, err = code("steady", "steady")
    assert done == 0, out + err
    assert "OK" in out


def test_prediction_and_the_first_step_are_measures_too(place, code):
    done, out, err = code("steady", "slower", "--measure", "predict,compile", "--pairs", "2")
    assert done == 3, out + err
    rows = read_rows(place / "out" / "pairs.csv")
    assert [row["measure"] for row in rows] == ["predict", "compile"] * 2
    assert all(0.02 < row["log_ratio"] < 0.18 for row in rows)


def test_the_rounds_that_the_help_shows_are_those_of_a_pair():
    assert PAIR_ROUNDS == ROUNDS


@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="takes two cores",
)
@pytest.mark.parametrize("measure", ["train", "compile"])
def test_sides_of_one_core_import_apart_and_all_that_is_measured_is_on_the_same_one(
    place, code, monkeypatch, measure
):
    monkeypatch.setenv("FAKE_PLACES", str(place / "places"))
    before = os.sched_getaffinity(0)
    done, out, err = code("placed", "placed", "--measure", measure, "--pairs", "1")
    assert done == 3, out + err
    assert os.sched_getaffinity(0) == before
    notes = [json.loads(line) for line in (place / "places").read_text().splitlines()]
    imports = {number: cores for number, what, cores in notes if what == "import"}
    first, second = sorted(before)[:2]
    assert sorted(imports.values()) == [[first], [second]]
    for number, own in imports.items():
        places = [cores for found, what, cores in notes if (found, what) == (number, "train")]
        prepared = 2 if measure == "train" else 0  # the first step, of two threads
        assert places[:prepared] == [own] * prepared
        assert len(places) > prepared
        assert all(cores == [first] for cores in places[prepared:])


def test_a_variable_of_one_side_reaches_only_its_worker(place, code):
    done, out, err = code("steady", "steady", "--env-b", "FAKE_SLOWDOWN=2", "--pairs", "1")
    assert done == 3, out + err
    (row,) = read_rows(place / "out" / "pairs.csv")
    assert row["log_ratio"] == pytest.approx(np.log(2), abs=0.1)


def test_an_option_of_one_side_is_that_of_its_worker_alone(place, code, monkeypatch):
    monkeypatch.delenv("MALLOC_TOP_PAD_", raising=False)
    options = ("--option-a", "precision=float64", "--option-b", "environment=stock")
    done, out, err = code("steady", "steady", *options, "--pairs", "1")
    assert done == 3, out + err
    assert "steady [precision=float64] → steady [environment=stock]" in out
    kept = json.loads((place / "out" / "verdict.json").read_text())
    versions = {name: side["versions"] for name, side in kept["sides"].items()}
    assert (versions["A"]["precision"], versions["B"]["precision"]) == ("float64", "float32")
    assert versions["A"]["malloc"] != "None"
    assert versions["B"]["malloc"] == "None"
    assert kept["sides"]["B"]["options"] == ["environment=stock"]


def test_each_side_is_compared_with_the_reference_of_its_own_precision(place, code):
    """What is wrong by 1 % of one gradient is so in float64, and within rounding in bfloat16."""
    done, out, err = code("steady", "wrong", "--option-a", "precision=float64", "--pairs", "1")
    assert done == 3, out + err
    assert "CHANGED" in out
    (place / "out").rename(place / "before")
    done, out, err = code("steady", "wrong", "--option-b", "precision=bfloat16", "--pairs", "1")
    assert done == 3, out + err
    assert "INCONCLUSIVE" in out


def test_another_interpreter_runs_its_own_worker_without_the_harness_s_path(place, code):
    script = place / "old-python"
    script.write_text(f'#!/bin/sh\nFAKE_SLOWDOWN=1.5 exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    own = ["--python-a", str(script), "--pairs", "1"]
    done, out, err = code(
        "steady", "steady", *own, "--env-a", f"PYTHONPATH={os.environ['PYTHONPATH']}"
    )
    assert done == 3, out + err
    assert "fewer than 7 pairs prove nothing" in out
    (row,) = read_rows(place / "out" / "pairs.csv")
    assert row["log_ratio"] == pytest.approx(-np.log(1.5), abs=0.1)


def test_a_control_is_as_many_pairs_of_a_against_itself_and_decides_nothing(place, code):
    done, out, err = code("slower", "steady", "--pairs", "2", "--control")
    assert done == 3, out + err
    assert "control, A against itself: train: " in out
    rows = read_rows(place / "out" / "pairs.csv")
    assert [row["pair"] for row in rows] == [0, 1, 2, 3]
    assert [(r["role"], r["backend_a"], r["backend_b"]) for r in rows] == (
        [("comparison", "slower", "steady")] * 2 + [("control", "slower", "slower")] * 2
    )
    kept = json.loads((place / "out" / "verdict.json").read_text())
    assert kept["control"]["train"]["pairs"] == 2
    assert kept["network_hash"] == network_hash(load_spec("small.toml")), "a page finds it by that"
    assert kept["finished_at"] > rows[-1]["started_at"]


def test_a_control_that_differs_says_not_to_trust_the_verdict():
    judged, (remark,) = control(Pairs(normal(0.1)), 8, Rule(LIMITS), lambda pair: None)
    assert judged["train"].verdict == "REGRESSED"
    assert "do not trust this verdict" in remark
    _, (remark,) = control(Pairs(normal(0.0, 0.01)), 8, Rule(LIMITS), lambda pair: None)
    assert "trust" not in remark
    assert control(Pairs(normal(0), fails_at=9), 8, Rule(LIMITS), lambda pair: None)[0] == {}


def test_ctrl_c_keeps_the_pairs_and_exits_130(place, code, monkeypatch):
    def interrupted(self, number):
        raise KeyboardInterrupt

    monkeypatch.setattr(PairBench, "measure", interrupted)
    done, _, err = code("steady", "steady")
    assert done == 130
    assert "error: interrupted; the pairs measured before are in out" in err
    assert (place / "out" / "pairs.csv").exists()
    assert not (place / "out" / "verdict.json").exists()


def test_a_plug_in_that_is_not_registered_can_be_a_side(place, code):
    (place / "our_backend.py").write_text(
        "import verdict_fakes\n\n\nclass Ours(verdict_fakes.Slower):\n    name = 'ours'\n"
    )
    done, out, err = code("ours", "steady", "--plugin", "our_backend:Ours", "--pairs", "1")
    assert done == 3, out + err
    (row,) = read_rows(place / "out" / "pairs.csv")
    assert row["log_ratio"] == pytest.approx(-np.log(1.1), abs=0.06)


def test_a_crash_exits_4_and_another_network_3(place, code):
    done, out, err = code("steady", "crashing")
    assert done == 4, out + err
    assert "FAILED" in out
    assert "exit code 3" in out
    assert read_rows(place / "out" / "pairs.csv")[-1]["status"] == "failed"
    (place / "out").rename(place / "before")
    done, out, _ = code("steady", "wrong")
    assert done == 3
    assert "CHANGED" in out
    assert "gradient.dense1.bias" in out


def test_a_side_that_diverges_failed_however_fast_it_does_it(place, code):
    done, out, err = code("steady", "diverging", "--env-b", "FAKE_SLOWDOWN=0.5")
    assert done == 4, out + err
    assert "the loss became nan" in out
    (row,) = read_rows(place / "out" / "pairs.csv")
    assert (row["status"], row["log_ratio"]) == ("failed", None)


def test_an_answer_of_no_use_fails_its_pair_and_is_in_the_log(place, code):
    done, out, err = code("steady", "lying")
    assert done == 4, out + err
    assert "an answer of no use" in out
    assert "Traceback" not in out + err
    (row,) = read_rows(place / "out" / "pairs.csv")
    assert row["status"] == "failed"
    assert "AttributeError" in (place / "out" / "logs" / "B_lying.log").read_text()


def test_a_checkout_of_another_revision_is_what_its_worker_runs(place, code):
    """A plug-in's repository: its backend was 10 % slower one commit before."""
    (place / "site" / "verdict_plugins-1.0.dist-info" / "entry_points.txt").write_text(
        "[harness.backends]\nours = our_backend:Ours\n"
    )
    source = (
        "import verdict_fakes\n\n\nclass Session(verdict_fakes.SteadySession):\n    slowdown = {}\n"
        "\n\nclass Ours(verdict_fakes.Steady):\n    name = 'ours'\n    session = Session\n"
    )
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    for slowdown in (1.1, 1.0):
        (place / "our_backend.py").write_text(source.format(slowdown))
        subprocess.run([*git, "add", "our_backend.py"], check=True)
        subprocess.run([*git, "commit", "-qm", "step"], check=True)
    sides = ("--checkout-a", "HEAD", "--checkout-b", "HEAD~1")
    done, out, err = code("ours", "ours", *sides, "--pairs", "7")
    assert done == 1, out + err
    assert "ours [HEAD] → ours [HEAD~1]" in out
    rows = read_rows(place / "out" / "pairs.csv")
    assert np.median([row["log_ratio"] for row in rows]) == pytest.approx(np.log(1.1), abs=0.03)
    left = subprocess.run([*git, "worktree", "list"], capture_output=True, text=True, check=True)
    assert len(left.stdout.splitlines()) == 1, "no worktree is left behind"


def test_a_checkout_s_packages_may_lie_below_src_beside_an_interpreter_of_its_own(place, code):
    (place / "site" / "verdict_plugins-1.0.dist-info" / "entry_points.txt").write_text(
        "[harness.backends]\nours = our_backend:Ours\n"
    )
    text = "import verdict_fakes\n\n\nclass Ours(verdict_fakes.Steady):\n    name = 'ours'\n"
    (place / "src").mkdir()
    (place / "src" / "our_backend.py").write_text(text)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "-q"], ["add", "src"], ["commit", "-qm", "ours"]):
        subprocess.run([*git, *words], check=True)
    python = place / "own-python"  # whose environment has the rest
    rest = f'PYTHONPATH="$PYTHONPATH:{os.environ["PYTHONPATH"]}"'
    python.write_text(f'#!/bin/sh\n{rest} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    sides = ("--checkout-a", "HEAD", "--checkout-b", "HEAD", "--python-a", str(python))
    done, out, err = code("ours", "ours", *sides, "--pairs", "1")
    assert done == 3, out + err


def test_a_checkout_without_the_backend_would_compare_what_is_installed_with_itself(place, code):
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    for words in (["init", "-q"], ["add", "small.toml"], ["commit", "-qm", "no backend"]):
        subprocess.run([*git, *words], check=True)
    done, _, err = code("steady", "steady", "--checkout-a", "HEAD")
    assert done == 2, err
    assert "steady is not there, but in" in err
    assert "verdict_fakes.py" in err


def test_an_interpreter_without_the_harness_is_wrong_usage_and_no_regression(place, code):
    python = place / "bare-python"
    python.write_text("#!/bin/sh\necho no harness here >&2\nexit 1\n")
    python.chmod(0o755)
    done, _, err = code("steady", "steady", "--python-b", str(python))
    assert done == 2, err
    assert "side B: cannot list the backends" in err
    assert "no harness here" in err


def test_a_model_is_fitted_to_the_images_and_a_side_may_have_them_in_windows(place, capsys):
    data = ["--model", "small.toml", "--dataset", "synthetic:7x7x1:4:84", "--out", "out"]
    some = ["--cores", "1", "--rounds", "4", "--pairs", "2", "--option-b", "stream=always"]
    with pytest.raises(SystemExit) as end:
        main(["ab", "steady", "steady", *data, *some, "--fit"])
    assert end.value.code == 3, "two pairs settle nothing"
    assert "[stream=always]" in capsys.readouterr().out
    source = next((place / "out" / "models").iterdir())
    assert source.exists()
    kept = json.loads((place / "out" / "verdict.json").read_text())
    assert kept["sides"]["B"]["options"] == ["stream=always"]
    pairs = read_rows(place / "out" / "pairs.csv")
    assert [row["status"] for row in pairs] == ["ok"] * 2


def test_pairs_that_cannot_be_written_end_it_with_the_code_of_a_full_disk(place, code, monkeypatch):
    def full(self, content):
        if self.path.name == "pairs.csv":
            raise StorageError(self.path, OSError(errno.ENOSPC, "No space left on device"))
        return append(self, content)

    append = AppendFile.append
    monkeypatch.setattr(AppendFile, "append", full)
    done, _, err = code("steady", "steady")
    assert done == 5, err
    assert "cannot write out/pairs.csv: No space left on device" in err


BAD = {
    "unknown backend 'stedy'": ("stedy", "steady"),
    "is 4 backends": ("steady", "[scw][trl][eoar]*"),
    "no such program": ("steady", "steady", "--python-a", "no/such/python"),
    "allowed: NAME=VALUE": ("steady", "steady", "--env-b", "FAST"),
    "precison=float64; allowed: precision, environment, stream. Did you mean 'precision'?": (
        *("steady", "steady", "--option-b", "precison=float64"),
    ),
    "--option-a precision=half; allowed: float32, tf32": (
        *("steady", "steady", "--option-a", "precision=half"),
    ),
    "--precision 'tf32' is a mode of GPUs": (
        *("steady", "steady", "--option-a", "precision=tf32"),
    ),
    "--checkout-b: git rev-parse": ("steady", "steady", "--checkout-b", "no-such-revision"),
    "is no revision": ("steady", "steady", "--checkout-b", "--force"),
    "takes 6x6x1 images": ("steady", "steady", "-d", "synthetic:7x6x1:3:84"),
    "--rounds 3; allowed: 4": ("steady", "steady", "--rounds", "3"),
    "--cores '2'; allowed: all, 1": ("steady", "steady", "--cores", "2"),
    "--device 'all'; allowed: cpu, gpu": ("steady", "steady", "--device", "all"),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_gives_one_clear_message_and_exit_code_2(place, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(["ab", "--model", "small.toml", "-d", "synthetic:6x6x1:3:84", *BAD[message]])
    said = capsys.readouterr().err
    assert end.value.code == 2, said
    assert message in said
    assert "Traceback" not in said
    assert not (place / "results").exists(), "nothing was run"
