"""What an ONNX tensor is while its model is read: a vertex of the graph, and where its axes lie.

ONNX has images as NCHW, signals as NCW, volumes as NCDHW; what a transpose makes of them is
followed here, so that the graph knows the spec's order only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from harness.exchange.graph import Array, Refused
from harness.spec.nodes import Shape

PIXELS = {0: "", 1: "w", 2: "hw", 3: "dhw"}  # by their number


def channels_first(axes: int) -> str:
    """The axes of an image, or of what has other than two axes of pixels, in ONNX's order."""
    return f"nc{PIXELS[axes]}"


@dataclass(frozen=True)
class Value:
    """The output of `vertex`, of the spec's `shape`.

    `axes` is `nchw` or `nhwc` for an image, `ncw` or `nwc` for a signal, `ncdhw` or `ndhwc` for a
    volume; for what is flat `nc`, with a `1` for each pixel axis that is left of it: `nc11`. `chw`
    is the shape `(c, h, w)` of an image that was flattened in this order: until a dense layer
    comes, units are not in the spec's order.
    """

    vertex: int
    shape: Shape
    axes: str
    chw: Shape | None = None

    @property
    def is_image(self) -> bool:
        """Whether it has pixels: an image, a signal or a volume."""
        return len(self.shape) > 1

    @property
    def pixels(self) -> str:
        """The letters of its axes of pixels."""
        return PIXELS[len(self.shape) - 1]

    @property
    def is_channels_first(self) -> bool:
        """Whether it is an image in ONNX's own order."""
        return self.is_image and self.axes == channels_first(len(self.shape) - 1)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The tensor's sizes, -1 for the number of images."""
        by_axis = dict(zip(f"{self.pixels}c", self.shape, strict=True))
        return tuple({"n": -1, "1": 1, **by_axis}[axis] for axis in self.axes)

    def axis(self, number: int) -> str:
        """The letter of an axis, counted from the end if negative."""
        if not -len(self.axes) <= number < len(self.axes):
            raise Refused(f"axis {number} of a value with {len(self.axes)}")
        return self.axes[number]

    def transposed(self, order: tuple[int, ...]) -> Value:
        """Move the axes."""
        if sorted(order) != list(range(len(self.axes))):
            raise Refused(f"perm = {list(order)} of a value with {len(self.axes)} axes")
        axes = "".join(self.axes[i] for i in order)
        orders = (f"nc{self.pixels}", f"n{self.pixels}c")
        if axes not in orders and (self.is_image or axes[0] != "n"):
            raise Refused(f"makes {axes} of {self.axes}; allowed: between {' and '.join(orders)}")
        return replace(self, axes=axes)

    def to_spec_order(self, array: Array, axis: int = 0) -> Array:
        """Bring an array's axis of units, which are in the order of `chw`, into the spec's."""
        if self.chw is None:
            return array
        if array.shape[axis] != self.shape[0]:
            raise Refused(f"an array of {list(array.shape)} for {self.shape[0]} units")
        order = np.arange(self.shape[0]).reshape(self.chw)
        return np.take(array, np.moveaxis(order, 0, -1).ravel(), axis)

    def per_channel(self, array: Array) -> Array:
        """Return the value of each channel from an array that is broadcast to the tensor.

        Raises:
            Refused: it differs within a channel, or does not fit.

        """
        channels = self.shape[-1]
        if array.size == 1:
            return np.broadcast_to(array.ravel(), channels)  # no memory: there may be 10^14
        offset = len(self.axes) - array.ndim
        sizes = {}
        if offset >= 0:
            sizes = {self.axes[offset + i]: n for i, n in enumerate(array.shape) if n > 1}
        if sizes != {"c": channels}:
            raise Refused(
                f"a constant of {list(array.shape)} with a value of {list(self.sizes)}; allowed: "
                "one number for each channel"
            )
        return self.to_spec_order(array.ravel())
