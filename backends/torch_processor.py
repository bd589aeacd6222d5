"""Which processor PyTorch runs on, as far as that decides how something is best written."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


@cache
def mkl_is_slow() -> bool:
    """Whether the processor is AMD's, on which MKL takes about twice as long as oneDNN.

    PyTorch gives products of matrices to MKL, and convolutions to oneDNN. On Intel's processors
    neither is slow, and to change to oneDNN's layout and back only costs time. See
    docs/performance.md.
    """
    try:
        known = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        known = platform.processor()  # on Windows it ends with the maker
    return "AuthenticAMD" in known
