"""Packages that only some commands need: loaded late, and named if they are missing."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from harness.errors import NotInstalledError

# What is imported: the extra that brings it.
EXTRAS = {
    "onnx": "onnx",
    "h5py": "keras-files",
    "hypothesis": "fuzz",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "wandb": "wandb",
}


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
        raise _missing(name) from None


def see_installed(name: str) -> None:
    """See that `needed` will find a package later, without importing it now.

    Raises:
        NotInstalledError: as `needed`.

    """
    if importlib.util.find_spec(name) is None:
        raise _missing(name)


def _missing(name: str) -> NotInstalledError:
    return NotInstalledError(
        f'this needs {name}, which is not installed. Try: pip install "cnn-harness[{EXTRAS[name]}]"'
    )
