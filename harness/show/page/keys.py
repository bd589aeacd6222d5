"""Which colour a line has: the same on the whole page, and told apart by the colour-blind, too.

The palette is that of Okabe and Ito, Color Universal Design (2008), https://jfly.uni-koeln.de/color/
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.show.page.marks import Key
from harness.show.table import Line

# What is most often set beside each other, first; the page's style sheet has the colours' values.
FAVOURED = {"flax": 0, "keras": 1, "tensorflow": 2, "torch": 3}
COLOURS = 8
OKABE_ITO = ("#0072B2", "#CC79A7", "#009E73", "#D55E00", "#E69F00", "#56B4E9", "#000000", "#F0E442")


class Keys:
    """Hands out keys: colours by backend, dashes for the second of a colour, and for GPUs."""

    def __init__(self, lines: Iterable[Line]) -> None:
        every = list(lines)
        self.backends = sorted({line.backend for line in every})
        self.devices = sorted({line.device for line in every})
        numbers = {name: FAVOURED[name] for name in self.backends if name in FAVOURED}
        free = [n for n in (*range(4, COLOURS), *range(4)) if n not in numbers.values()]
        free += [n + COLOURS for n in range(len(self.backends))]  # dashed
        rest = [name for name in self.backends if name not in numbers]
        self.numbers = numbers | dict(zip(rest, free, strict=False))

    def of(self, line: Line) -> Key:
        """Return the key of a line."""
        return self.key(line.backend, line.device)

    def key(self, backend: str, device: str) -> Key:
        """Return the key of a backend on a device."""
        number = self.numbers[backend]
        colour = f"c{number % COLOURS}"
        if number >= COLOURS:
            colour += f" dash{number // COLOURS % 3}"
        if len(self.devices) > 1 and device != self.devices[0]:
            colour += " second"
        name = f"{backend} on {device}" if len(self.devices) > 1 else backend
        return Key(backend, device, name, colour)
