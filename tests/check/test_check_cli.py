"""The command: its table, JSON, files and exit codes."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from check_climb import MODEL, NUMPY, fake
from rich.console import Console

from harness import registry
from harness.check.ladder import NUMERIC
from harness.check.numeric import TOLERANCE
from harness.check.questions import PARTS, RUNGS
from harness.check.report import COLUMNS
from harness.check.tolerances import FLOAT64
from harness.cli import main
from harness.run.folder import read_rows
from harness.show.checks import check_table, remarks


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(MODEL)
    known = [*map(fake, ("", "plain", "epsilon", "crashing", "lazy")), NUMPY]
    monkeypatch.setattr(registry, "describe", lambda: known)


def harness(*arguments: str) -> int:
    options = ["--model", "small.toml", "--steps", "4", "--threads", "1"]
    with pytest.raises(SystemExit) as end:
        main(["check", *options, *arguments])
    return int(end.value.code or 0)


def test_the_same_network_is_exit_code_0_and_a_row_of_figures(capsys):
    assert harness("-b", "fake@plain", "--out", "found") == 0
    said = capsys.readouterr()
    head, plain, *rest = said.out.splitlines()
    assert head.split() == ["backend", *RUNGS]
    assert plain.split() == ["fake@plain", *["ok", "0"] * 6]
    assert "1 of 1 is the same network" in " ".join(rest)
    assert "Written: found" in said.out
    assert "trajectory" in said.err, "it tells what it does"
    assert Path("found/check.csv").is_file()
    assert Path("found/models").is_dir()


def test_another_network_is_exit_code_1_and_named_with_its_likely_cause(capsys):
    assert harness("-b", "fake@epsilon,fake@plain", "--quiet") == 1
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[1].split() == ["fake@epsilon", "ok", "0", "DIFFERS", "-", "-", "-", "-"]
    text = " ".join(said.out.split())
    assert "fake@epsilon differs at forward, first in bn1 (evaluation), by" in text
    assert "as with epsilon 1e-05 instead of 0.001" in text
    (folder,) = Path("results/checks").iterdir()
    assert f"Written: {folder}" in said.out


def test_a_crash_is_exit_code_4_and_json_says_where(capsys):
    assert harness("-b", "fake@crashing", "--json", "--quiet") == 4
    found = json.loads(capsys.readouterr().out)
    backends = {b["label"]: b for b in found["backends"]}
    assert backends["fake@crashing"]["verdict"] == "crashed"
    assert found["precision"] == "float64"
    assert found["steps"] == 4
    assert backends["reference"]["rungs"][0]["rung"] == NUMERIC


TRAININGS = ["--seeds", "2", "--dataset", "synthetic:8x8x2:3:240", "--epochs", "4", "--quiet"]


def test_equal_accuracies_over_seeds_are_the_last_rung(capsys):
    assert harness("-b", "fake@plain,fake", *TRAININGS, "--out", "found") == 0
    head, one, other, *rest = capsys.readouterr().out.splitlines()
    assert head.split() == ["backend", *RUNGS, "accuracy"]
    assert one.split()[-3:] == other.split()[-3:] == ["ok", "0.00", "pt"]
    assert "comparable within 1 point" in " ".join(" ".join(rest).split())
    assert Path("found/accuracy/summary.csv").is_file()
    with Path("found/check.csv").open() as file:
        last = [row for row in csv.DictReader(file) if row["rung"] == "accuracy"]
    assert [row["status"] for row in last] == ["ok", "ok"]
    assert last[0]["topic"] == "over 2 seeds, against fake on cpu"


def test_who_trains_otherwise_when_nobody_looks_fails_the_last_rung(capsys):
    assert harness("-b", "fake@lazy,fake", *TRAININGS, "--margin", "0.01") in (1, 3)
    said = " ".join(capsys.readouterr().out.split())
    assert "2 of 2 are the same network" in said
    assert re.search(
        r"Accuracy of fake@lazy, over 2 seeds, against fake on cpu: (diff|no ver)", said
    )


def test_one_backend_alone_has_nobody_to_be_compared_with(capsys):
    assert harness("-b", "fake@plain", *TRAININGS) == 0
    head, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["backend", *RUNGS]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--seeds", "1"], "--seeds 1; allowed: 2 to"),
        (["--seeds", "3", "--margin", "0"], "--margin 0; allowed: 0.01 to 50"),
        (["--seeds", "3", "--epochs", "0"], "--epochs 0; allowed: 1 to"),
        (["--seeds", "3", "--dataset", "digits"], "--fit"),
    ],
)
def test_trainings_that_cannot_be_are_refused_before_the_climb(options, named, capsys):
    assert harness("-b", "fake@plain,fake", *options, "--out", "found") == 2
    assert named in " ".join(capsys.readouterr().err.split())
    assert not Path("found").exists()


def test_a_later_run_of_the_same_network_says_what_was_found():
    assert harness("-b", "fake@epsilon,fake@plain", "--quiet") == 1
    options = ["--model", "small.toml", "--dataset", "synthetic:8x8x2:3:84", "--epochs", "1"]
    with pytest.raises(SystemExit):
        main(["run", "-b", "fake@*", *options, "--seeds", "1", "--threads", "1", "--out", "ran"])
    rows = {row["variant"]: row for row in read_rows(Path("ran/summary.csv"))}
    assert rows["plain"]["checked"] == "verified"
    assert rows["epsilon"]["checked"] == "differs at forward: bn1"
    assert rows["crashing"]["checked"] == "not checked"


def test_every_column_of_check_csv_is_described():
    text = (Path(__file__).parents[2] / "docs" / "equivalence.md").read_text(encoding="utf-8")
    table = text[text.index("## What is written") :]
    described = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", table, re.M)))
    assert sorted(described) == sorted(COLUMNS)


def test_the_tolerances_in_the_documents_are_those_of_the_code():
    text = (Path(__file__).parents[2] / "docs" / "equivalence.md").read_text(encoding="utf-8")
    rows = dict(
        re.findall(r"^\| ([a-z, ]+) \| ([\de-]+)(?:; measured, where more)? \|", text, re.M)
    )
    for rung, tolerance in FLOAT64.items():
        name = "forward" if rung in PARTS["forward"] else rung
        (stated,) = [float(value) for names, value in rows.items() if name in names.split(", ")]
        assert stated == tolerance, rung
    assert float(rows["by hand and numeric"]) == TOLERANCE


BAD = {
    "--steps 1; allowed: 2 to 1000": ("--steps", "1"),
    "unknown backend": ("-b", "twix"),
    "--device 'tpu'": ("--device", "tpu"),
    "--precision 'float16'": ("--precision", "float16"),
    "--precision 'bfloat16': fake@plain can float32 and float64": ("--precision", "bfloat16"),
    "holds a check already": ("--out", "old"),
    "unknown model": ("--model", "mnist-3conv"),
}


@pytest.mark.parametrize("message", BAD)
def test_wrong_usage_is_one_message_before_anything_starts(message, capsys):
    Path("old").mkdir()
    Path("old/check.csv").touch()
    assert harness("-b", "fake@plain", *BAD[message]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "import" not in said


def report(status: str = "ok", label: str = "tensorflow@session") -> dict:
    rung = {"status": status, "where": "stage1.0.conv1.kernel", "topic": "gradient", "cause": "?"}
    figures = {"difference": 1.23e-15, "tolerance": 1e-10, "error": ""}
    rungs = [{"rung": name, **rung, **figures} for name in RUNGS]
    backend = {"label": label, "verdict": "verified", "rungs": rungs}
    return {"precision": "float64", "steps": 50, "backends": [backend]}


@pytest.mark.parametrize("status", ["ok", "differs", "not reached", "out-of-memory"])
def test_the_table_fits_80_columns_with_the_longest_name(status):
    console = Console(width=80, record=True, quiet=False)
    with console.capture() as capture:
        console.print(check_table(report(status)))
    lines = capture.get().splitlines()
    assert len(lines) == 2, lines
    assert lines[1].startswith("tensorflow@session")


def test_a_remark_names_where_and_by_how_much():
    (first, *_) = remarks(report("differs"))
    assert first == (
        "tensorflow@session differs at structure, first in stage1.0.conv1.kernel (gradient), "
        "by 1.2e-15, allowed 1e-10: ?"
    )
