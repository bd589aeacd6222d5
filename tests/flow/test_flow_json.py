"""`--json` of every command that has it: JSON alone on standard output, all else beside it."""

from __future__ import annotations

import json

import pytest
from test_flow_cli import DATA, harness, place  # noqa: F401 (a fixture)
from typer.main import get_command

from harness.cli import app

MODEL = ("--model", "small.toml")
TINY = (*MODEL, *DATA)
TWIN = ("--backend", "twin")
WEIGHTS = "trained/weights/twin-cpu-0.safetensors"
# Of each command: what makes it do as little as it can, and the exit code of that.
CALLS = {
    "doctor": (TWIN, None),
    "run": ((*TINY, *TWIN, "--seeds", "1", "--no-limit"), 0),
    "predict": ((*TWIN, *DATA, "--weights", WEIGHTS), 0),
    "infer": (
        (*MODEL, *TWIN, "--device", "cpu", "--batch-sizes", "4", "--rounds", "1", "--no-limit"),
        0,
    ),
    "check": ((*MODEL, *TWIN, "--steps", "3"), 0),
    "explain": ((*MODEL, *TWIN, *DATA[:2]), 0),
    "fuzz": ((*TWIN, "--specs", "1"), 0),
    "ab": (("twin", "twin", *TINY, "--pairs", "1", "--rounds", "4"), 3),
    "compare": (("trained", "trained"), 3),
    "calibrate": ((*TINY, *TWIN, "--pairs", "5", "--rounds", "4"), 0),
    "history show": ((), 0),
    "backends": ((), 0),
    "models": ((), 0),
    "datasets": ((), 0),
    "machine": ((), 0),
}
READING = ("predict", "compare", "history show")  # what a run wrote


def with_json(group=None, path=""):
    for name, command in (group or get_command(app)).commands.items():
        if getattr(command, "commands", None):
            yield from with_json(command, f"{path}{name} ")
        elif any("--json" in parameter.opts for parameter in command.params):
            yield f"{path}{name}"


def test_every_command_with_the_option_is_called_here():
    assert sorted(with_json()) == sorted(CALLS)


def test_every_command_that_prints_a_table_has_the_option():
    """Those without it write files, or print what a program reads already."""
    every = {name for name, command in get_command(app).commands.items()}
    without = every - {name.split()[0] for name in with_json()}
    files = {"init", "emit", "report", "plot", "export-onnx", "import-onnx", "import-keras"}
    assert without == files | {"schema", "export"}


@pytest.fixture
def trained(place):  # noqa: F811
    """A run whose results and weights other commands read."""
    options = ("--seeds", "1", "--no-limit", "--save-weights", "--out", "trained", "--quiet")
    done = harness("run", *TINY, *TWIN, *options)
    assert done.returncode == 0, done.stderr
    assert harness("history", "add", "trained").returncode == 0


@pytest.mark.parametrize("command", CALLS)
def test_standard_output_is_json_and_nothing_else(command, place, request):  # noqa: F811
    if command in READING:
        request.getfixturevalue("trained")
    arguments, code = CALLS[command]
    done = harness(*command.split(), *arguments, "--json")
    assert json.loads(done.stdout), done.stderr
    assert "NaN" not in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    if code is not None:
        assert done.returncode == code, done.stderr


def test_a_run_as_json_has_the_rows_of_its_summary_and_says_where_they_are(place):  # noqa: F811
    done = harness("run", *TINY, "-b", "twin,wrong", "--seeds", "1", "--no-limit", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert [row["backend"] for row in found["rows"]] == ["twin", "wrong"]
    assert [row["equivalent"] for row in found["rows"]] == [True, False]
    assert (place / found["results"] / "summary.csv").is_file()
    assert (place / found["report"]).is_file()
    assert any("wrong on cpu is NOT the same network" in remark for remark in found["remarks"])
    assert "epoch 3/3" in done.stderr, "progress goes on beside it"
