"""Write the source of every spec by every backend: python write_sources.py FOLDER SPEC.json ...

Those of bfloat16 are written beside the others by the backends that can.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.registry import describe_here, load_backend
from harness.spec import spec_from_json


def main(folder, *specs):
    for info in describe_here():
        backend = load_backend(info.target)
        for path in map(Path, specs):
            spec = spec_from_json(path.read_text())
            source = backend.source(spec, info.variant)
            Path(folder, f"{path.stem}_{info.label}.py").write_text(source)
            if "bfloat16" in info.precisions:
                source = backend.source(spec, info.variant, "bfloat16")
                Path(folder, f"{path.stem}_{info.label}_bfloat16.py").write_text(source)


if __name__ == "__main__":
    main(*sys.argv[1:])
