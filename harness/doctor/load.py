"""Who else uses this machine now: other processes, another harness, a hypervisor's other guests."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from harness.doctor.finding import Finding

SECONDS = 1.0  # for which the machine is watched
BUSY = 0.1  # of one core: a neighbour that uses more disturbs what is measured
STOLEN = 0.02  # of the time of all cores
# What measures, or is part of it; a list or a report disturbs nobody for long.
MEASURING = ("run", "ab", "calibrate", "infer", "check", "fuzz", "machine")


@dataclass(frozen=True)
class Busy:
    """A process, and the share of one core that it used while it was watched."""

    pid: int
    name: str
    share: float
    command: Sequence[str] = ()


def look_at_load(
    watch: Callable[[], tuple[list[Busy], float]] | None = None,
) -> list[Finding]:
    """Watch the machine for a second, and return who kept it busy; this process does not count."""
    processes, stolen = (watch or watch_processes)()
    return [
        *_others(processes),
        *_neighbours([busy for busy in processes if not is_measuring(busy.command)]),
        *_stolen(stolen),
    ]


def watch_processes() -> tuple[list[Busy], float]:
    """Return the processes of others, and the share of all cores' time that was stolen."""
    own = _family()
    watched = {}
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.pid not in own:
            watched[process] = _seconds(process)
    before, begun = psutil.cpu_times(), time.monotonic()
    time.sleep(SECONDS)
    passed, after = time.monotonic() - begun, psutil.cpu_times()
    found = []
    for process, seconds in watched.items():
        used = _seconds(process)
        if used is not None and seconds is not None:
            info: dict[str, Any] = process.info
            name, command = str(info["name"] or "?"), tuple(info["cmdline"] or ())
            found.append(Busy(process.pid, name, (used - seconds) / passed, command))
    whole = sum(after) - sum(before)
    stolen = getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)
    return found, stolen / whole if whole > 0 else 0.0


def _family() -> set[int]:
    """Return this process, those that it was started by, and those that it has started."""
    own = psutil.Process()
    members = [own, *own.parents(), *own.children(recursive=True)]
    return {process.pid for process in members}


def _seconds(process: psutil.Process) -> float | None:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return None  # it has ended, or is another user's
    return float(times.user + times.system)


def is_measuring(command: Sequence[str]) -> bool:
    """Return whether a process is a harness that measures, or a worker of one."""
    words = list(command)
    if "harness.run.worker" in words:
        return True
    begin = next(
        (
            place + 1
            for place, word in enumerate(words)
            if (word == "harness" and words[place - 1] == "-m") or re.search(r"/harness$", word)
        ),
        None,
    )
    return begin is not None and any(word in MEASURING for word in words[begin : begin + 1])


def _others(processes: Sequence[Busy]) -> Iterator[Finding]:
    """Yield the other runs; their workers are theirs."""
    runs = [busy for busy in processes if is_measuring(busy.command)]
    runs = [busy for busy in runs if "harness.run.worker" not in busy.command]
    for busy in runs:
        shown = " ".join(["python -m harness", *busy.command[_command_at(busy.command) :]])
        said = f"{shown[:60]} is running (process {busy.pid}): each disturbs the other"
        facts = {"pid": busy.pid, "command": list(busy.command)}
        mend = f"wait for its end, or: kill {busy.pid}"
        yield Finding("load", "another run", "wrong", said, mend, facts)
    if not runs:
        yield Finding("load", "another run", "ok", "none")


def _command_at(command: Sequence[str]) -> int:
    return next((i for i, word in enumerate(command) if word in MEASURING), len(command))


def _neighbours(processes: Sequence[Busy]) -> Iterator[Finding]:
    shares = [busy for busy in processes if busy.share > 0]
    whole = sum(busy.share for busy in shares)
    facts: dict[str, Any] = {"cores_busy": whole, "load_average": list(os.getloadavg())}
    if whole <= BUSY:
        said = f"quiet: others use {100 * whole:.0f} % of one core"
        yield Finding("load", "neighbours", "ok", said, "", facts)
        return
    worst = max(shares, key=lambda busy: busy.share)
    facts["busiest"] = {"pid": worst.pid, "name": worst.name, "share": worst.share}
    said = (
        f"others use {whole:.1f} cores, of which {worst.name} (process {worst.pid}) "
        f"{worst.share:.1f}: what is measured now is slower, and not alike for all"
    )
    yield Finding("load", "neighbours", "wrong", said, "wait until it has ended, or end it", facts)


def _stolen(share: float) -> Iterator[Finding]:
    if share > STOLEN:
        said = f"{100 * share:.0f} % of the time goes to other guests of this machine's host"
        mend = "measure at another time, or on a machine of one's own; ab tells what can be told"
        yield Finding("load", "host", "wrong", said, mend, {"stolen": share})
