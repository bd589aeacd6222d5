"""Tables for the documentation, each under the machine and the date that it is of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from harness.machine import describe_machine


def heading() -> str:
    """Return one line on this machine, today: CPU, cores, memory, Python, date."""
    return heading_of(describe_machine(), datetime.now(UTC).date().isoformat())


def heading_of(facts: Mapping[str, Any], days: str) -> str:
    """Return such a line on the machine of `facts`, and of these days."""
    memory = facts["memory_bytes"] / 2**30
    cpu = f"{facts['cpus_available']} cores of {facts['cpu']} ({facts['cpu_generation']})"
    return f"{cpu}, {memory:.0f} GiB, Python {facts['python']}, {days or 'date not kept'}:"


def days_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the first and the last day on which rows were begun, nothing where none was kept."""
    known = sorted(row["started_at"][:10] for row in rows if row.get("started_at"))
    return " to ".join(dict.fromkeys([*known[:1], *known[-1:]]))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; all columns but the first are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
