"""Cores, memory, disk, GPU and clock of this machine."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil

from harness.data.store import cache_folder
from harness.doctor.finding import Finding, Level, size_of
from harness.doctor.groups import Allowed, allowed
from harness.machine import available_cpus, cpu_model, gpus, may_have_gpu
from harness.run.folder import ResultsFolder

LEAST_MEMORY, EASY_MEMORY = 2e9, 6e9  # bytes: of one worker, and of a worker of each framework
LEAST_DISK = 1e9
FREQUENCY = Path("/sys/devices/system/cpu")


def look_at_machine(group: Allowed | None = None, frequency: Path = FREQUENCY) -> list[Finding]:
    """Return what there is to compute with, and whether it may be used."""
    group = allowed() if group is None else group
    return [
        *_cores(group),
        *_memory(group),
        *_disk("results", ResultsFolder.parent, "--out with a folder on a larger disk"),
        *_disk("cache", cache_folder(), "export XDG_CACHE_HOME=FOLDER, on a larger disk"),
        _gpu(),
        *_frequency(frequency),
    ]


def _cores(group: Allowed) -> Iterator[Finding]:
    usable, there = available_cpus(), os.cpu_count() or 1
    facts = {"cores": there, "usable": usable, "allowed": group.cores}
    said = f"{usable} of {there} usable, {cpu_model()}"
    if group.cores is None or group.cores >= usable:
        yield Finding("machine", "cores", "ok", said, "", facts)
        return
    threads = max(int(group.cores), 1)
    said += f"; but a control group allows the time of {group.cores:g} only: with more threads all "
    said += "of them stand still until the next period"
    mend = f"--threads {threads}, or give the container or job {usable} CPUs"
    yield Finding("machine", "cores", "wrong", said, mend, facts)


def _memory(group: Allowed) -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    free, total = memory.available, memory.total
    if group.memory is not None and group.used is not None:
        free, total = min(free, max(group.memory - group.used, 0)), min(total, group.memory)
    facts = {"free": free, "total": total, "allowed": group.memory}
    said = f"{size_of(free)} of {size_of(total)} free"
    level: Level = "ok"
    mend = ""
    if free < LEAST_MEMORY:
        level, mend = "wrong", "end other programs, or give the container or job more memory"
    elif free < EASY_MEMORY:
        level, mend = "note", "with large models fewer backends at once: --backend torch"
    yield Finding("machine", "memory", level, said, mend, facts)


def _disk(subject: str, folder: Path, mend: str) -> Iterator[Finding]:
    """Look at the disk on which a folder lies, or will lie once it is made."""
    place = nearest(folder)
    free = shutil.disk_usage(place).free
    facts = {"folder": str(folder), "free": free}
    said = f"{size_of(free)} free in {folder}"
    if not os.access(place, os.W_OK):
        said = f"{place} may not be written to"
        yield Finding("machine", f"disk, {subject}", "wrong", said, mend, facts)
    else:
        level: Level = "wrong" if free < LEAST_DISK else "ok"
        wanted = mend if level == "wrong" else ""
        yield Finding("machine", f"disk, {subject}", level, said, wanted, facts)


def nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    whole = folder.absolute()
    return next(path for path in (whole, *whole.parents) if path.is_dir())


def _gpu() -> Finding:
    found = gpus()
    if not found and may_have_gpu():
        said = "there is a device of one, and nvidia-smi does not answer"
        return Finding("machine", "gpu", "note", said, "install the GPU's driver and its tools")
    names = ", ".join(
        f"{gpu['name']} ({size_of(gpu['memory_bytes'] or 0)}, driver {gpu['driver']})"
        for gpu in found
    )
    return Finding("machine", "gpu", "ok", names or "none", "", {"gpus": [dict(g) for g in found]})


def _frequency(folder: Path) -> Iterator[Finding]:
    """Say whether the clock may change while something is measured."""
    governors = {
        path.read_text().strip()
        for path in folder.glob("cpu[0-9]*/cpufreq/scaling_governor")
        if os.access(path, os.R_OK)
    }
    facts = {"governors": sorted(governors)}
    if governors - {"performance"}:
        said = f"governor {', '.join(sorted(governors))}: the clock follows the load"
        mend = "sudo cpupower frequency-set -g performance"
        yield Finding("machine", "clock", "note", said, mend, facts)
    elif governors:
        yield Finding("machine", "clock", "ok", "governor performance", "", facts)
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    if battery is not None and not battery.power_plugged:
        said = f"on battery ({battery.percent:.0f} %), on which most machines are slower"
        yield Finding("machine", "power", "wrong", said, "plug it in")
    if platform.system() != "Linux":
        said = f"{platform.system()}: workers are pinned to cores on Linux only"
        yield Finding("machine", "system", "note", said, "measure on Linux")
