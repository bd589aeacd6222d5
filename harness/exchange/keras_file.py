"""Reading a .keras file as data: JSON and arrays, without Keras, and without any code in it.

The file is a zip archive of `config.json` and `model.weights.h5`, which are read by these names
and into memory only. No array is larger than the bytes that the file has.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.exchange.graph import Array, Refused
from harness.exchange.hdf5 import read_groups

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MAX_CONFIG = 16 * 2**20
MAX_CONFIG_RATIO = 64  # of what it unpacks to; as Python objects it takes thirty times as much
MAX_WEIGHTS = 2**32
MAX_RATIO = 4  # of what the weights unpack to: they are noise, and Keras does not pack them
# All that zipfile, struct and zlib are known to raise for bytes that are no zip archive.
DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, OSError,
    NotImplementedError, OverflowError,
)  # fmt: skip


def read_archive(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the model's configuration, and the bytes of its weights, an HDF5 file.

    Raises:
        UsageError: there is no such file, or it is no .keras file, or unpacks to too much.

    """
    if not path.is_file():  # nor a device or a pipe, which might never end
        raise UsageError(f"no such file: {path}. Try: import-keras FILE.keras")
    try:
        with zipfile.ZipFile(path) as archive:
            size = path.stat().st_size
            text = _member(archive, CONFIG, min(MAX_CONFIG, MAX_CONFIG_RATIO * size + 2**20))
            content = _member(archive, WEIGHTS, min(MAX_WEIGHTS, MAX_RATIO * size + 2**20))
        config = json.loads(text)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    except RecursionError:
        raise UsageError(f"{path}: {CONFIG} is nested too deeply") from None
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{path}: damaged, or no .keras file ({reason})") from None
    if not isinstance(config, dict):
        raise UsageError(f"{path}: {CONFIG} holds no model")
    return config, content


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Return a member, of which no more than `limit` bytes are ever unpacked."""
    found = [info for info in archive.infolist() if info.filename == name]
    if len(found) != 1:
        raise UsageError(f"no .keras file: it holds {len(found)} members {name!r}; wanted: one")
    if found[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UsageError(f"{name} is packed in another way than Keras does")
    with archive.open(found[0]) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UsageError(f"{name} unpacks to more than {limit:,} bytes: that is no model")
    return content


class KerasWeights:
    """The arrays of an HDF5 file as Keras 3 writes it: `layers/LAYER/vars/NUMBER`.

    Raises:
        UsageError: it is no such file.
        NotInstalledError: there is no package `h5py`.

    """

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self.groups = read_groups(content, WEIGHTS)
        self.names: Counter[str] = Counter()

    def key(self, class_name: str) -> str:
        """Return what a layer's group is called; to be asked in the order of the model's layers.

        Keras counts layers by class, whatever their names: `conv2d`, `conv2d_1`.
        """
        snake = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", class_name)
        snake = re.sub("([a-z])([A-Z])", r"\1_\2", snake).lower()
        number = self.names[snake]
        self.names[snake] += 1
        return f"{snake}_{number}" if number else snake

    def arrays(self, key: str) -> list[Array]:
        """Return the arrays of a group, none if it has none.

        Raises:
            Refused: one of them is damaged, or not what Keras writes.

        """
        found = self.groups.get(key, [])
        if isinstance(found, str):
            raise Refused(found)
        return found
