"""What a machine can do at most, in lines."""

from __future__ import annotations

from collections.abc import Iterable

from harness.run.peaks import Peaks


def peak_lines(found: Iterable[Peaks]) -> list[str]:
    """Return for each device: operations per second and whose, and bandwidths by traffic."""
    lines = []
    for peaks in found:
        threads = f"{peaks.threads} thread{'' if peaks.threads == 1 else 's'}"
        where = f"{peaks.device}, {threads}, {peaks.precision}"
        backend, kind, _ = peaks.flops_by.split()
        measured = peaks.measured_at.partition("T")[0]
        lines.append(f"{'peak':16} {peaks.flops / 1e9:,.0f} GFLOP/s: a {kind} of {backend}")
        rates = ", ".join(f"{rate / 1e9:,.0f} ({_size(size)})" for size, rate in peaks.bandwidths)
        lines.append(f"{'copies':16} {rates} GB/s")
        lines.append(f"{'measured':16} {measured}: {where}")
    return lines


def _size(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
