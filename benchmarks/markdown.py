"""Tables for the documentation, each under the machine and the date that it is of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from harness.machine import describe_machine


def heading() -> str:
    """Return one line: CPU, cores, memory, Python, date."""
    facts = describe_machine()
    memory = facts["memory_bytes"] / 2**30
    cpu = f"{facts['cpus_available']} cores of {facts['cpu']} ({facts['cpu_generation']})"
    today = datetime.now(UTC).date().isoformat()
    return f"{cpu}, {memory:.0f} GiB, Python {facts['python']}, {today}:"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; all columns but the first are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
