"""Arrays of an HDF5 file that a stranger made, read in a process of its own.

The library that reads HDF5 can be led to loop or to crash by bytes that were made for it, so
`read_groups` gives that to a short-lived process, with a limit of time and of memory.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from harness.errors import UsageError
from harness.exchange.graph import Array, Refused, short
from harness.exchange.needed import needed

SECONDS = 60.0
MAX_GROUPS, MAX_ARRAYS = 10_000, 9
MEMORY = 8 * 2**30  # bytes of address space, besides what the file takes


def read_groups(content: bytes, name: str) -> dict[str, list[Array] | str]:
    """Return the arrays `0`, `1`, ... of each group `layers/GROUP/vars`, by GROUP.

    In place of the arrays of a group that is not what it should be, a message says why.

    Raises:
        UsageError: it is no HDF5 file; `name` is what the message calls it.
        NotInstalledError: there is no package `h5py`.

    """
    needed("h5py")
    with tempfile.TemporaryDirectory(prefix="harness-hdf5-") as folder:
        source, target = Path(folder) / "in.h5", Path(folder) / "out.safetensors"
        source.write_bytes(content)
        command = "from harness.exchange.hdf5 import main; main()"
        try:
            done = subprocess.run(
                [sys.executable, "-c", command, str(source), str(target)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UsageError(f"{name}: damaged; reading it took over {SECONDS:g} s") from None
        if done.returncode != 0 or not target.is_file():
            last = (done.stderr.strip().split("\n") or [""])[-1]
            reason = " ".join(last.split())[:200] or f"exit code {done.returncode}"
            raise UsageError(f"{name}: damaged, or no HDF5 file ({reason})")
        with safe_open(str(target), framework="numpy") as file:
            facts = json.loads((file.metadata() or {})["groups"])
            return {
                group: [file.get_tensor(f"{group}/{i}") for i in range(found)]
                if isinstance(found, int)
                else str(found)
                for group, found in facts.items()
            }


def main() -> None:
    """Read the file that the first argument names into the one that the second does."""
    source, target = map(Path, sys.argv[1:3])
    size = source.stat().st_size
    limit = MEMORY + 8 * size
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    arrays: dict[str, Array] = {}
    groups: dict[str, int | str] = {}
    try:
        with needed("h5py").File(source, "r") as file:
            layers = _child(file, "layers")
            for key in list(layers if layers is not None else [])[:MAX_GROUPS]:
                try:
                    found = _arrays(_child(_child(layers, key), "vars"), size)
                except Refused as error:
                    groups[key] = str(error)
                except Exception as error:  # whatever the library makes of hostile bytes
                    groups[key] = f"its weights are damaged ({' '.join(str(error).split())[:100]})"
                else:
                    groups[key] = len(found)
                    arrays |= {f"{key}/{i}": array for i, array in enumerate(found)}
                    if sum(array.nbytes for array in arrays.values()) > size:
                        raise Refused("arrays that take more than the file has")
    except Exception as error:
        sys.exit(" ".join(str(error).split())[:200] or type(error).__name__)
    save_file(arrays, str(target), {"groups": json.dumps(groups)})


def _arrays(group: Any, size: int) -> list[Array]:
    found: list[Array] = []
    while group is not None and len(found) < MAX_ARRAYS:
        if (dataset := _child(group, str(len(found)))) is None:
            break
        found.append(_read(dataset, size))
    return found


def _child(group: Any, key: str) -> Any:
    """Return what lies in a group under a name, by no link that leads elsewhere."""
    if group is None or key not in group:
        return None
    if not isinstance(group.get(key, getlink=True), needed("h5py").HardLink):
        raise Refused(f"{short(key)} is a link to elsewhere; allowed: arrays here")
    return group[key]


def _read(dataset: Any, size: int) -> Array:
    """Return an array that lies in the file as it is, and so is no larger than that."""
    if not isinstance(dataset, needed("h5py").Dataset) or dataset.dtype.kind != "f":
        raise Refused("holds what is no array of floats")
    packed = dataset.id.get_create_plist().get_nfilters()
    if dataset.is_virtual or dataset.external or packed or len(dataset.shape) > 8:
        raise Refused("holds an array that is packed, or lies in other files")
    if math.prod(dataset.shape) * dataset.dtype.itemsize > size:
        raise Refused(f"an array of {list(dataset.shape)} is larger than the file")
    return np.ascontiguousarray(dataset[()], dataset.dtype.newbyteorder("="))
