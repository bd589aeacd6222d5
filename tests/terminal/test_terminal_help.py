"""What every command says of itself: examples that work, exit codes, suggestions, plain output."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text
from typer.main import get_command

from harness.cli import app
from harness.commands.unknown import options_of

ROOT = Path(__file__).parents[2]
COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-9]|4[0-9]|9[0-9]|10[0-7])[0-9;]*m")


def commands(group=None, path=()):
    """Every command that is registered, with the words that lead to it."""
    group = group or get_command(app)
    for name, command in group.commands.items():
        if inner := getattr(command, "commands", None):
            assert inner
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = dict(commands())
EVERY = pytest.mark.parametrize("path", ALL, ids=" ".join)


def examples(command) -> list[str]:
    return re.findall(r"^python -m harness .*$", command.epilog or "", re.MULTILINE)


def test_the_commands_are_found():
    assert {("run",), ("init",), ("doctor",), ("history", "add"), ("import-keras",)} <= set(ALL)


@EVERY
def test_help_has_examples_that_are_of_the_command_and_can_be_parsed(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ALL[path]
    assert examples(command), "no line begins with python -m harness"
    own = 0
    for line in examples(command):
        words = shlex.split(line)[3:]
        assert words[: len(path)] == list(path), line
        with command.make_context(path[-1], words[len(path) :]) as context:
            assert context.params is not None
        own += 1
    assert own


@EVERY
def test_help_gives_the_exit_codes(path):
    (codes,) = re.findall(r"^Exit codes: (.*)$", ALL[path].epilog, re.MULTILINE)
    assert re.match(r"0 [a-z]", codes)
    assert re.search(r"\b2 wrong usage", codes)


@EVERY
def test_help_is_said_for_every_command_and_each_of_its_options(path, harness):
    said = harness(*path, "--help")
    assert (said.code, said.err) == (0, "")
    assert "Examples:" in said.out
    for parameter in ALL[path].params:
        assert parameter.name == "resume" or parameter.help, f"{parameter.name} is not explained"


@pytest.mark.parametrize("path", [(), ("history",)], ids=["harness", "history"])
def test_groups_have_examples_and_exit_codes_and_show_help_without_a_command(path, harness):
    group = get_command(app)
    for name in path:
        group = group.commands[name]
    assert examples(group)
    assert "Exit codes: " in group.epilog
    for line in examples(group):
        words = shlex.split(line)[3:]
        name = tuple(words[: len(path) + 1])
        ALL[name].make_context(name[-1], words[len(name) :])
    said = harness(*path)
    assert said.code == 2
    assert "Examples:" in said.out


# What is not known


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("rnu",), "unknown command 'rnu'; known: init, doctor, run, "),
        (("rnu",), "Did you mean 'run'? Try: python -m harness --help"),
        (("frobnicate",), "schema, datasets, machine, history. Try: "),
        (("history", "shw"), "unknown command 'shw'; known: add, show. Did you mean 'show'?"),
        (("history", "shw"), "Try: python -m harness history --help"),
        (("run", "--epoch", "3"), "No such option: --epoch. Did you mean '--epochs'?"),
        (("run", "--epoch", "3"), "Try: python -m harness run --help"),
        (("run", "--bakend=torch"), "No such option: --bakend. Did you mean '--backend'?"),
        (("run", "-z"), "No such option: -z"),
        (
            ("history", "show", "--cel", "x"),
            "Did you mean '--cell'? Try: python -m harness history",
        ),
        (
            ("--versoin",),
            "No such option: --versoin. Did you mean '--version'? Try: python -m harness",
        ),
        (("run", "--epochs", "many"), "Invalid value for '--epochs'"),
        (("compare",), "Missing argument"),
        (("models", "a", "b"), "(b). Try: python -m harness models --help"),
        (("models", "resnet-21"), "unknown model 'resnet-21'"),
        (("models", "resnet-21"), "Did you mean 'resnet-20'?"),
        (("export", "x", "--format", "bencer"), "Did you mean 'bencher'?"),
        (("history", "show", "--measure", "step_ms_p5"), "Did you mean 'step_ms_p50'?"),
        (("run", "--dataset", "mnits"), "unknown dataset 'mnits'"),
        (("run", "--precision", "float23"), "Did you mean 'float32'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_not_known_is_one_line_with_the_nearest_word(words, message, harness, monkeypatch):
    from harness import registry

    known = registry.BackendInfo(
        "numpy", "", "backends.numpy_backend:NumpyBackend", False, (), {}, ""
    )
    twin = registry.BackendInfo("twin", "", "fakes:Twin", True, (), {}, "")
    monkeypatch.setattr(registry, "describe", lambda: [known, twin])
    said = harness(*words)
    assert (said.code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert "Try: " in line


# Colours


@pytest.fixture
def environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unset = ("NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "COLORTERM")
    own = {name: value for name, value in os.environ.items() if name not in unset}
    return {**own, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "100"}


LINES = [("--help",), ("models",), ("models", "mnist-1conv"), ("run", "--epoch", "3")]


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_what_is_no_terminal_gets_no_escape_sequences(words, environment):
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words], env=environment, capture_output=True, check=False
    )
    assert b"\x1b" not in done.stdout + done.stderr
    assert done.stdout + done.stderr


def in_terminal(words, environment) -> str:
    """Return what the command writes to a terminal."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "harness", *words]
    with subprocess.Popen(
        command, env=environment, stdin=follower, stdout=follower, stderr=follower
    ) as process:
        os.close(follower)
        parts = []
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # the other end was closed
                break
            if not part:
                break
            parts.append(part)
        process.wait(60)
    os.close(leader)
    return b"".join(parts).decode()


