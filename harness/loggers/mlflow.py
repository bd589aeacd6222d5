"""Runs in MLflow: one for each training, in an experiment for each model and dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.exchange.needed import needed
from harness.loggers.logged import Logged, Training
from harness.run.folder import TO_THE_END

DATABASE = "mlflow.db"
TAG = "harness.training"  # by which a training is found again: RUN_ID/NAME
MOST_METRICS, MOST_PARAMETERS = 1000, 100  # of one request, as MLflow's own limits are
MOST_CHARACTERS = 500  # of a parameter


class MlflowLogger:
    """Writes to a database in a folder, or to what a URI names, as `http://server:5000`.

    A plain folder of files MLflow itself gives up: its newer versions refuse to write one.
    """

    name = "mlflow"

    def __init__(self, place: str) -> None:
        self.folder = None if "://" in place else Path(place).absolute()
        self.uri = f"sqlite:///{self.folder / DATABASE}" if self.folder else place

    def log(self, logged: Logged) -> str:
        """Write the runs; those of the same trainings that are there already are replaced."""
        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
        mlflow = needed("mlflow")
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # no greetings on standard error
        client = mlflow.MlflowClient(tracking_uri=self.uri)
        known = client.get_experiment_by_name(logged.title)
        files = (self.folder / "artifacts").as_uri() if self.folder else None
        experiment = known.experiment_id if known else client.create_experiment(logged.title, files)
        for training in logged.trainings:
            key = f"{logged.run_id}/{training.name}"
            for before in client.search_runs([experiment], f"tags.`{TAG}` = '{key}'"):
                client.delete_run(before.info.run_id)
            _log(client, experiment, training, key)
        return f"mlflow ui --backend-store-uri {self.uri}"


def _log(client: Any, experiment: str, training: Training, key: str) -> None:
    """Write one training."""
    entities = needed("mlflow").entities
    tags = {TAG: key, "harness.status": training.status}
    run = client.create_run(experiment, int(1000 * training.began), tags, training.name)
    own = run.info.run_id
    parameters = [
        entities.Param(name, str(value)[:MOST_CHARACTERS])
        for name, value in training.settings.items()
    ]
    last = training.epochs[-1].number if training.epochs else 0
    metrics = [
        entities.Metric(name, value, int(1000 * epoch.time), epoch.number)
        for epoch in training.epochs
        for name, value in epoch.values.items()
    ]
    metrics += [
        entities.Metric(f"run/{name}", value, int(1000 * training.ended), last)
        for name, value in training.figures.items()
    ]
    for part in _parts(parameters, MOST_PARAMETERS):
        client.log_batch(own, params=part)
    for part in _parts(metrics, MOST_METRICS):
        client.log_batch(own, metrics=part)
    status = "FINISHED" if training.status in TO_THE_END else "FAILED"
    client.set_terminated(own, status, int(1000 * training.ended))


def _parts(values: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    for begin in range(0, len(values), most):
        yield values[begin : begin + most]
