"""What this machine can do at most: operations and bytes per second, measured once and kept.

Every installed backend that has work for it (`contract.Probing`) does some in a worker of its own,
with the environment and the cores of a run: a large matrix product, a large convolution, copies.
The fastest of all counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import harness
from harness.contract import Device, Precision, ProbeKind, Setting
from harness.data.store import cache_folder
from harness.errors import UsageError, WorkerError
from harness.machine import describe_machine
from harness.output import write_whole
from harness.registry import BackendInfo
from harness.run.durable import temporary_folder
from harness.run.environment import worker_environment
from harness.run.folder import now
from harness.run.listener import Listener
from harness.run.process import NO_USE, WorkerProcess, no_use

VERSION = 1  # of what is measured and how; another one is measured anew
BUDGET = 0.4  # seconds for each piece of work, after its first
TIMEOUT = 120.0  # for one answer
PRODUCT_SIZE: dict[Device, int] = {"cpu": 2048, "gpu": 8192}
CONVOLUTION_IMAGES: dict[Device, int] = {"cpu": 8, "gpu": 256}
CONVOLUTION_FLOPS = 2 * 56 * 56 * 128 * 9 * 128  # of one image: see `contract.Probing`
# From what caches hold to what only memory does.
COPY_BYTES: dict[Device, tuple[int, ...]] = {
    "cpu": (2**19, 2**22, 2**25, 2**28),
    "gpu": (2**22, 2**25, 2**28, 2**30),
}


@dataclass(frozen=True)
class Peaks:
    """The limits of one device, with so many threads, in one precision.

    `flops` is the most operations per second of any product or convolution, and `flops_by` whose
    that was. `bandwidths` are pairs, smallest traffic first: bytes read and written by a copy, and
    those per second. `found` has all that was measured, `backend kind size: per second`.
    """

    machine_key: str
    device: Device
    threads: int
    precision: Precision
    flops: float
    flops_by: str
    bandwidths: tuple[tuple[int, float], ...]
    measured_at: str
    versions: dict[str, str] = field(default_factory=dict)
    found: dict[str, float] = field(default_factory=dict)

    def bandwidth(self, traffic: float) -> float:
        """Return the bytes per second at which `traffic` bytes can be moved at most.

        That of copies of as much, or of the next smaller one that was measured: what fits into a
        cache is copied faster. No copy counts as slower than a larger one.
        """
        last = max((i for i, (size, _) in enumerate(self.bandwidths) if size <= traffic), default=0)
        return max(rate for _, rate in self.bandwidths[last:])

    @property
    def memory_bandwidth(self) -> float:
        """Bytes per second of the largest copy."""
        return self.bandwidths[-1][1]


def peaks_file(machine_key: str, device: Device, threads: int, precision: Precision) -> Path:
    """Return where the peaks of a machine are kept, in the user's cache."""
    return cache_folder() / "peaks" / f"{machine_key}-{device}-{threads}-{precision}.json"


def known_peaks(device: Device, threads: int, precision: Precision) -> Peaks | None:
    """Return what was measured on this machine before; None where nothing was, or is damaged."""
    key = describe_machine()["machine_key"]
    try:
        text = peaks_file(key, device, threads, precision).read_text(encoding="utf-8")
        content = json.loads(text)
        if content["version"] != VERSION:
            return None
        peaks = from_json(content)
        return peaks if peaks.bandwidths and peaks.flops > 0 else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def find_peaks(
    devices: Sequence[Device],
    threads: int,
    precision: Precision,
    backends: Sequence[BackendInfo],
    listener: Listener,
    anew: bool = False,
) -> dict[Device, Peaks]:
    """Return the peaks of each device, measured now where they are not known, or `anew`.

    A backend that fails is left out, and so is a device of which nothing could be measured.
    `backends` are all there are; those that have work for it and are installed take part.
    """
    found: dict[Device, Peaks] = {}
    for device in devices:
        peaks = None if anew else known_peaks(device, threads, precision)
        if peaks is None:
            peaks = _measured(Setting(device, precision, threads), backends, listener)
            if peaks is not None:
                _keep(peaks)
        if peaks is not None:
            found[device] = peaks
    return found


