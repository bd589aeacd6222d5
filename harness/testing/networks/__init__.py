"""Small networks that have, together, every layer, block, activation, loss and optimizer."""

from __future__ import annotations

from pathlib import Path

from harness.spec import Spec, load_spec

FOLDER = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def network(name: str) -> Spec:
    """Return one of `NAMES`."""
    return load_spec(str(FOLDER / f"{name}.toml"))
