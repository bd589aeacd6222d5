"""A worker that is none: it answers at once, within the harness's own process, in true messages.

What is left when it takes the place of `WorkerProcess` is the harness: plan, journal, tables.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any
from unittest.mock import patch

import numpy as np

from harness.registry import BackendInfo
from harness.run.durable import storing
from harness.run.messages import read_message, write_message
from harness.run.pending import Pending
from harness.spec import infer, spec_from_json

STEP_SECONDS = 0.001


def backend(name: str) -> BackendInfo:
    """Return a backend of which nothing is needed but its name."""
    return BackendInfo(name, "", "benchmarks.fakes:FakeWorker", True, (), {}, "pip install it")


class FakeWorker:
    """Has the methods of `WorkerProcess`, and no process.

    Its losses depend on nothing but the order of the images, so that two runs have the same.
    """

    def __init__(
        self,
        label: str,
        log: Path,
        environment: Mapping[str, str],
        cpus: int,
        python: str = "",
        memory: int | None = None,
    ) -> None:
        self.label, self.log = label, log
        with storing(log):
            log.open("ab").close()
        self.asked_at = monotonic()
        self.longest_silence = 0.0
        self.ended = False
        self.blocks = 0

    def send(
        self,
        command: str,
        arrays: Mapping[str, Any] = {},
        *,
        timeout: float = 0.0,
        **fields: Any,
    ) -> None:
        """Take a question, as a message that was written and read."""
        self.asked_at = monotonic()
        self.question = _through_a_pipe({"command": command, **fields}, arrays)

    def receive(self, timeout: float, silence: float = 0.0) -> tuple[dict[str, Any], Any]:
        """Return the answer."""
        fields, arrays = self.question
        answer, results = getattr(self, f"_{fields['command']}")(fields, arrays)
        return _through_a_pipe({"status": "ok", **answer}, results)

    def ask(
        self,
        command: str,
        arrays: Mapping[str, Any] = {},
        *,
        timeout: float,
        silence: float = 0.0,
        **fields: Any,
    ) -> tuple[dict[str, Any], Any]:
        """Send and receive."""
        self.send(command, arrays, **fields)
        return self.receive(timeout, silence)

    def move(self, cores: Collection[int]) -> None:
        """Stay; there is nothing to move."""

    def close(self) -> None:
        """End; there is nothing to end."""
        self.ended = True

    kill = close

    def _prepare(self, fields: Any, arrays: Any) -> Any:
        devices = [{"kind": "cpu", "name": "none"}]
        return {"seconds": 0.5, "versions": {"fake": "1.0"}, "devices": devices}, {}

    def _open(self, fields: Any, arrays: Any) -> Any:
        self.network = infer(spec_from_json(fields["spec"]))
        return {"seconds": 0.1}, {}

    def _reset(self, fields: Any, arrays: Any) -> Any:
        self.parameters = arrays
        return {}, {}

    def _gradients(self, fields: Any, arrays: Any) -> Any:
        logits = np.ones((len(arrays["images"]), *self.network.output_shape))
        gradients = {f"gradient.{p.path}": np.ones(p.shape) for p in self.network.parameters}
        images = np.ones_like(arrays["images"])
        return {"loss": 1.0}, {"logits": logits, "gradient.images": images, **gradients}

    def _pending(self, fields: Any, arrays: Any) -> Any:
        return asdict(Pending(1, 1.0, 0.0, 0.0)), {}

    def _train(self, fields: Any, arrays: Any) -> Any:
        order = arrays["order"]
        self.blocks += 1
        seconds = STEP_SECONDS * len(order) * (1 + 0.01 * (self.blocks % 7))
        return {"seconds": seconds}, {"losses": 1 + order.mean(1) / (1 + order.max())}

    def _evaluate(self, fields: Any, arrays: Any) -> Any:
        found = {"loss": 0.5, "accuracy": 0.9, "rmse": None, "mae": None}
        return {"seconds": 0.01, "images": len(arrays.get("rows", range(84))), **found}, {}

    def _predict(self, fields: Any, arrays: Any) -> Any:
        return {}, {"seconds": np.full(fields["calls"], 0.02)}

    def _memory(self, fields: Any, arrays: Any) -> Any:
        return {"host": 10**8, "device": None, "process": None}, {}

    def _state(self, fields: Any, arrays: Any) -> Any:
        return {}, self.parameters


def _through_a_pipe(fields: Mapping[str, Any], arrays: Mapping[str, Any]) -> tuple[Any, Any]:
    stream = io.BytesIO()
    write_message(stream, fields, arrays)
    stream.seek(0)
    found = read_message(stream)
    assert found is not None
    return found


@contextmanager
def fake_workers() -> Iterator[None]:
    """Have runs ask fake workers, the reference's included."""
    with (
        patch("harness.run.cell.WorkerProcess", FakeWorker),
        patch(
            "harness.run.preparation.first_to_answer", lambda workers, limit: next(iter(workers))
        ),
    ):
        yield
