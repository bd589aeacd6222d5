"""What makes XLA's convolutions use all cores, for the backends that run on JAX.

jaxlib 0.10 gives convolutions to YNNPACK, which computes those of training with one thread on
many shapes: on two cores, twice the time of XLA's older ones, of which each uses all. Products and
sums stay with it, as by default. Element-wise work does not: without the convolutions, jaxlib
0.10.2 writes past the memory of such a fusion: predictions of wrn-16-4 end in "malloc(): invalid
size".
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

LEFT = ("INDIVIDUAL_DOT", "REDUCE")  # to YNNPACK
KNOWN = "0.10."  # versions of jaxlib; XLA ends a process that gives it a flag it does not know


def tuned_xla() -> dict[str, str]:
    """Return the environment variables, none for a version that was not tried."""
    try:
        is_known = version("jaxlib").startswith(KNOWN)
    except PackageNotFoundError:
        is_known = False
    kinds = ",".join(f"LIBRARY_FUSION_TYPE_{kind}" for kind in LEFT)
    return {"XLA_FLAGS": f"--xla_cpu_experimental_ynn_fusion_type={kinds}"} if is_known else {}
