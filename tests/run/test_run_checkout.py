"""Another state of the code: what was committed, and nothing is run to have it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.run.checkout import checkout

HOOKS = ("post-checkout", "post-index-change", "reference-transaction")


def git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    """One whose own settings run a program wherever git lets them; each leaves a file in `ran`."""
    for name in ("code", "ran"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "code")
    git("init", "-q")
    Path(".gitattributes").write_text("*.txt filter=evil\n*.dat filter=evil.long=name\n")
    for name in ("file.txt", "file.dat"):
        Path(name).write_text("as committed\n")
    git("add", ".")
    git("commit", "-qm", "one")
    ran = tmp_path / "ran"
    for name in ("evil", "evil.long=name"):
        for kind in ("smudge", "clean", "process"):
            git("config", f"filter.{name}.{kind}", f"touch {ran}/{kind}; echo changed")
        git("config", f"filter.{name}.required", "true")
    git("config", "core.fsmonitor", f"touch {ran}/monitor")
    for name in HOOKS:
        hook = Path(".git/hooks") / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {ran}/{name}\n")
        hook.chmod(0o755)
    return ran


def test_nothing_of_the_repository_is_run(repository):
    with checkout("HEAD", "--checkout-a") as place:
        for name in ("file.txt", "file.dat"):
            assert (place / name).read_text() == "as committed\n"
    assert not place.exists()
    assert list(repository.iterdir()) == []
    assert len(git("worktree", "list").splitlines()) == 1


def test_the_hostile_repository_would_run_something_otherwise(repository, tmp_path):
    git("config", "--remove-section", "filter.evil.long=name")
    git("config", "--unset", "filter.evil.process")
    git("worktree", "add", "--detach", "--quiet", str(tmp_path / "other"))
    ran = {path.name for path in repository.iterdir()}
    assert {"smudge", "post-checkout", "monitor"} <= ran


def test_settings_that_the_environment_gives_to_git_stay(repository, monkeypatch):
    """As those by which continuous integration says whose repositories are safe."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.bare")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "no truth value")
    with pytest.raises(UsageError, match=r"core\.bare"), checkout("HEAD", "--checkout-a"):
        pass
