"""The machine that a result belongs to: CPU, memory, GPU, versions, and a key made of them."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import harness

CPUINFO = Path("/proc/cpuinfo")
VECTORS = ("avx512f", "avx2", "avx", "sse4_2", "sve", "asimd")  # the widest first


def cpu_model() -> str:
    """Return the CPU's name as the kernel gives it."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_generation() -> str:
    """Return family, model and widest vector instructions, as `26.2 avx512f`; "" if unknown.

    A virtual machine's CPU is often called after its brand only, whatever its generation.
    """
    known = _cpuinfo()
    parts = [known.get("cpu family") or known.get("CPU architecture", "")]
    parts.append(known.get("model") or known.get("CPU part", ""))
    flags = (known.get("flags") or known.get("Features", "")).split()
    widest = next((name for name in VECTORS if name in flags), "")
    return f"{'.'.join(filter(None, parts))} {widest}".strip()


def _cpuinfo() -> dict[str, str]:
    """Return what the kernel says of the first CPU; nothing where it has no such file."""
    try:
        lines = CPUINFO.read_text().partition("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def gpus() -> tuple[dict[str, Any], ...]:
    """Return NVIDIA GPUs: name, memory in bytes, driver; empty where there is none."""
    program = shutil.which("nvidia-smi")
    if not program:
        return ()
    fields = "name,memory.total,driver_version"
    try:
        done = subprocess.run(
            [program, f"--query-gpu={fields}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    found = []
    for line in done.stdout.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != 3:  # a remark, such as that there are no devices
            continue
        name, memory, driver = parts
        size = int(memory) * 2**20 if memory.isdecimal() else None
        found.append({"name": name, "memory_bytes": size, "driver": driver})
    return tuple(found)


def may_have_gpu() -> bool:
    """Return whether it is worth asking the frameworks for a GPU, which takes seconds each."""
    return bool(gpus()) or any(Path(device).exists() for device in ("/dev/nvidia0", "/dev/kfd"))


def describe_machine() -> dict[str, Any]:
    """Return what is worth knowing beside a result; no host name, no clock reading."""
    import psutil

    memory = psutil.virtual_memory().total
    facts: dict[str, Any] = {
        "cpu": cpu_model(),
        "cpu_generation": cpu_generation(),
        "cpus": os.cpu_count() or 1,
        "cpus_available": available_cpus(),
        "architecture": platform.machine(),
        "memory_bytes": memory,
        "gpus": [dict(gpu) for gpu in gpus()],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "harness": harness.__version__,
    }
    return {"machine_key": machine_key(facts), **facts}


def machine_key(facts: dict[str, Any]) -> str:
    """Twelve hex digits over CPU model, generation and count, memory class, architecture and GPUs.

    The memory class is the power of two next to the size, as two machines of one kind differ by
    a few megabytes.
    """
    memory_class = max(int(facts["memory_bytes"]) - 1, 1).bit_length()
    parts = [
        facts["cpu"],
        facts["cpu_generation"],
        facts["cpus_available"],
        memory_class,
        facts["architecture"],
        *[gpu["name"] for gpu in facts["gpus"]],
    ]
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:12]


@cache
def commit() -> tuple[str, bool | None]:
    """Return the git commit and whether there are uncommitted changes; "" and None outside git."""
    folder = Path(harness.__file__).parent
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return head, bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return "", None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout.strip()
