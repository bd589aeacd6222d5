"""Every command in the documentation is one that its tool takes; the cheap ones are run."""

from __future__ import annotations

import argparse
import os
import re
import runpy
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from docs_pages import ROOT, Command, commands_in, fences, pages
from typer.main import get_command

from harness import registry
from harness.cli import app, main
from harness.data import load
from harness.run.weights import write_weights
from harness.spec import initial_parameters, load_spec

PAGES = pages()
COMMANDS = list(dict.fromkeys(command for text in PAGES.values() for command in commands_in(text)))
PREFIXES = {"timeout": 2}  # words before the command itself
ELSEWHERE = {"tests/test_mine.py"}  # in the repository of whoever follows a guide

# Run from beginning to end, in a folder that has what the pages take for granted. Compared with
# itself a single run is inconclusive: 3.
RUN = {
    "backends": 0,
    "compare": 3,
    "datasets": 0,
    "emit": 0,
    "export": 0,
    "export-onnx": 0,
    "history": 0,
    "init": 0,
    "import-onnx": 0,
    "machine": 0,
    "models": 0,
    "plot": 0,
    "report": 0,
    "schema": 0,
}
# Only parsed, each for a reason; their options, models, data sets and backends are looked up.
PARSED = {
    "ab": "starts dozens of workers with frameworks; tests/verdict runs it with fakes",
    "calibrate": "as ab",
    "check": "takes frameworks up a ladder; tests/check and tests/backends run it",
    "doctor": "imports frameworks; tests/terminal runs it with fakes",
    "explain": "starts a framework; test_docs_learning.py runs the one whose figures are printed",
    "fuzz": "takes ten minutes; tests/fuzz runs it with fewer specs",
    "import-keras": "needs a file that Keras wrote; tests/exchange makes some",
    "infer": "starts frameworks; tests/flow runs it with fakes",
    "machine --measure": "measures for minutes; tests/run does so with fakes",
    "predict": "starts frameworks; tests/flow runs it with fakes",
    "run": "trains frameworks; tests/flow and tests/faults run it with fakes",
}


def of_harness(command: Command) -> tuple[str, ...]:
    """The words behind `python -m harness`, none if it is another command."""
    return command.words[3:] if command.words[:3] == ("python", "-m", "harness") else ()


HARNESS = [command for command in COMMANDS if of_harness(command)]


def parse(words: tuple[str, ...], is_whole: bool = True) -> dict[str, Any]:
    """Have the command line's own parser read a command; return the values of its parameters.

    In a sentence, what is required may be missing.
    """
    name, *rest = words
    command = get_command(app).commands[name]
    if inner := getattr(command, "commands", None):
        command, rest = (inner[rest[0]], rest[1:]) if rest else (command, [])
    try:
        return command.make_context(name, list(rest)).params
    except Exception as error:
        if is_whole or type(error).__name__ not in ("MissingParameter", "NoArgsIsHelpError"):
            raise
        return {}


@pytest.fixture(scope="module")
def known() -> list[registry.BackendInfo]:
    return registry.as_installed(registry.describe())


@pytest.mark.parametrize("command", HARNESS, ids=str)
def test_the_command_line_takes_it(command, known):
    words = of_harness(command)
    given = parse(words, command.is_whole)
    if (model := given.get("model")) and not model.endswith(".toml"):
        load_spec(model)
    if (name := given.get("dataset")) and name.partition(":")[0].startswith("synthetic"):
        load(name)
    sides = [given[side] for side in ("a", "b") if side in given]
    for request in filter(None, [given.get("backend"), *sides]):
        predicting = given.get("precision", "float32") if words[0] in ("infer", "predict") else ""
        registry.select(request, known, predicting)


@pytest.mark.parametrize("path", [path for path in PAGES if commands_in(PAGES[path])])
def test_options_in_sentences_are_those_of_the_command(path):
    names = "|".join(get_command(app).commands)
    for name, option in re.findall(rf"`(?:harness )?({names}) (--[a-z-]+)[^`]*`", PAGES[path]):
        options = [o for p in get_command(app).commands[name].params for o in p.opts]
        assert option in options, f"{name} {option}"


def test_every_command_is_run_or_has_a_reason_why_not():
    names = {of_harness(command)[0] for command in HARNESS}
    both = {name.partition(" ")[0] for name in (*RUN, *PARSED)}
    assert names <= both, "say in RUN or in PARSED what becomes of it"
    assert set(get_command(app).commands) <= names, "commands that no page shows"


