"""The command: its result, its files, its exit codes, and what it says of wrong usage."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from fuzz_making import NUMPY, fake

from harness import registry
from harness.cli import main
from harness.exchange import needed as needed_module


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = [*map(fake, ("plain", "tiny")), *NUMPY]
    monkeypatch.setattr(registry, "describe", lambda: known)


def harness(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(["fuzz", *arguments])
    return int(end.value.code or 0)


def test_agreement_is_exit_code_0_and_a_line_of_figures(capsys):
    assert harness("-b", "fake@plain", "--specs", "5", "--seed", "3", "--out", "found") == 0
    said = capsys.readouterr()
    assert said.out.startswith("5 specs, 1 backend, 0 differences, 0 refusals, ")
    assert said.out.splitlines()[0].endswith("seed 3")
    assert "up to 5 specs in 600 s" in said.err
    report = json.loads(Path("found/fuzz.json").read_text())
    assert (report["specs"], report["seed"], report["findings"]) == (5, 3, [])
    assert not Path("found/found").exists()


def test_a_difference_is_exit_code_1_and_a_file_with_its_command(capsys, monkeypatch):
    from harness.fuzz import search

    monkeypatch.setattr(search, "MOST_SHRINK_CALLS", 30)
    assert harness("-b", "fake@tiny", "--specs", "3", "--out", "found", "--quiet", "--json") == 1
    said = capsys.readouterr()
    assert said.err == ""
    report = json.loads(said.out)
    finding = report["findings"][0]
    assert finding["label"] == "fake@tiny"
    assert Path(finding["file"]).is_file()
    assert finding["command"] == (
        f"python -m harness check --model {finding['file']} --backend fake@tiny --steps 8"
    )
    assert report["differences"] > 0


def test_a_second_fuzz_does_not_replace_the_first(capsys):
    assert harness("-b", "fake@plain", "--specs", "1", "--out", "found") == 0
    assert harness("-b", "fake@plain", "--specs", "1", "--out", "found") == 2
    assert "holds a fuzz already; name another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--specs", "0", "--specs 0; allowed: 1 to 1000000. Try: --specs 1"),
        ("--seconds", "0", "--seconds 0; allowed: 1 to 604800. Try: --seconds 1"),
        ("--seconds", "nan", "--seconds nan; allowed: 1 to 604800. Try: --seconds 1"),
        ("--seed", "-1", "--seed -1; allowed: 0 to 4294967296. Try: --seed 0"),
        ("--timeout", "0", "--timeout 0; allowed: 1 to 604800. Try: --timeout 1"),
        ("--backend", "nobody", "unknown backend 'nobody'"),
    ],
)
def test_what_is_out_of_range_is_exit_code_2_and_said(capsys, option, value, said):
    arguments = {"--backend": "fake@plain", "--specs": "1", option: value}
    assert harness(*[word for pair in arguments.items() for word in pair]) == 2
    assert said in capsys.readouterr().err


def test_without_hypothesis_it_says_what_to_install(capsys, monkeypatch):
    original = importlib.import_module

    def import_module(name):
        if name == "hypothesis":
            raise ModuleNotFoundError("No module named 'hypothesis'", name=name)
        return original(name)

    monkeypatch.setattr(needed_module.importlib, "import_module", import_module)
    assert harness("--specs", "1") == 2
    assert 'pip install "cnn-harness[fuzz]"' in capsys.readouterr().err
