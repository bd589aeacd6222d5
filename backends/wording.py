"""What the generated sources of all frameworks say alike: docstrings, calls, orders of axes."""

from __future__ import annotations

from collections.abc import Mapping

from harness.spec import Network, Part, Run

DOCSTRINGS = {  # of the class or function of a block, by its kind
    "sequence": "Layers one after the other.",
    "residual": "The body's output plus the shortcut's.",
    "concat": "The outputs of all branches, beside each other as channels.",
    "gate": "Channels weighted by what all of them hold on average: squeeze and excitation.",
}
# What flattening goes through, the slowest first, by the number of axes.
ORDERS = {1: "steps, channels", 2: "rows, columns, channels", 3: "planes, rows, columns, channels"}


def axes_of(part: Part | Network) -> int:
    """Return how many axes there are besides the channels: 2 of an image, none once flat."""
    return len(part.input_shape) - 1


def spelled(arguments: Mapping[str, object]) -> list[str]:
    """Return the arguments of a call: channels by position, what else there is by name."""
    names = list(arguments)
    count = next((i for i, name in enumerate(names) if not name.endswith("channels")), len(names))
    return [
        str(value) if i < count else f"{name}={value}"
        for i, (name, value) in enumerate(arguments.items())
    ]


def numbers_of(run: Run, index: str = "i") -> dict[str, str]:
    """Return what the block of number `index` in a run is given, by argument."""
    return {
        name: f"{value} + {run.growth[name]} * {index}" if name in run.growth else str(value)
        for name, value in run.arguments.items()
    }


def loop_of(run: Run) -> str:
    """Return the loop of a comprehension over a run's blocks."""
    return f"for {'i' if run.growth else '_'} in range({len(run.blocks)})"
