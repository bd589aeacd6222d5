"""Datasets, as NHWC float32 images and their labels, and the order in which they are seen."""

from harness.data.dataset import Dataset
from harness.data.names import OF_FILES, DatasetInfo, catalog, load, refuse_unknown
from harness.data.order import OrderHash, epoch_batches, split
from harness.data.store import memory_limit

__all__ = [
    "OF_FILES",
    "Dataset",
    "DatasetInfo",
    "OrderHash",
    "catalog",
    "epoch_batches",
    "load",
    "memory_limit",
    "refuse_unknown",
    "split",
]
