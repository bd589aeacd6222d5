"""Normalisation in NumPy: by the batch, by the channels of a pixel, by groups of channels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from backends.numpy_layers import Layer

Floats = NDArray[np.float64]


class Norm(Layer):
    """`(x - mean) / sqrt(variance + epsilon)`, then scale and offset for each channel."""

    def __init__(self, name: str, epsilon: float) -> None:
        super().__init__(name)
        self.epsilon = epsilon

    def forward(self, x: Floats, training: bool) -> Floats:
        """Normalise by what `moments` gives, scale and move."""
        grouped = self.grouped(x)
        mean, variance = self.moments(grouped, training)
        self.deviation = np.sqrt(variance + self.epsilon)
        self.normal = (grouped - mean) / self.deviation
        y = self.normal.reshape(x.shape)
        if "scale" in self.parameters:
            y = y * self.parameters["scale"]
        return y + self.parameters["offset"] if "offset" in self.parameters else y

    def backward(self, dy: Floats) -> Floats:
        """Differentiate; mean and variance depend on x too, where they are x's own."""
        rows = tuple(range(dy.ndim - 1))
        normal = self.normal.reshape(dy.shape)
        if "offset" in self.parameters:
            self.gradients["offset"] = dy.sum(rows)
        if "scale" in self.parameters:
            self.gradients["scale"] = (dy * normal).sum(rows)
            dy = dy * self.parameters["scale"]
        d = dy.reshape(self.normal.shape)
        if self.axes:
            along = (d * self.normal).mean(self.axes, keepdims=True)
            d = d - d.mean(self.axes, keepdims=True) - self.normal * along
        return (d / self.deviation).reshape(dy.shape)

    def grouped(self, x: Floats) -> Floats:
        """Return x in the shape in which it is normalised."""
        return x

    def moments(self, x: Floats, training: bool) -> tuple[Floats, Floats]:
        """Return mean and biased variance over `axes`."""
        return x.mean(self.axes, keepdims=True), x.var(self.axes, keepdims=True)

    axes: tuple[int, ...] = ()


class BatchNorm(Norm):
    """By the batch in training, where running statistics are gathered; by these in evaluation."""

    def __init__(self, name: str, decay: float, epsilon: float) -> None:
        super().__init__(name, epsilon)
        self.decay = decay

    def moments(self, x: Floats, training: bool) -> tuple[Floats, Floats]:
        """Return the batch's mean and biased variance, or the running ones."""
        if not training:
            self.axes = ()
            return self.statistics["mean"], self.statistics["variance"]
        self.axes = tuple(range(x.ndim - 1))
        self.batch = {"mean": x.mean(self.axes), "variance": x.var(self.axes)}
        return self.batch["mean"], self.batch["variance"]

    def update_statistics(self) -> None:
        """`running <- decay running + (1 - decay) batch`."""
        for name, value in self.batch.items():
            self.statistics[name] = self.decay * self.statistics[name] + (1 - self.decay) * value


class LayerNorm(Norm):
    """By the channels of each pixel, or all units."""

    axes = (-1,)


class GroupNorm(Norm):
    """By the pixels and channels of each group, for each image alone."""

    axes = (1, 3)

    def __init__(self, name: str, groups: int, epsilon: float) -> None:
        super().__init__(name, epsilon)
        self.groups = groups

    def grouped(self, x: Floats) -> Floats:
        """From `[n, h, w, c]` or `[n, c]` to `[n, pixels, groups, c / groups]`."""
        return x.reshape(len(x), -1, self.groups, x.shape[-1] // self.groups)
