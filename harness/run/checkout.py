"""Another state of the code in the present folder's repository, for one side of a comparison.

To check it out runs nothing: a repository's hooks, filters and file system monitor are programs
that nobody has named. So a file that a filter would change, as Git LFS does, is as committed.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UsageError

GIT_SECONDS = 120.0
QUIET = {"core.hooksPath": os.devnull, "core.fsmonitor": "false", "submodule.recurse": "false"}
NO_FILTER = {"clean": "", "smudge": "", "process": "", "required": "false"}


@contextmanager
def checkout(revision: str, option: str) -> Iterator[Path]:
    """Check `revision` out into a temporary folder, a worktree that ends with the context.

    Raises:
        UsageError: the present folder is in no git repository, or that has no such revision.

    """
    if revision.startswith("-"):
        raise UsageError(f"{option} {revision!r} is no revision. Try: {option} HEAD~1")
    with tempfile.TemporaryDirectory(prefix="harness-checkout-") as scratch:
        place = Path(scratch) / "code"
        root = Path(_git(Path.cwd(), option, "rev-parse", "--show-toplevel"))
        commit = _git(root, option, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        quiet = _without_filters(root, option)
        adding = ("worktree", "add", "--detach", "--quiet", str(place), commit)
        _git(root, option, *adding, settings=quiet)
        try:
            yield place
        finally:
            _git(root, option, "worktree", "remove", "--force", str(place), settings=quiet)


def paths_of(place: Path, others: str) -> str:
    """Return what goes to PYTHONPATH for the packages in a checkout, before the `others`."""
    folders = [place, place / "src"] if (place / "src").is_dir() else [place]
    return os.pathsep.join([*map(str, folders), *filter(None, [others])])


def _without_filters(root: Path, option: str) -> dict[str, str]:
    """Return settings by which every filter that git knows here does nothing."""
    listed = _git(root, option, "config", "--list", "--name-only", "--null").split("\0")
    known = {name.rpartition(".")[0] for name in listed if name.startswith("filter.")}
    return {f"{name}.{key}": value for name in sorted(known) for key, value in NO_FILTER.items()}


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a git that has these settings, whatever its files say."""
    given = os.environ.get("GIT_CONFIG_COUNT", "")
    first = int(given) if given.isdecimal() else 0
    found = {"GIT_CONFIG_COUNT": str(first + len(settings))}
    for number, (name, value) in enumerate(settings.items(), first):
        found |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return {**os.environ, **found}


def _git(folder: Path, option: str, *arguments: str, settings: Mapping[str, str] = {}) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=GIT_SECONDS,
            check=False,
            env=_environment({**QUIET, **settings}),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"{option}: cannot run git: {error}") from None
    if done.returncode:
        reason = " ".join(done.stderr.split()) or "no such revision"
        raise UsageError(f"{option}: git {arguments[0]}: {reason}. Try: {option} HEAD~1")
    return done.stdout.strip()
