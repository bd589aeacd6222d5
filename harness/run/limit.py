"""How fast a network could be trained, or could predict, on this machine at most.

The roofline model (Williams, Waterman and Patterson 2009), layer by layer: each takes at least as
long as its operations at the peak, and as its traffic at the bandwidth. What is counted of a layer
stands in `harness.spec.cost`, what is measured of a machine in `peaks`.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.contract import Precision
from harness.run.peaks import Peaks
from harness.spec import Cost, Spec, prediction_costs, training_costs

# Bytes of an activation and its gradient, and of a parameter with all that belongs to it.
BYTES: dict[Precision, tuple[int, int]] = {
    "float32": (4, 4),
    "tf32": (4, 4),
    "float64": (8, 8),
    "bfloat16": (2, 4),
}


def training_limit(spec: Spec, peaks: Peaks) -> float:
    """Return the most images per second at which `spec` can be trained, at its batch size."""
    size = spec.training.batch_size
    return size / least_seconds(training_costs(spec), size, peaks)


def prediction_limit(spec: Spec, batch_size: int, peaks: Peaks) -> float:
    """Return the most images per second that can be predicted, in batches of so many."""
    return batch_size / least_seconds(prediction_costs(spec), batch_size, peaks)


def beside_limit(limit: float, speed: float | None) -> dict[str, float | None]:
    """Return the columns of a limit and a speed, both in images per second."""
    share = speed / limit if speed is not None else None
    return {"limit_images_per_second": limit, "fraction_of_limit": share}


def training_intensity(spec: Spec, precision: Precision) -> float:
    """Return the operations of a training step for each byte that it moves at least.

    0 where nothing is multiplied. It is the abscissa of the roofline model's own drawing.
    """
    costs, size = training_costs(spec), spec.training.batch_size
    moved = sum(_traffic(cost, size, precision) for cost in costs)
    return size * sum(cost.flops for cost in costs) / moved if moved else 0.0


def least_seconds(costs: Iterable[Cost], batch_size: int, peaks: Peaks) -> float:
    """Return the sum over `costs` of the longer of both: of computing, and of moving bytes."""
    seconds = 0.0
    for cost in costs:
        traffic = _traffic(cost, batch_size, peaks.precision)
        computing = batch_size * cost.flops / peaks.flops
        seconds += max(computing, traffic / peaks.bandwidth(traffic))
    return seconds


def _traffic(cost: Cost, batch_size: int, precision: Precision) -> int:
    """Return the bytes of one cost for a whole batch."""
    value_bytes, parameter_bytes = BYTES[precision]
    return batch_size * value_bytes * cost.values + parameter_bytes * cost.parameters