def as_json(peaks: Peaks) -> dict[str, Any]:
    """Return the peaks as they are kept."""
    return {"version": VERSION, "harness": harness.__version__, **asdict(peaks)}


def from_json(content: Mapping[str, Any]) -> Peaks:
    """Return the peaks that `as_json` made this of."""
    fields = {name: content[name] for name in content if name not in ("version", "harness")}
    pairs = tuple((int(size), float(rate)) for size, rate in fields.pop("bandwidths"))
    return Peaks(**fields, bandwidths=pairs)


def _keep(peaks: Peaks) -> None:
    """Write to the cache; where that is not possible, they are measured again the next time."""
    path = peaks_file(peaks.machine_key, peaks.device, peaks.threads, peaks.precision)
    text = json.dumps(as_json(peaks), indent=2) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    except (OSError, UsageError):
        return


def _measured(
    setting: Setting, backends: Sequence[BackendInfo], listener: Listener
) -> Peaks | None:
    able = [
        info
        for info in backends
        if info.probes
        and not (info.variant or info.missing or info.error)
        and setting.precision in info.precisions
    ]
    found: dict[str, float] = {}
    versions: dict[str, str] = {}
    with temporary_folder() as scratch:
        for info in able:
            listener.phase(
                info.label, f"peak of this machine's {setting.device}, once for all runs"
            )
            try:
                rates = _probe(info, setting, Path(scratch))
            except WorkerError as error:
                listener.failed(info.label, f"no peak: {error.status}", str(error))
                continue
            except NO_USE as error:
                listener.failed(info.label, "no peak: failed", str(no_use(info.label, (), error)))
                continue
            if rates:
                versions |= info.versions
            found |= {f"{info.label} {what}": rate for what, rate in rates.items()}
    return _best(setting, found, versions)


def _best(setting: Setting, found: dict[str, float], versions: dict[str, str]) -> Peaks | None:
    """Take the fastest of every kind and size."""
    work = {name: rate for name, rate in found.items() if name.split()[1] != "copy"}
    copies: dict[int, float] = {}
    for name, rate in found.items():
        _, kind, size = name.split()
        if kind == "copy":
            traffic = 2 * int(size)  # read and written
            copies[traffic] = max(rate, copies.get(traffic, 0.0))
    if not work or not copies:
        return None
    fastest = max(work, key=work.__getitem__)
    return Peaks(
        machine_key=describe_machine()["machine_key"],
        device=setting.device,
        threads=setting.threads,
        precision=setting.precision,
        flops=work[fastest],
        flops_by=fastest,
        bandwidths=tuple(sorted(copies.items())),
        measured_at=now(),
        versions=versions,
        found=found,
    )


def _probe(info: BackendInfo, setting: Setting, scratch: Path) -> dict[str, float]:
    """Have one backend do all of its work; return operations or bytes per second of each.

    Raises:
        WorkerError: it failed.

    """
    environment = {
        **worker_environment("tuned", setting.threads, info.tuned),
        "TMPDIR": str(scratch),
    }
    log = scratch / f"{info.label}-{setting.device}.log"
    worker = WorkerProcess(info.label, log, environment, setting.threads)
    try:
        answer, _ = worker.ask(
            "prepare",
            timeout=TIMEOUT,
            target=info.target,
            variant=info.variant,
            setting=asdict(setting),
        )
        if all(seen["kind"] != setting.device for seen in answer["devices"]):
            return {}
        rates = {}
        for kind, size, amount in _pieces(setting.device):
            found, _ = worker.ask("probe", timeout=TIMEOUT, kind=kind, size=size, budget=BUDGET)
            if found.get("seconds"):
                rates[f"{kind} {size}"] = amount / found["seconds"]
        return rates
    finally:
        worker.kill()


def _pieces(device: Device) -> list[tuple[ProbeKind, int, int]]:
    """Return kind, size and operations, or bytes moved, of each piece of work."""
    side, images = PRODUCT_SIZE[device], CONVOLUTION_IMAGES[device]
    return [
        ("product", side, 2 * side**3),
        ("convolution", images, images * CONVOLUTION_FLOPS),
        *(("copy", size, 2 * size) for size in COPY_BYTES[device]),
    ]
