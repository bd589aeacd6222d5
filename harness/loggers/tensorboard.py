"""Event files for TensorBoard, by its own message formats: no framework is imported for them.

https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.loggers.logged import Logged, Training
from harness.output import write_whole

VERSION = "brain.Event:2"  # the first event of a file says in which form the others are


class TensorBoardLogger:
    """Writes a folder for each training: scalars by epoch, and its settings as hyperparameters."""

    name = "tensorboard"

    def __init__(self, place: str) -> None:
        self.folder = Path(place)

    def log(self, logged: Logged) -> str:
        """Write the event files; those of the same run that are there already are replaced.

        Raises:
            UsageError: they cannot be written.

        """
        for training in logged.trainings:
            # The name has the time in which the training began, so that it is the same again.
            folder = self.folder / logged.run_id / training.name
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"events.out.tfevents.{int(training.began)}.harness"
            write_whole(path, lambda place, training=training: _write(place, training))  # type: ignore[misc]
        return f"tensorboard --logdir {self.folder}"


def _write(path: Path, training: Training) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    with path.open("wb") as file:
        writer = RecordWriter(file)
        for event in _events(training):
            writer.write(event.SerializeToString())
        writer.flush()


def _events(training: Training) -> Iterator[Any]:
    """Yield the events in the order of their times."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    def scalars(values: dict[str, float], step: int, time: float) -> Any:
        pairs = values.items()
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=x) for tag, x in pairs])
        return Event(wall_time=time, step=step, summary=summary)

    yield Event(wall_time=training.began, file_version=VERSION)
    yield Event(wall_time=training.began, summary=_hyperparameters(training))
    for epoch in training.epochs:
        yield scalars(dict(epoch.values), epoch.number, epoch.time)
    last = training.epochs[-1].number if training.epochs else 0
    yield scalars({f"run/{k}": x for k, x in training.figures.items()}, last, training.ended)


def _hyperparameters(training: Training) -> Any:
    """Return the settings as TensorBoard's page of hyperparameters reads them."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams.metadata import PLUGIN_DATA_VERSION, PLUGIN_NAME
    from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG as TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    info = SessionStartInfo(start_time_secs=training.began)
    for name, value in training.settings.items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            info.hparams[name].number_value = value
        else:
            info.hparams[name].string_value = value
    content = HParamsPluginData(session_start_info=info, version=PLUGIN_DATA_VERSION)
    data = SummaryMetadata.PluginData(plugin_name=PLUGIN_NAME, content=content.SerializeToString())
    return Summary(value=[Summary.Value(tag=TAG, metadata=SummaryMetadata(plugin_data=data))])
