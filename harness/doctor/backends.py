"""What each backend says when a worker imports its framework, and which devices it sees."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.contract import Device, Setting
from harness.doctor.finding import Finding, Level
from harness.errors import WorkerError
from harness.machine import available_cpus, gpus, may_have_gpu
from harness.registry import BackendInfo
from harness.run.environment import worker_environment
from harness.run.process import WorkerProcess

TIMEOUT = 300.0  # seconds for the import of a framework, on a machine that is busy
# Where a framework's usual build for Linux has no CUDA, or brings it as an extra.
GPU_BUILDS = {
    "torch": "install the CUDA build of torch: https://pytorch.org/get-started/locally",
    "tensorflow": 'pip install "tensorflow[and-cuda]"',
    "jax": 'pip install "jax[cuda12]"',
    "onnxruntime": "pip install onnxruntime-gpu",
}


def look_at_backends(
    chosen: Sequence[BackendInfo], tell: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """Have each backend import its framework in a process of its own; return what came of it.

    As many import side by side as there are cores. `tell` hears whose turn it is.
    """
    device: Device = "gpu" if may_have_gpu() else "cpu"
    found, width = [], max(available_cpus(), 1)
    with tempfile.TemporaryDirectory(prefix="harness-", ignore_cleanup_errors=True) as scratch:
        for begin in range(0, len(chosen), width):
            group = chosen[begin : begin + width]
            tell(f"importing {', '.join(info.label for info in group)}")
            found += _ask(group, device, Path(scratch))
    return [*found, *_no_gpu(found)]


def missing_backends(infos: Sequence[tuple[BackendInfo, str]]) -> list[Finding]:
    """Return a finding for each backend that is left out: not installed, or it does not load."""
    return [
        Finding(
            "backends",
            info.label,
            "wrong" if info.error else "note",
            info.error or f"{', '.join(info.missing) or reason} not installed",
            info.install,
        )
        for info, reason in infos
    ]


def _ask(group: Sequence[BackendInfo], device: Device, scratch: Path) -> list[Finding]:
    """Start a worker for each, let all import, and end them."""
    setting = Setting(device, threads=1)
    workers: list[tuple[WorkerProcess, WorkerError | None]] = []
    try:
        for info in group:
            environment = worker_environment("tuned", 1, info.tuned) | {"TMPDIR": str(scratch)}
            log = scratch / f"{info.label}.log"
            worker = WorkerProcess(info.label, log, environment, available_cpus())
            workers.append((worker, _begin(info, worker, setting)))
        return [_answer(info, *worker, device) for info, worker in zip(group, workers, strict=True)]
    finally:
        for worker, _ in workers:
            worker.kill()


def _begin(info: BackendInfo, worker: WorkerProcess, setting: Setting) -> WorkerError | None:
    """Have a worker begin to import; return the error of one that is gone already."""
    fields: dict[str, Any] = {
        "target": info.target,
        "variant": info.variant,
        "setting": asdict(setting),
    }
    try:
        worker.send("prepare", **fields)
    except WorkerError as error:
        return error
    return None


def _answer(
    info: BackendInfo, worker: WorkerProcess, refused: WorkerError | None, device: Device
) -> Finding:
    """Wait until a worker has imported its framework."""
    try:
        if refused is not None:
            raise refused
        answer, _ = worker.receive(TIMEOUT)
    except WorkerError as error:
        facts: dict[str, Any] = {"status": error.status, "log": worker.log_tail()}
        mend = info.install.replace("pip install", "pip install --force-reinstall", 1)
        said = f"its import fails: {last_line(str(error), worker)}"
        return Finding("backends", info.label, "wrong", said, mend, facts)
    devices = {str(seen["kind"]): str(seen["name"]) for seen in answer["devices"]}
    versions = {str(name): str(number) for name, number in answer["versions"].items()}
    facts = {"devices": devices, "versions": versions, "import_seconds": answer["seconds"]}
    seen = ", ".join(kind if name == kind else f"{kind} ({name})" for kind, name in devices.items())
    words = "  ".join(f"{name} {number}" for name, number in versions.items())
    level: Level = "ok"
    mend = ""
    if device == "gpu" and "gpu" not in devices and info.backend != "numpy":
        level, mend = "note", _gpu_build(info)
        seen += "; not the GPU"
    return Finding("backends", info.label, level, f"sees {seen}; {words}", mend, facts)


def _gpu_build(info: BackendInfo) -> str:
    known = [GPU_BUILDS[name] for name in info.versions if name in GPU_BUILDS]
    return known[0] if known else "install a build for this GPU, as its own site describes"


def last_line(message: str, worker: WorkerProcess) -> str:
    """Return the line that says what went wrong: of the error, or where it crashed, of its log."""
    first = message.partition(". Log: ")[0].removeprefix(f"{worker.label}: ")
    lines = [line.strip() for line in first.splitlines() if line.strip()]
    logged = [line.strip() for line in worker.log_tail().splitlines() if line.strip()]
    if re.search(r"exit code|was killed|left its pipe", first) and logged:
        return f"{lines[-1]}; {logged[-1]}"
    return lines[-1] if lines else "it said nothing"


def _no_gpu(found: Sequence[Finding]) -> list[Finding]:
    """Return that no framework sees the GPU that there is, or nothing."""
    asked = [one for one in found if "devices" in one.facts]
    if not may_have_gpu() or not asked or any("gpu" in one.facts["devices"] for one in asked):
        return []
    name = gpus()[0]["name"] if gpus() else "a GPU"
    said = f"this machine has {name}, which no installed framework sees"
    mend = next((one.mend for one in asked if one.mend), "install a build for this GPU")
    return [Finding("backends", "gpu", "wrong", said, mend)]
