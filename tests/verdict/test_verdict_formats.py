"""Reports and results in the formats of other tools."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest
from verdict_runs import write_run, write_runs

from harness.cli import main
from harness.show.ci import as_junit, as_markdown, github_annotations
from harness.show.pytest_benchmark import statistics
from harness.verdict.judge import Judgement, Limits
from harness.verdict.report import Finding, Report

SLOW = Judgement("REGRESSED", 8, 1.1, 1.08, 1.12, 0.004, 1.0, 0.01, Limits())
REPORT = Report(
    "old | new",
    [
        Finding("torch cpu", "train", "REGRESSED", "p = 0.004", judgement=SLOW),
        Finding("torch cpu", "accuracy", "OK", difference=0.001, low=-0.002, high=0.004),
        Finding("flax cpu", "train", "INCONCLUSIVE", "too few: 50 %, say\nso"),
        Finding("keras cpu", "train", "FAILED", "crashed <here>\x00 & there"),
        Finding("keras cpu", "memory", "CHANGED", "versions differ"),
    ],
)


def test_markdown_has_a_line_for_each_finding_and_nothing_breaks_out_of_its_cell():
    text = as_markdown(REPORT)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(REPORT.findings)
    assert all(len(re.split(r"(?<!\\)\|", row)) == 8 for row in rows)
    assert "+10.0 %" in text
    assert "+8.0 to +12.0 %" in text
    assert "+0.10 pt" in text
    assert r"old \| new" in text
    assert "&lt;here>" in text


def test_annotations_are_one_escaped_line_each():
    lines = github_annotations(REPORT)
    assert [line.split(" ")[0] for line in lines] == [
        "::error", "::warning", "::error", "::warning",
    ]  # fmt: skip
    assert "title=REGRESSED torch cpu%3A train::+10.0 %25 (+8.0 to +12.0 %25)" in lines[0]
    assert "50 %25, say%0Aso" in lines[1]
    assert all("\n" not in line for line in lines)


def test_junit_is_xml_and_counts_what_fails():
    root = ElementTree.fromstring(as_junit(REPORT))
    (suite,) = root
    assert {k: suite.get(k) for k in ("tests", "failures", "errors", "skipped")} == {
        "tests": "5", "failures": "3", "errors": "1", "skipped": "0",
    }  # fmt: skip
    outcomes = [[inner.tag for inner in case] for case in suite]
    assert outcomes == [["failure"], [], ["failure"], ["error"], ["failure"]]
    lenient = Report(REPORT.title, REPORT.findings, inconclusive_ok=True)
    assert ElementTree.fromstring(as_junit(lenient))[0].get("skipped") == "1"


def test_compare_writes_all_of_them(tmp_path, monkeypatch, capsys):
    old, new = write_runs(tmp_path / "old", 8), write_runs(tmp_path / "new", 8, 50, step=0.02)
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    files = ["--markdown", str(tmp_path / "a.md"), "--junit", str(tmp_path / "a.xml")]
    with pytest.raises(SystemExit) as end:
        main(["compare", str(old), str(new), *files, "--github-annotations", "--github-summary"])
    assert end.value.code == 1
    assert "::error title=REGRESSED" in capsys.readouterr().out
    written = (tmp_path / "a.md").read_text()
    assert "REGRESSED" in written
    assert summary.read_text() == "before\n" + written
    assert ElementTree.parse(tmp_path / "a.xml").getroot().tag == "testsuites"


@pytest.fixture
def exported(tmp_path, capsys):
    folder = write_run(tmp_path / "run", backends=("torch", "flax"), predict_ms_p50=2.5)

    def export(form: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["export", str(folder), "--format", form])
        assert end.value.code == 0
        return capsys.readouterr().out

    return export


def test_action_benchmark_has_name_unit_and_value_and_each_sort_apart(exported):
    bigger, smaller = (json.loads(exported(f"{s}-is-better")) for s in ("bigger", "smaller"))
    assert {entry["unit"] for entry in bigger} == {"images/s", "share"}
    assert {entry["unit"] for entry in smaller} == {"ms", "s", "bytes"}
    names = [entry["name"] for entry in bigger + smaller]
    assert len(set(names)) == len(names)
    assert "torch cpu small digits b8 float32: training throughput" in names
    assert all(isinstance(entry["value"], int | float) for entry in bigger + smaller)


# As published at https://bencher.dev/docs/reference/bencher-metric-format
METRIC = {
    "type": "object",
    "properties": {
        "value": {"type": "number"},
        "lower_value": {"type": "number"},
        "upper_value": {"type": "number"},
    },
    "required": ["value"],
}
BENCHER = {
    "type": "object",
    "patternProperties": {".+": {"type": "object", "patternProperties": {".+": METRIC}}},
}


def test_bencher_metric_format_follows_its_schema(exported):
    found = json.loads(exported("bencher"))
    jsonschema.validate(found, BENCHER)
    assert found["torch cpu small digits b8 float32"]["training-throughput"]["value"] == 800


def test_openmetrics_ends_with_eof_and_names_end_in_their_unit(exported):
    text = exported("openmetrics")
    assert text.endswith("# EOF\n")
    units = dict(re.findall(r"^# UNIT (\S+) (\S+)$", text, re.M))
    assert units
    assert all(name.endswith(f"_{unit}") for name, unit in units.items())
    assert "cnn_harness_prediction_seconds{" in text
    value = re.search(r'^cnn_harness_prediction_seconds\{backend="torch".*\} (\S+)$', text, re.M)
    assert float(value[1]) == pytest.approx(0.0025)
    families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(set(families)) == len(families)


def test_what_failed_or_is_another_network_is_not_exported(tmp_path, capsys):
    for number, columns in enumerate(({"status": "crashed"}, {"equivalent": False})):
        folder = write_run(tmp_path / str(number), **columns)
        with pytest.raises(SystemExit) as end:
            main(["export", str(folder), "-f", "bencher"])
        assert end.value.code == 2
        assert "nothing to export" in capsys.readouterr().err


def test_an_unknown_format_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["export", str(tmp_path), "-f", "benchre"])
    assert end.value.code == 2
    assert "Did you mean 'bencher'?" in capsys.readouterr().err


def test_pytest_benchmark_itself_reads_the_file_and_compares_two(tmp_path):
    for number, step in enumerate((0.01, 0.02)):
        folder = write_run(tmp_path / str(number), number, step, backends=("torch", "flax"))
        with pytest.raises(SystemExit) as end:
            main(
                [
                    "export",
                    str(folder),
                    "-f",
                    "pytest-benchmark",
                    "-o",
                    str(tmp_path / f"{number}.json"),
                ]
            )
        assert end.value.code == 0
    command = [sys.executable, "-m", "pytest_benchmark", "--storage", str(tmp_path), "compare"]
    files = [str(tmp_path / "0.json"), str(tmp_path / "1.json")]
    columns = ["--columns=min,max,mean,stddev,median,iqr,outliers,ops,rounds", "--sort=name"]
    table = tmp_path / "table.csv"
    done = subprocess.run(
        [*command, *files, *columns, f"--csv={table}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train[torch cpu small digits b8]" in done.stdout
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    medians = [float(row["median"]) for row in rows if "torch" in row["name"]]
    assert sorted(medians) == pytest.approx([0.01, 0.02], rel=0.05)
    assert {int(row["rounds"]) for row in rows} == {60}


def test_pytest_benchmark_s_figures_are_its_own(tmp_path):
    from pytest_benchmark.stats import Stats

    values = np.random.default_rng(2).exponential(size=101)
    theirs, ours = Stats(), statistics(values)
    for value in values:
        theirs.update(float(value))
    for name in ("min", "max", "mean", "stddev", "rounds", "median", "ops", "total"):
        assert ours[name] == pytest.approx(getattr(theirs, name)), name
    assert ours["stddev_outliers"] == theirs.stddev_outliers
    assert set(Stats.fields) <= set(ours)


def test_pytest_benchmark_s_format_needs_samples(tmp_path, capsys):
    folder = write_run(tmp_path / "run")
    (folder / "samples.csv").unlink()
    with pytest.raises(SystemExit) as end:
        main(["export", str(folder), "-f", "pytest-benchmark"])
    assert end.value.code == 2
    assert "wants every sample" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[1]", '"text"', "{", "null"])
def test_a_machine_file_that_makes_no_sense_is_as_if_there_were_none(tmp_path, exported, content):
    (tmp_path / "run" / "machine.json").write_text(content)
    assert json.loads(exported("pytest-benchmark"))["machine_info"]["node"] == ""
