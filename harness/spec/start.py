"""A spec to start from: a small network with every field explained, or a model of the library."""

from __future__ import annotations

import re
from importlib import resources

from harness.errors import UsageError, did_you_mean
from harness.spec.load import library

HEAD = """\
# A network, and how it is trained: {model} of the library, to make one's own of.
# Every field, with what is allowed: python -m harness init explained.toml

"""


def starting_spec(name: str, model: str | None = None) -> str:
    """Return the TOML text of a spec called `name`: of a library's `model`, or explained.

    Raises:
        UsageError: the library has no such model.

    """
    folder = resources.files("harness.spec")
    if model is None:
        text = (folder / "start.toml").read_text(encoding="utf-8")
    elif model in library():
        text = (folder / "library" / f"{model}.toml").read_text(encoding="utf-8")
        text = HEAD.format(model=model) + text
    else:
        known = library()
        raise UsageError(
            f"unknown model {model!r}; known: {', '.join(known)}.{did_you_mean(model, known)} "
            "Try: python -m harness models"
        )
    return re.sub(r'^name = "[^"]*"', f'name = "{name}"', text, count=1, flags=re.MULTILINE)


def name_from(stem: str) -> str:
    """Return what a spec in a file `stem`.toml is called: lower case, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:64].strip("-") or "my-net"


def typed_as(name: str) -> str:
    """Return what `--model` takes for a spec called `name`: a file, if the library has none such.

    It is the file that `init` would have written it to, which is a guess where nothing is known but
    the name.
    """
    return name if name in library() else f"{name}.toml"
