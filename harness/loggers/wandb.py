"""Runs of Weights & Biases, offline: files in a folder, which its own `sync` sends on."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from harness.exchange.needed import needed
from harness.loggers.logged import Logged, Training
from harness.run.folder import TO_THE_END

PROJECT = "cnn-harness"


class WandbLogger:
    """Writes `DIR/wandb/offline-run-*`, one for each training, in a group for each run.

    Nothing is sent, unless `WANDB_MODE` says so.
    """

    name = "wandb"

    def __init__(self, place: str) -> None:
        self.folder = Path(place)

    def log(self, logged: Logged) -> str:
        """Write the runs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for training in logged.trainings:
            self._log(logged, training)
        return f"wandb sync {shlex.quote(str(self.folder / 'wandb'))}/offline-run-*"

    def _log(self, logged: Logged, training: Training) -> None:
        """Write one training, its epochs as steps."""
        wandb = needed("wandb")
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            group=logged.run_id,
            name=training.name,
            config=dict(training.settings),
            dir=str(self.folder),
            mode=os.environ.get("WANDB_MODE", "offline"),
            tags=[training.status],
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )
        try:
            for epoch in training.epochs:
                run.log({**epoch.values, "epoch": epoch.number}, step=epoch.number)
            run.summary.update({f"run/{name}": x for name, x in training.figures.items()})
        finally:
            run.finish(exit_code=int(training.status not in TO_THE_END))
