"""The initial weights that a source itself chooses, before the harness has given it any.

Usage: `python own_weights.py LABEL FOLDER SPEC.json...`; writes FOLDER/NAME.npz for each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from harness.contract import Setting
from harness.registry import describe, load_backend
from harness.spec import spec_from_json


def own_state(session, label):
    if label == "flax":  # whose session traces the structure alone
        _, session.state_now = session.module.init(3)
    elif label == "tensorflow@session":
        session.session.run(session.graph.initializer)
    return session.state()


def main(label: str, folder: str, specs: list[str]) -> None:
    (info,) = [info for info in describe() if info.label == label]
    backend, setting = load_backend(info.target), Setting()
    backend.prepare(info.variant, setting)
    for path in map(Path, specs):
        spec = spec_from_json(path.read_text())
        source = Path(folder) / f"{path.stem}_{label.replace('@', '_')}.py"
        source.write_text(backend.source(spec, info.variant))
        session = backend.open(source, spec, info.variant, setting)
        np.savez(Path(folder) / f"{path.stem}.npz", **own_state(session, label))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