def reason_against(words: tuple[str, ...]) -> str:
    """Why a command is not run; nothing if it is."""
    name = f"{words[0]} --measure" if "--measure" in words else words[0]
    return PARSED.get(name, "") if name != "history" else ""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with what the pages take for granted: results, a model, weights, an ONNX file."""
    place = tmp_path_factory.mktemp("workshop")
    (place / "docs").symlink_to(ROOT / "docs")
    results = place / "results"
    results.mkdir()
    shutil.copytree(ROOT / "results" / "baselines", results / "baselines")
    measured = sorted((ROOT / "results" / "baselines").glob("*/mnist-1conv"))[-1]
    for name in ("before", "after", "nightly"):
        shutil.copytree(measured, results / name)
    model = fences(PAGES["docs/adding-a-model.md"], "toml")[0]
    (place / "my-net.toml").write_text(model, encoding="utf-8")
    spec = load_spec("mnist-1conv")
    weights = place / "trained" / "weights"
    weights.mkdir(parents=True)
    arrays = initial_parameters(spec, 0)
    write_weights(weights / "torch-cpu-0.safetensors", spec, arrays, {})
    return place


TO_RUN = [c for c in HARNESS if c.is_whole and not reason_against(of_harness(c))]


@pytest.mark.parametrize("command", TO_RUN, ids=str)
def test_it_does_what_it_says(command, workshop, monkeypatch, capsys):
    """In the order of the pages, as one may need what another wrote."""
    words = of_harness(command)
    if words[0] in ("export-onnx", "import-onnx"):
        pytest.importorskip("onnx")
    if "--log-to" in words:
        pytest.importorskip("tensorboard")
    if words[0] == "plot":
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(workshop)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XDG_CACHE_HOME", str(workshop / "cache"))
    if words[0] == "import-onnx" and not Path(words[1]).exists():
        with pytest.raises(SystemExit):
            main(["export-onnx", "--model", Path(words[1]).stem, "-o", words[1]])
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    said = capsys.readouterr()
    assert ended.value.code in (None, RUN[words[0]]), said.err
    assert said.out or said.err or "-o" in words
    if "-o" in words:
        assert (workshop / words[words.index("-o") + 1]).exists()


OTHERS = [command for command in COMMANDS if not of_harness(command)]


@pytest.mark.parametrize("command", OTHERS, ids=str)
def test_what_is_no_command_of_the_harness_is_known_too(command, monkeypatch):
    words = command.words[PREFIXES.get(command.words[0], 0) :]
    match words:
        case ("make", *targets):
            phony = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
            names = [target for target in targets if "=" not in target]
            assert set(names) <= set(" ".join(phony).split())
        case ("pip", "install", *wanted):
            check_requirements([one for one in wanted if one not in ("-e", "-c")])
        case ("source", script):  # of the environment that `make run` makes
            (place,) = re.findall(r"^VENV \?= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert script == f"{place}/bin/activate"
        case ("harness", option):
            assert option in [name for one in get_command(app).params for name in one.opts]
        case ("python", "-m", "pytest", *rest):
            paths = [word for word in rest if word.startswith("tests")]
            assert paths
            assert all(path in ELSEWHERE or (ROOT / path).exists() for path in paths)
            own = (ROOT / "tests" / "faults" / "conftest.py").read_text()
            options = {word for word in rest if word.startswith("-")} - {"-k", "-m", "--basetemp"}
            assert all(f'"{option}"' in own for option in options)
        case ("python", "-m", module, *options) if module.startswith("benchmarks."):
            check_script(module, options, monkeypatch)
        case ("python", script, *options) if (ROOT / script).is_file():
            check_script(ROOT / script, options, monkeypatch)
        case _:
            pytest.fail(f"no test knows what this is: {command}")


def check_requirements(wanted: list[str]) -> None:
    """Extras are those of pyproject.toml, and other packages stand there, too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    packages = {re.split(r"[>=<\[]", p)[0] for group in extras.values() for p in group}
    for one in wanted:
        name, bracket, names = one.rstrip("]").partition("[")
        assert name in {".", "cnn-harness", "constraints.txt", *packages}
        assert not bracket or set(names.split(",")) <= set(extras)


class ParsedError(Exception):
    """Raised where a script would begin its work."""


def check_script(script: str | Path, options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a script read its options, and no more."""
    read = argparse.ArgumentParser.parse_args

    def only_read(self, *arguments):
        read(self, *arguments)
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_read)
    monkeypatch.setattr(sys, "argv", [str(script), *options])
    monkeypatch.setattr(sys, "path", [*sys.path])
    run = runpy.run_path if isinstance(script, Path) else runpy.run_module
    with pytest.raises(ParsedError):
        run(os.fspath(script), run_name="__main__")
