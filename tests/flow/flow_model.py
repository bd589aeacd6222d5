"""The model and the data that the tests of a run train with, and the backends that do it."""

from __future__ import annotations

from harness.registry import BackendInfo

MODEL = """
name = "small"
input = [6, 6, 1]
layers = [
  { type = "conv2d", filters = 2, kernel = 3, activation = "relu" },
  { type = "max_pool", size = 2 },
  { type = "flatten" },
  { type = "dropout", rate = 0.25 },
  { type = "dense", units = 3, activation = "softmax" },
]
[training]
epochs = 3
batch_size = 8
"""
DATASET = "synthetic:6x6x1:3:84"
CLASSES = {
    name.lower(): f"flow_fakes:{name}"
    for name in (
        "Twin Other Wrong Crashing Diverging Hanging Waiting Broken WithGpu Slow Slower Slowest "
        "Recording Early Tipping Toppling Prober FasterProber BrokenProber Learner SlowLearner "
        "Unlike SmallOnly"
    ).split()
}


def info(name: str) -> BackendInfo:
    target = "backends.numpy_backend:NumpyBackend" if name == "numpy" else CLASSES[name]
    probes = name.endswith("prober")
    return BackendInfo(name, "", target, name != "numpy", (), {}, "pip install it", probes=probes)
