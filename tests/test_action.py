"""The action for GitHub: what its scripts run, what they leave, and that its files fit together."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from harness.cli import app

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / ".github" / "scripts"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
GUIDE = (ROOT / "docs" / "gating-ci.md").read_text(encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

# An interpreter that notes how it was called, writes the table that was asked for, and ends.
PYTHON = """#!/usr/bin/env bash
printf '%s\\n' "$@" > "$NOTED"
while [ $# -gt 0 ]; do
  if [ "$1" = --markdown ] && [ "$CODE" != 2 ]; then echo "| a table |" > "$2"; fi
  shift
done
exit "$CODE"
"""
GH = """#!/usr/bin/env bash
printf '%s\\n' "$*" >> "$NOTED"
for word in "$@"; do case $word in body=@*) cat "${word#body=@}" > "$NOTED.body";; esac; done
if [ "$2" = --paginate ]; then [ "$READS" = yes ] && printf '%s' "$FOUND"; exit; fi
[ "$WRITES" = yes ]
"""


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def run_script(name, folder, **variables):
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "NOTED": str(folder / "noted"),
        "RUNNER_TEMP": str(folder),
        "GITHUB_OUTPUT": str(folder / "outputs"),
        "GITHUB_REPOSITORY": "owner/name",
        **variables,
    }
    command = ["bash", str(SCRIPTS / name)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def compare(folder, code=0, **variables):
    python = program(folder / "interpreter", PYTHON)
    given = {"A": "torch", "B": "torch", "HARNESS_PYTHON": str(python), "CODE": str(code)}
    done = run_script("ab.sh", folder, **{**given, **variables})
    outputs = folder / "outputs"
    found = dict(line.split("=") for line in outputs.read_text().splitlines() if outputs.exists())
    return done, found, (folder / "noted").read_text().splitlines()


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_the_exit_code_of_a_verdict_is_an_output_and_not_yet_the_steps_own(tmp_path, code):
    done, found, _ = compare(tmp_path, code)
    assert done.returncode == 0, done.stderr
    assert found["exit-code"] == str(code)
    assert (Path(found["folder"]) / "ab.md").read_text() == "| a table |\n"


def test_wrong_usage_ends_the_step_itself_as_there_is_no_table(tmp_path):
    done, _, _ = compare(tmp_path, 2)
    assert done.returncode == 2


def test_what_is_asked_for_stays_words_whatever_is_in_it(tmp_path):
    done, _, words = compare(
        tmp_path,
        B="$(touch hacked); torch@compile",
        CHECKOUT_A="main",
        PYTHON_B="new/bin/python",
        ARGUMENTS='--model "my net.toml" --cores 1\n  --env-a A=$(whoami)',
    )
    assert done.returncode == 0, done.stderr
    assert words[:5] == ["-m", "harness", "ab", "torch", "$(touch hacked); torch@compile"]
    assert words[-6:] == ["--model", "my net.toml", "--cores", "1", "--env-a", "A=$(whoami)"]
    assert words[words.index("--checkout-a") + 1] == "main"
    assert words[words.index("--python-b") + 1] == "new/bin/python"
    assert "--python-a" not in words
    assert "--inconclusive-ok" in words


def test_a_gate_may_have_to_be_convinced(tmp_path):
    assert "--inconclusive-ok" not in compare(tmp_path, INCONCLUSIVE="fail")[2]
    done = run_script("ab.sh", tmp_path, A="a", B="b", HARNESS_PYTHON="x", INCONCLUSIVE="maybe")
    assert done.returncode == 2
    assert "'maybe'; allowed: pass, fail" in done.stdout


def comment(folder, found="", reads="yes", writes="yes"):
    program(folder / "gh", GH)
    (folder / "ab.md").write_text("| a table |\n")
    variables = {"FOUND": found, "READS": reads, "WRITES": writes}
    given = {"FILE": str(folder / "ab.md"), "TITLE": "torch", "PULL_REQUEST": "7"}
    done = run_script("comment.sh", folder, **given, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout, (folder / "noted").read_text().splitlines()


def test_the_first_comment_is_new_and_says_whose_it_is(tmp_path):
    _, asked = comment(tmp_path)
    assert "-X POST repos/owner/name/issues/7/comments" in asked[-1]
    assert (tmp_path / "noted.body").read_text() == "<!-- cnn-harness: torch -->\n| a table |\n"


def test_a_later_one_renews_it(tmp_path):
    _, asked = comment(tmp_path, found="123\n456\n")
    assert "-X PATCH repos/owner/name/issues/comments/123" in asked[-1]


@pytest.mark.parametrize("refused", ["reads", "writes"])
def test_a_token_that_may_not_comment_is_a_warning_and_no_failure(tmp_path, refused):
    said, _ = comment(tmp_path, **{refused: "no"})
    assert said.startswith("::warning::")


def test_the_action_gives_its_scripts_all_they_read_and_uses_all_its_inputs():
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(ACTION["inputs"])
    for step in ACTION["runs"]["steps"]:
        for name in re.findall(r"scripts/(\w+\.sh)", step["run"]):
            script = (SCRIPTS / name).read_text()
            read = set(re.findall(r"\$\{?([A-Z][A-Z_]+|[AB])\b", script))
            assert read - {"RUNNER_TEMP", "GITHUB_OUTPUT", "GITHUB_REPOSITORY"} <= set(step["env"])
        assert "${{" not in step["run"], "an input must not become part of a script"


def test_the_guide_names_every_input_and_output():
    assert set(ACTION["inputs"]) - {"token"} <= set(re.findall(r"`([\w-]+)`", GUIDE))
    assert set(ACTION["outputs"]) <= set(re.findall(r"`([\w-]+)`", GUIDE))


def steps(path):
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_gives_the_action_inputs_that_it_has(path):
    for step in steps(path):
        if step.get("uses") == "./":
            assert set(step["with"]) <= set(ACTION["inputs"])


def uses_of_the_action():
    yield ACTION["inputs"]["arguments"]["default"]
    for path in WORKFLOWS:
        yield from (s["with"]["arguments"] for s in steps(path) if s.get("uses") == "./")
    for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.S):
        assert yaml.safe_load(block)
        yield from re.findall(r"^ *arguments: (.*)$", block, re.M)


def test_the_arguments_of_the_examples_are_those_of_ab():
    known = {o for p in get_command(app).commands["ab"].params for o in p.opts}  # type: ignore[attr-defined]
    found = [shlex.split(text) for text in uses_of_the_action()]
    assert len(found) >= 4
    for words in found:
        assert {word for word in words if word.startswith("-")} <= known
