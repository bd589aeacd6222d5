"""Programs that backends write for people, each from a worker that imports no framework."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.registry import BackendInfo
from harness.run.environment import worker_environment
from harness.run.process import WorkerProcess
from harness.spec import Spec


@dataclass(frozen=True)
class Written:
    """What one backend wrote for a spec, or why it wrote nothing, in `refused`.

    `is_program` is false for the mere source of a backend that writes no programs.
    """

    info: BackendInfo
    text: str = ""
    is_program: bool = False
    refused: str = ""

    def file(self, spec: Spec) -> str:
        """Return the name of its file, as a run calls the source of the same."""
        parts = [spec.name, self.info.backend, self.info.variant]
        return "_".join(filter(None, parts)).replace("-", "_") + ".py"


def write_scripts(spec: Spec, backends: Sequence[BackendInfo], timeout: float) -> list[Written]:
    """Have each backend write its program for `spec`.

    Raises:
        WorkerError: a backend failed; the message names its log, which is kept.

    """
    logs = Path(tempfile.mkdtemp(prefix="harness-emit-"))
    found = [_write(spec, info, logs, timeout) for info in backends]
    shutil.rmtree(logs, ignore_errors=True)
    return found


def _write(spec: Spec, info: BackendInfo, logs: Path, timeout: float) -> Written:
    environment = worker_environment("stock", 1)
    worker = WorkerProcess(info.label, logs / f"{info.label}.log", environment, 1)
    try:
        fields, _ = worker.ask(
            "script",
            timeout=timeout,
            target=info.target,
            variant=info.variant,
            spec=spec.model_dump_json(),
        )
    finally:
        worker.close()
    if "refused" in fields:
        return Written(info, refused=str(fields["refused"]))
    return Written(info, str(fields["text"]), bool(fields["is_program"]))
