"""What the README says in figures and files is so."""

from __future__ import annotations

import re
from pathlib import Path

from harness.run.agreement import TOLERANCE
from harness.spec import parse_spec

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_models_in_the_readme_are_valid_specs():
    whole, *parts = re.findall(r"```toml\n(.*?)```", README, re.S)
    assert parse_spec(whole, "README.md").name == "my-net"
    for part in parts:
        head = "" if "[training" in part else 'name = "part"\ninput = [28, 28, 1]\n'
        assert parse_spec(head + part if head else whole + part, "README.md")


def test_the_tolerances_in_the_readme_are_those_of_the_code():
    assert f"within {TOLERANCE['float32']:g} in float32" in " ".join(README.split())
    assert f"and {TOLERANCE['float64']:g} in float64" in " ".join(README.split())


def test_every_run_command_in_the_readme_has_options_that_exist():
    from typer.main import get_command

    from harness.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    found = re.findall(r"python -m harness ([\w-]+)(.*)", README)
    assert found
    for name, rest in found:
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert set(re.findall(r"(?<=\s)--?[a-z-]+", rest.partition("#")[0])) <= known, rest