@pytest.mark.parametrize("words", LINES[:3], ids=" ".join)
def test_a_terminal_gets_colours_unless_no_color_is_set(words, environment):
    assert "\x1b[" in in_terminal(words, environment)
    assert not COLOUR.search(in_terminal(words, {**environment, "NO_COLOR": "1"}))


def test_the_pattern_of_a_colour_finds_one():
    assert COLOUR.search("\x1b[1;36mx")
    assert COLOUR.search("\x1b[38;5;2mx")
    assert not COLOUR.search("\x1b[1mx\x1b[0m")


# What a gate must not take for a verdict


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [(ZeroDivisionError("why"), 70, "ZeroDivisionError: why"), (KeyboardInterrupt(), 130, "")],
)
def test_a_mistake_of_the_harness_and_ctrl_c_are_no_regression(
    harness, monkeypatch, fault, code, said
):
    def broken(*_, **__):
        raise fault

    monkeypatch.setattr("harness.verdict.compare.compare", broken)
    found = harness("compare", "old", "new")
    assert found.code == code
    assert said in found.err
    assert ("Traceback" in found.err) == bool(said)


# Completion


def complete(words, environment) -> tuple[set[str], set[str]]:
    """Return what bash is offered for the last word, and the packages that were imported for it."""
    script = (
        "import atexit, sys\n"
        "say = lambda: print(*{m.split('.')[0] for m in sys.modules}, file=sys.stderr)\n"
        "atexit.register(say)\n"
        "from harness.cli import app\n"
        "app(prog_name='harness')\n"
    )
    asked = {
        "_HARNESS_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["harness", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**environment, **asked},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()), set(done.stderr.splitlines()[-1].split())


FRAMEWORKS = frozenset("tensorflow keras torch jax jaxlib flax optax backends".split())


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("ru",), {"run"}),
        (("run", "--model", "resnet-"), {"resnet-18", "resnet-20", "resnet-50"}),
        (("run", "--model", "my"), {"my-net.toml"}),
        (("models", "mnist"), {"mnist-1conv", "mnist-2conv"}),
        (("init", "--model", "lenet"), {"lenet-5"}),
        (("run", "--dataset", "synth"), {"synthetic:", "synthetic-regression:"}),
        (("run", "--dataset", "mn"), {"mnist"}),
        (("run", "--backend", "tor"), {"torch", "torch@compile"}),
        (("run", "--backend", "torch,fl"), {"torch,flax"}),
        (("run", "--epo"), {"--epochs"}),
        (("check", "--precision", "float"), {"float32", "float64"}),
        (("infer", "--device", ""), {"cpu", "gpu", "all"}),
        (("history", "sh"), {"show"}),
    ],
    ids=" ".join,
)
def test_the_shell_completes_names_and_no_framework_is_imported(words, wanted, environment):
    Path("my-net.toml").touch()
    found, imported = complete(words, environment)
    assert found == wanted
    assert imported & FRAMEWORKS == set()


@EVERY
def test_every_option_that_takes_such_a_name_completes_it(path):
    for parameter in ALL[path].params:
        if parameter.name in ("model", "backend", "dataset", "device", "precision", "environment"):
            assert parameter._custom_shell_complete is not None, f"{path}: {parameter.name}"


def test_options_are_listed_with_their_opposites():
    command = ALL["compare",]
    with command.make_context("compare", ["a", "b"]) as context:
        assert {"--fail-on", "--no-inconclusive-ok", "--help"} <= set(options_of(command, context))


def test_the_version_is_said(harness):
    from harness import __version__

    said = harness("--version")
    assert (said.code, said.out, said.err) == (0, f"cnn-harness {__version__}\n", "")


@EVERY
def test_brackets_in_help_are_shown_and_not_taken_for_markup(path):
    command = ALL[path]
    for text in (command.help, command.epilog, *(p.help or "" for p in command.params)):
        assert Text.from_markup(text).plain == text.replace("\\[", "["), text
