"""Another state of the code in the present folder's repository, for one side of a comparison."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UsageError

GIT_SECONDS = 120.0


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
        _git(root, option, "worktree", "add", "--detach", "--quiet", str(place), commit)
        try:
            yield place
        finally:
            _git(root, option, "worktree", "remove", "--force", str(place))


def paths_of(place: Path, others: str) -> str:
    """Return what goes to PYTHONPATH for the packages in a checkout, before the `others`."""
    folders = [place, place / "src"] if (place / "src").is_dir() else [place]
    return os.pathsep.join([*map(str, folders), *filter(None, [others])])


def _git(folder: Path, option: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"{option}: cannot run git: {error}") from None
    if done.returncode:
        reason = " ".join(done.stderr.split()) or "no such revision"
        raise UsageError(f"{option}: git {arguments[0]}: {reason}. Try: {option} HEAD~1")
    return done.stdout.strip()
