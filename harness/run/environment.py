"""The environment variables of a worker, set before it starts: what users have, or tuned."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

Environment = Literal["stock", "tuned"]

# Workers wait for their turn while another computes: their threads must sleep, not spin.
SILENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "KMP_BLOCKTIME": "0",
    "GOMP_SPINCOUNT": "0",
}
# Frameworks that take all GPU memory at once would leave none to the other workers.
SHARING = {
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
}
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
TUNED = {
    # glibc returns large blocks to the kernel as soon as they are freed, so that every step pays
    # for its page faults anew; with these it keeps them.
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TRIM_THRESHOLD_": str(4 * 2**30),
    "MALLOC_TOP_PAD_": str(64 * 2**20),
    # Asks for pages of 2 MiB where the kernel gives them to those who ask: the processor then
    # looks far fewer addresses up.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    # TensorFlow uses oneDNN by itself only on CPUs with the newer vector instructions. Elsewhere
    # its own convolutions take twice as long.
    "TF_ENABLE_ONEDNN_OPTS": "1",
}


def worker_environment(
    name: Environment, threads: int, tuned: Mapping[str, str] = {}
) -> dict[str, str]:
    """Return the whole environment of a worker; what the user has set wins, but for threads.

    `tuned` are the backend's own variables for the tuned environment.
    """
    chosen = {**SILENT, **SHARING, **QUIET, **({**TUNED, **tuned} if name == "tuned" else {})}
    return {
        **chosen,
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
    }
