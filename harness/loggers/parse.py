"""`--log-to tensorboard:DIR,mlflow:DIR,wandb:DIR`: who is to have the results, and where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from harness.errors import NotInstalledError, UsageError, did_you_mean
from harness.exchange.needed import see_installed
from harness.loggers.logged import Logged
from harness.loggers.mlflow import MlflowLogger
from harness.loggers.tensorboard import TensorBoardLogger
from harness.loggers.wandb import WandbLogger


class Logger(Protocol):
    """Takes the results of a run that has ended."""

    name: str

    def log(self, logged: Logged) -> str:
        """Write them; return where they are, or what to type to see them."""


LOGGERS: dict[str, Callable[[str], Logger]] = {
    "tensorboard": TensorBoardLogger,
    "mlflow": MlflowLogger,
    "wandb": WandbLogger,
}
STANDARD = {"tensorboard": "runs", "mlflow": "mlruns", "wandb": "."}


def parse_loggers(text: str | None) -> list[Logger]:
    """Return those that the option names; their packages are there, and are not yet imported.

    Raises:
        UsageError: a name is unknown, is there twice, or its folder is a file.
        NotInstalledError: a package is missing; the message has the line that installs it.

    """
    found: dict[str, Logger] = {}
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        name, _, place = part.partition(":")
        if name not in LOGGERS:
            raise UsageError(
                f"--log-to {part!r}; allowed: {', '.join(f'{n}:DIR' for n in LOGGERS)}."
                f"{did_you_mean(name, LOGGERS)} Try: --log-to tensorboard:runs"
            )
        if name in found:
            raise UsageError(f"--log-to {text!r} has {name} twice; allowed: each once")
        try:
            see_installed(name)
        except NotInstalledError as error:
            raise NotInstalledError(f"--log-to {part}: {error}") from None
        place = place or STANDARD[name]
        if Path(place).is_file():
            raise UsageError(f"--log-to {part}: {place} is a file. Try: --log-to {name}:FOLDER")
        found[name] = LOGGERS[name](place)
    return list(found.values())
