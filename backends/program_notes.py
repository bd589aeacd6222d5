"""What occurs in a network: programs have notes on how frameworks differ in that only."""

from __future__ import annotations

from collections.abc import Mapping

from backends.wording import axes_of
from harness.contract import SourceWriter
from harness.spec import (
    Adam,
    AdamW,
    BatchNorm,
    Conv,
    Conv2DTranspose,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Sgd,
    Spec,
    addresses,
    infer,
)

# A block's attributes join what paths separate; no other name begins like these.
JOINED = r're.sub(r"(shortcut|branch\d+)\.", r"\1_", {path})'
ORDERS = {1: ("NWC", "NCW"), 2: ("NHWC", "NCHW"), 3: ("NDHWC", "NCDHW")}
SIDES = {1: "k", 2: "kh, kw", 3: "kd, kh, kw"}


class Facts:
    """What the notes ask of a spec."""

    def __init__(self, spec: Spec) -> None:
        self.spec, self.network = spec, infer(spec)
        self.nodes = self.network.nodes
        layers = [node.layer for node in self.nodes]
        self.axes = axes_of(self.network)
        self.orders, self.sides = ORDERS[self.axes], SIDES[self.axes]
        self.has_convolutions = any(isinstance(x, Conv | Conv2DTranspose) for x in layers)
        self.has_dense = any(isinstance(x, Dense) for x in layers)
        self.has_batch_norm = any(isinstance(x, BatchNorm) for x in layers)
        self.has_dropout = any(isinstance(x, Dropout) and x.rate for x in layers)
        self.flattens = any(isinstance(n.layer, Flatten) and axes_of(n) for n in self.nodes)
        windows = [n for n in self.nodes if isinstance(n.layer, Conv | MaxPool)]
        self.is_padded = any(any(map(any, n.pads)) for n in windows)
        self.is_unevenly_padded = any(before != after for n in windows for before, after in n.pads)
        self.transposed = [
            f"{n.path}.kernel" for n in self.nodes if isinstance(n.layer, Conv2DTranspose)
        ]
        everything = (*self.network.parameters, *self.network.statistics)
        self.roles = list(dict.fromkeys(p.role for p in everything))
        places = addresses(self.network.parts)
        self.branches = any(".".join(map(str, places[path])) != path for path in places)

    def joined(self, path: str) -> str:
        """Return the expression that makes of a path, a name in the program, one of attributes."""
        return JOINED.format(path=path) if self.branches else path

    def file(self, backend: str, variant: str) -> str:
        """Return what a program may be called."""
        return "_".join(filter(None, [self.spec.name, backend, variant])).replace("-", "_") + ".py"

    def write_transposed(self, write: SourceWriter) -> None:
        """Write a set of the paths of transposed convolutions' kernels, where there are any."""
        if self.transposed:
            write("transposed = {", 1)
            for path in self.transposed:
                write(f'"{path}",', 2)
            write("}", 1)

    @property
    def modes(self) -> str:
        """What differs between training and evaluation; empty where nothing does."""
        both = ["dropout"] * self.has_dropout + ["batch norm"] * self.has_batch_norm
        return " and ".join(both)

    def dropout(self, generator: str) -> str:
        """Say what is common to all dropouts, and what draws this framework's."""
        return (
            "Dropout divides what it keeps by the share that is kept, in every framework; its "
            f"masks are drawn by {generator}, so they are other ones in each framework."
        )

    def loss(self, sentences: Mapping[str, str]) -> list[str]:
        """Return the sentence on the loss of the spec, where there is one."""
        return [sentences[self.spec.training.loss]] if self.spec.training.loss in sentences else []

    def optimizer(self, sentences: Mapping[str, str]) -> list[str]:
        """Return the sentences on the optimizer of the spec.

        They are called `adam` (which counts for AdamW), `adamw`, `sgd_momentum`, `l2`, `rmsprop`.
        """
        match self.spec.training.optimizer:
            case Adam():
                names = ["adam"]
            case AdamW():
                names = ["adam", "adamw"]
            case Sgd() as o:
                names = ["sgd_momentum"] * bool(o.momentum) + ["l2"] * bool(o.l2)
            case _:
                names = ["rmsprop"]
        return [sentences[name] for name in names if name in sentences]
