"""What a GPU tells of itself while a block is trained: energy, clock, memory; by NVML.

NVML is NVIDIA's management library; its Python package, `nvidia-ml-py`, is optional (extra `gpu`).
Whatever a GPU or its driver does not tell is None, and so is all of it without the package.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any


class GpuMeter:
    """The GPU that a process computes on; read outside of what is timed.

    `nvml` is the module `pynvml`, or what has its functions.
    """

    def __init__(self, nvml: Any, handle: Any) -> None:
        self.nvml, self.handle = nvml, handle

    def joules(self) -> float | None:
        """Return the energy that the whole GPU has used since its driver was loaded.

        The counter moves some times a second only, so a difference says little of a short time.
        """
        return self._read(lambda: self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1000)

    def mhz(self) -> float | None:
        """Return the present clock of its multiprocessors."""
        kind = getattr(self.nvml, "NVML_CLOCK_SM", 1)
        return self._read(lambda: float(self.nvml.nvmlDeviceGetClockInfo(self.handle, kind)))

    def process_bytes(self) -> int | None:
        """Return the memory of this process on it, with all that the framework has there."""

        def read() -> float | None:
            processes = self.nvml.nvmlDeviceGetComputeRunningProcesses(self.handle)
            own = [p.usedGpuMemory for p in processes if p.pid == os.getpid()]
            return float(own[0]) if own and own[0] is not None else None

        found = self._read(read)
        return None if found is None else int(found)

    def _read(self, read: Callable[[], float | None]) -> float | None:
        try:
            return read()
        except self.nvml.NVMLError:
            return None


def open_meter(device: str, nvml: Any = None) -> GpuMeter | None:
    """Return the meter of the GPU that frameworks take here; None for the CPU and without NVML.

    That is the first of `CUDA_VISIBLE_DEVICES`, or of all. Where GPUs of several kinds are in one
    machine, NVML counts them in another order than CUDA, unless CUDA_DEVICE_ORDER=PCI_BUS_ID.
    """
    if device != "gpu":
        return None
    if nvml is None:
        try:
            import pynvml as nvml  # type: ignore[import-not-found,no-redef]
        except ImportError:
            return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    try:
        nvml.nvmlInit()
        if visible.isdecimal():
            handle = nvml.nvmlDeviceGetHandleByIndex(int(visible))
        else:
            handle = nvml.nvmlDeviceGetHandleByUUID(visible)
    except nvml.NVMLError:
        return None
    return GpuMeter(nvml, handle)
