"""What a control group allows, as containers and job schedulers set it: less than the machine has.

Read from the kernel's files, of version 2 (`cpu.max`, `memory.max`) and of version 1
(`cpu.cfs_quota_us`, `memory.limit_in_bytes`):
https://docs.kernel.org/admin-guide/cgroup-v2.html and cgroup-v1/memory.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
UNLIMITED = 2**60  # bytes; version 1 says it with a number of pages that no machine has


@dataclass(frozen=True)
class Allowed:
    """What the group of this process, and those it lies in, allow; None: no limit.

    `cores` is CPU time over time, `memory` bytes, and `used` those of them that are in use.
    """

    cores: float | None = None
    memory: int | None = None
    used: int | None = None


def allowed(mount: Path = MOUNT, own: Path = OWN) -> Allowed:
    """Return the tightest of the limits."""
    cores: list[float] = []
    memory: list[tuple[int, int]] = []
    for folder in _groups(mount, own):
        cores += _cores(folder)
        memory += _memory(folder)
    limit, used = min(memory, default=(None, None), key=lambda pair: pair[0] - pair[1])
    return Allowed(min(cores, default=None), limit, used)


def _groups(mount: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of this process's groups, inner before outer, in either version."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    places = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    for _, controllers, path in places or [["0", "", "/"]]:
        # A controller of version 1 lies in a folder of its own, which may be a link.
        names = controllers.split(",") if controllers else [""]
        for name in names:
            inner = mount / name / path.lstrip("/")
            for folder in (inner, *inner.parents):
                if not folder.is_relative_to(mount):
                    break
                yield folder


def _cores(folder: Path) -> Iterator[float]:
    """Yield CPU seconds per second."""
    quota, period = [*_words(folder / "cpu.max"), "max", "max"][:2]
    if quota == "max":
        quota, period = (
            next(iter(_words(folder / name)), "max")
            for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        )
    if quota.isdecimal() and period.isdecimal() and int(period) > 0:
        yield int(quota) / int(period)


def _memory(folder: Path) -> Iterator[tuple[int, int]]:
    """Yield bytes allowed, and bytes used."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        words = [*_words(folder / limit)][:1] + [*_words(folder / used)][:1]
        if len(words) == 2 and all(word.isdecimal() for word in words):
            most, now = map(int, words)
            if most < UNLIMITED:
                yield most, now


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
