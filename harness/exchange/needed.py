"""Packages that only some commands need: loaded late, and named if they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

from harness.errors import NotInstalledError

# What is imported: the extra that brings it.
EXTRAS = {"onnx": "onnx", "h5py": "keras-files", "hypothesis": "fuzz"}


def needed(name: str) -> ModuleType:
    """Import a package of an optional extra.

    Raises:
        NotInstalledError: it is not installed; the message has the line that installs it.

    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise NotInstalledError(
            f'this needs {name}, which is not installed. Try: pip install "cnn-harness'
            f'[{EXTRAS[name]}]"'
        ) from None
