"""What the shell completes: names of models, backends and datasets; no framework is imported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def complete_models(incomplete: str) -> list[str]:
    """Return the library's models, and the TOML files and folders whose path begins so."""
    from harness.spec import library

    names = [name for name in library() if name.startswith(incomplete)]
    return names + _files(incomplete, ".toml")


def complete_library(incomplete: str) -> list[str]:
    """Return the library's models."""
    from harness.spec import library

    return [name for name in library() if name.startswith(incomplete)]


def complete_words(*words: str) -> Callable[[str], list[str]]:
    """Return what completes these words, and no others."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def complete_backends(incomplete: str) -> list[str]:
    """Return backends and their variants for the last name of a list by commas."""
    from harness import registry

    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    names = ["all", *(info.label for info in registry.describe())]
    wanted = [name for name in names if name.startswith(last) and name not in given]
    return [f"{before}{comma}{name}" for name in wanted]


def complete_datasets(incomplete: str) -> list[str]:
    """Return the datasets; of those that are a form, what all of its names begin with."""
    from harness import data

    kind, colon, path = incomplete.partition(":")
    if colon and kind == "npz":
        return [f"npz:{name}" for name in _files(path, ".npz")]
    parts = [info.name.partition(":") for info in data.catalog()]
    return [name + colon for name, colon, _ in parts if f"{name}{colon}".startswith(incomplete)]


def _files(incomplete: str, suffix: str) -> list[str]:
    """Return files with a suffix, and folders, whose path begins so."""
    folder, slash, begin = incomplete.rpartition("/")
    found = []
    try:
        for path in sorted(Path(f"{folder}/" if slash else ".").iterdir()):
            is_hidden = path.name.startswith(".") and not begin
            if path.name.startswith(begin) and not is_hidden:
                if path.is_dir():
                    found.append(f"{folder}{slash}{path.name}/")
                elif path.suffix == suffix:
                    found.append(f"{folder}{slash}{path.name}")
    except OSError:
        return []
    return found
