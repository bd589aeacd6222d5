"""Write the program of every spec by every backend: python write_programs.py FOLDER SPEC.json ...

No framework may be imported for that.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.contract import script_of
from harness.registry import describe_here, load_backend
from harness.spec import spec_from_json

FRAMEWORKS = {"tensorflow", "keras", "torch", "jax", "flax", "optax"}


def main(folder, *specs):
    for info in describe_here():
        backend = load_backend(info.target)
        if info.backend == "numpy" or not info.trains:
            continue
        for path in map(Path, specs):
            spec = spec_from_json(path.read_text())
            script = script_of(backend, spec, info.variant)
            assert script.is_program
            Path(folder, f"{path.stem}_{info.label}.py").write_text(script.text)
            source = backend.source(spec, info.variant)
            Path(folder, f"{path.stem}_{info.label}.source").write_text(source)
    assert not FRAMEWORKS & set(sys.modules)


if __name__ == "__main__":
    main(*sys.argv[1:])
