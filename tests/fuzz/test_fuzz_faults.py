"""Fakes that are wrong about one layer: found, shrunk to that layer, and repeated by `check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fuzz_making import NUMPY, PYTHONPATH, fake

from harness import registry
from harness.cli import main
from harness.fuzz import search
from harness.fuzz.drawn import read_fields
from harness.fuzz.fuzz import Watcher, fuzz, make_fuzz_plan
from harness.fuzz.report import FuzzFolder
from harness.show.fuzzing import result_lines
from harness.spec import infer, load_spec

SEED = 11  # of which the first specs have all layers that the fakes are wrong about


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """All fakes with a fault, fuzzed together, as `--backend all` would."""
    names = ("plain", "norms", "pools", "refusing", "raising")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PYTHONPATH)
        patch.setattr(search, "MOST_SHRINK_CALLS", 250)
        patch.setattr(search, "MOST_SHRINK_SECONDS", 1e9)  # the same on any machine
        fakes = [fake(name) for name in names]
        plan, rounded = make_fuzz_plan(fakes, [*fakes, *NUMPY], timeout=60.0)
        folder = FuzzFolder(tmp_path_factory.mktemp("fuzz") / "found")
        found = fuzz(plan, rounded, folder, Watcher(), specs=20, seconds=1e5, seed=SEED)
        return found, folder.write(found), folder.path


def of(judged, variant):
    return [f for f in judged[0].findings if f.label == f"fake@{variant}"]


def kinds(finding):
    return [node.layer.type for node in infer(read_fields(finding.smallest)).nodes]


def test_a_backend_without_a_fault_agrees_on_every_spec(judged):
    found, report, _ = judged
    assert report["specs"] == len(found.outcomes) >= 20
    assert {each["fake@plain"].status for each in found.outcomes.values()} == {"agrees"}
    assert not of(judged, "plain")


@pytest.mark.parametrize(
    ("variant", "layer", "rung"),
    [("norms", "group_norm", "forward"), ("pools", "avg_pool", "forward")],
)
def test_a_fault_is_shrunk_to_a_spec_with_just_the_layer_that_has_it(judged, variant, layer, rung):
    finding = next(f for f in of(judged, variant) if f.outcome.rung == rung)
    left = kinds(finding)
    assert left.count(layer) == 1
    assert len(left) <= 4, "that layer, and what makes a vector of its output"
    assert finding.shrunk_outcome.status == "differs"
    assert finding.tried > 0


def test_a_layer_that_the_fault_is_not_in_is_not_in_the_way(judged):
    norms = {number for number, each in judged[0].outcomes.items() if each["fake@norms"].is_fault}
    assert norms
    assert len(norms) < len(judged[0].outcomes)


def test_a_failure_on_a_valid_spec_is_a_finding(judged):
    (raising,) = of(judged, "raising")
    assert (raising.outcome.status, raising.outcome.kind) == ("failed", "ValueError")
    assert kinds(raising).count("layer_norm") == 1


def test_after_a_crash_a_new_worker_goes_on(carry_out, monkeypatch):
    monkeypatch.setattr(search, "MOST_SHRINK_CALLS", 5)
    found, _ = carry_out("crashing", specs=20, seed=SEED)
    (crashing,) = found.findings
    assert crashing.outcome.status == "crashed"
    assert "max_pool" in kinds(crashing)
    statuses = [each["fake@crashing"].status for each in found.outcomes.values()]
    assert "agrees" in statuses[statuses.index("crashed") :]


def test_a_refusal_by_name_is_counted_apart_and_is_no_agreement(judged):
    report = judged[1]
    (refusal,) = report["refusals"]
    assert refusal["label"] == "fake@refusing"
    assert refusal["reason"] == "it has no rows"
    (counts,) = [b for b in report["backends"] if b["label"] == "fake@refusing"]
    assert counts["refused"] == refusal["specs"] > 0
    assert counts["agrees"] + counts["refused"] == report["specs"]
    assert not of(judged, "refusing")


def test_each_finding_is_a_file_that_says_what_it_shows_and_how_to_repeat_it(judged):
    found, report, folder = judged
    assert sorted(str(path) for path in (folder / "found").iterdir()) == sorted(
        finding.file for finding in found.findings
    )
    for finding, written in zip(found.findings, report["findings"], strict=True):
        what, command, *_ = Path(finding.file).read_text().splitlines()
        assert what.startswith(f"# {finding.label} ")
        assert command == f"# {written['command']}"
        assert load_spec(finding.file) == read_fields(finding.smallest)


def test_the_command_of_a_finding_finds_it_again(judged, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    known = [fake("norms"), *NUMPY]
    monkeypatch.setattr(registry, "describe", lambda: known)
    finding = of(judged, "norms")[0]
    command = Path(finding.file).read_text().splitlines()[1].removeprefix("# python -m harness ")
    with pytest.raises(SystemExit) as end:
        main([*command.split(), "--out", "checked", "--quiet"])
    assert end.value.code == 1
    (backend,) = [
        b
        for b in json.loads(Path("checked/check.json").read_text())["backends"]
        if b["label"] == "fake@norms"
    ]
    assert backend["verdict"].startswith(f"differs at {finding.outcome.rung}")


def test_the_result_names_every_finding_with_its_command(judged):
    found, report, _ = judged
    first, *rest = result_lines(report, found.findings)
    assert first.startswith(f"{report['specs']} specs, 5 backends, {report['differences']} diff")
    assert first.endswith(f"seed {SEED}")
    for written in report["findings"]:
        assert f"  {written['command']}" in rest


def test_the_same_seed_finds_the_same(carry_out, monkeypatch):
    monkeypatch.setattr(search, "MOST_SHRINK_CALLS", 10)
    (first, _), (second, _) = (
        carry_out(variant, specs=20, seed=SEED) for variant in ("norms",) * 2
    )
    assert first.findings
    assert first.outcomes == second.outcomes
    assert [f.smallest for f in first.findings] == [f.smallest for f in second.findings]


def test_no_spec_is_begun_when_the_time_is_over(carry_out):
    found, _ = carry_out("plain", seconds=0.0)
    assert not found.outcomes
    assert found.exit_code == 0
