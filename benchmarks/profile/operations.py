"""What each framework's own profiler says: seconds of each kind of operation, `train` traced."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

Train = Callable[[], object]


def torch_operations(train: Train) -> Counter[str]:
    """Return each operator's seconds without those of the operators that it calls."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        train()
    return Counter({kind.key: kind.self_cpu_time_total / 1e6 for kind in found.key_averages()})


def tensorflow_operations(train: Train) -> Counter[str]:
    """Return the seconds of each kind of node in the graphs that ran."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    found: Counter[str] = Counter()
    with TemporaryDirectory(prefix="profile-") as place:
        with tf.profiler.experimental.Profile(place):
            train()
        (path,) = Path(place).rglob("*.xplane.pb")
        for plane in XSpace.FromString(path.read_bytes()).planes:
            for line in plane.lines:
                for event in line.events:
                    name = plane.event_metadata[event.metadata_id].name
                    # As in "while/body/conv1:_FusedConv2D"; the runtime's own have two colons.
                    if kind := re.fullmatch(r"[^:]+:(\w+)", name):
                        found[kind[1]] += event.duration_ps / 1e12
    return found


PROFILERS: Mapping[str, Callable[[Train], Counter[str]]] = {
    "torch": torch_operations,
    "tensorflow": tensorflow_operations,
    "keras": tensorflow_operations,
}
