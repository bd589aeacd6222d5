"""Layers in float64 NumPy, forward and backward by hand: the reference that others must meet.

Written to be read and trusted, not to be fast. Images are NHWC. Each layer keeps what its
backward pass needs; `backward` takes the gradient of the loss with respect to the layer's output
and returns that with respect to its input.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Sizes = tuple[int, int]
Pads = tuple[tuple[int, int], tuple[int, int]]


class Layer:
    """Base: a layer without parameters that passes its input on.

    `parameters` are trained, `statistics` are kept as they go by; `output` is that of the last
    forward pass.
    """

    output: Floats

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters: dict[str, Floats] = {}
        self.gradients: dict[str, Floats] = {}
        self.statistics: dict[str, Floats] = {}

    def forward(self, x: Floats, training: bool) -> Floats:
        """Return the layer's output for `x` `[n, ...]`."""
        return x

    def backward(self, dy: Floats) -> Floats:
        """Return the gradient of the input, and keep those of the parameters."""
        return dy

    def update_statistics(self) -> None:
        """Take the last batch into the running statistics, where there are any."""


def _windows(x: Floats, size: Sizes, stride: Sizes, dilation: Sizes = (1, 1)) -> Floats:
    """View `x` `[n, h, w, c]` as windows `[n, rows, columns, kh, kw, c]`."""
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    views = sliding_window_view(x, reach, axis=(1, 2))[:, :: stride[0], :: stride[1]]
    return views[..., :: dilation[0], :: dilation[1]].transpose(0, 1, 2, 4, 5, 3)


def _scatter(
    patches: Floats, shape: tuple[int, ...], stride: Sizes, dilation: Sizes = (1, 1)
) -> Floats:
    """Add windows `[n, rows, columns, kh, kw, c]` up where they came from: `_windows` reversed."""
    total = np.zeros(shape)
    rows, columns, height, width = patches.shape[1:5]
    for i in range(height):
        for j in range(width):
            top, left = i * dilation[0], j * dilation[1]
            below = slice(top, top + stride[0] * rows, stride[0])
            right = slice(left, left + stride[1] * columns, stride[1])
            total[:, below, right] += patches[:, :, :, i, j]
    return total


def _pad(x: Floats, pads: Pads, value: float) -> Floats:
    return np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)


def _unpad(x: Floats, pads: Pads) -> Floats:
    (top, bottom), (left, right) = pads
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


class Conv2D(Layer):
    """Cross-correlation: `y[n,i,j,o] = sum_{k,l,c} x[n, i*s + k*d, j*s + l*d, c] kernel[k,l,c,o]`.

    With groups, `c` runs over the channels of the group that the filter `o` belongs to.
    """

    def __init__(
        self, name: str, kernel: Sizes, stride: Sizes, pads: Pads, dilation: Sizes, groups: int
    ) -> None:
        super().__init__(name)
        self.size, self.stride, self.pads = kernel, stride, pads
        self.dilation, self.groups = dilation, groups

    def forward(self, x: Floats, training: bool) -> Floats:
        """Gather the windows into rows of a matrix for each group, and multiply by its kernel."""
        padded = _pad(x, self.pads, 0.0)
        self.padded_shape = padded.shape
        windows = _windows(padded, self.size, self.stride, self.dilation)
        self.places = windows.shape[:3]
        split = windows.reshape(*windows.shape[:5], self.groups, -1)
        self.patches = np.moveaxis(split, 5, 0).reshape(self.groups, np.prod(self.places), -1)
        y = np.moveaxis(self.patches @ self._kernels(), 0, 1).reshape(*self.places, -1)
        return y + self.parameters["bias"] if "bias" in self.parameters else y

    def backward(self, dy: Floats) -> Floats:
        """Differentiate by the kernel with the input known, then by the input."""
        kernel = self.parameters["kernel"]
        if "bias" in self.parameters:
            self.gradients["bias"] = dy.sum((0, 1, 2))
        rows = np.moveaxis(dy.reshape(np.prod(self.places), self.groups, -1), 1, 0)
        by_group = self.patches.transpose(0, 2, 1) @ rows
        self.gradients["kernel"] = np.moveaxis(by_group, 0, 1).reshape(kernel.shape)
        patches = (rows @ self._kernels().transpose(0, 2, 1)).reshape(
            self.groups, *self.places, *self.size, kernel.shape[2]
        )
        channels = np.moveaxis(patches, 0, 5).reshape(*self.places, *self.size, -1)
        total = _scatter(channels, self.padded_shape, self.stride, self.dilation)
        return _unpad(total, self.pads)

    def _kernels(self) -> Floats:
        """Return the kernel as a matrix `[kh*kw*in, out]` for each group."""
        kernel = self.parameters["kernel"]
        split = kernel.reshape(-1, self.groups, kernel.shape[3] // self.groups)
        return np.moveaxis(split, 1, 0)


class MaxPool(Layer):
    """Maximum over windows; padding counts as minus infinity."""

    def __init__(self, name: str, size: Sizes, stride: Sizes, pads: Pads) -> None:
        super().__init__(name)
        self.size, self.stride, self.pads = size, stride, pads

    def forward(self, x: Floats, training: bool) -> Floats:
        """Keep the place of each maximum: argmax gives the first in row-major order."""
        padded = _pad(x, self.pads, -np.inf)
        self.padded_shape = padded.shape
        windows = _windows(padded, self.size, self.stride)
        flat = windows.reshape(*windows.shape[:3], -1, x.shape[3])
        self.first = flat.argmax(axis=3, keepdims=True)
        return np.take_along_axis(flat, self.first, axis=3).squeeze(3)

    def backward(self, dy: Floats) -> Floats:
        """Give each window's gradient to its maximum, the first of equals."""
        n, rows, columns, channels = dy.shape
        flat = np.zeros((n, rows, columns, self.size[0] * self.size[1], channels))
        np.put_along_axis(flat, self.first, dy[:, :, :, None], axis=3)
        patches = flat.reshape(n, rows, columns, *self.size, channels)
        return _unpad(_scatter(patches, self.padded_shape, self.stride), self.pads)


class AvgPool(Layer):
    """Mean over windows; padding counts neither in the sum nor in the number of pixels."""

    def __init__(self, name: str, size: Sizes, stride: Sizes, pads: Pads) -> None:
        super().__init__(name)
        self.size, self.stride, self.pads = size, stride, pads

    def forward(self, x: Floats, training: bool) -> Floats:
        """Divide the sum of each window by its number of real pixels."""
        padded = _pad(x, self.pads, 0.0)
        self.padded_shape = padded.shape
        real = _pad(np.ones((1, *x.shape[1:3], 1)), self.pads, 0.0)
        self.pixels = _windows(real, self.size, self.stride).sum((3, 4))
        return _windows(padded, self.size, self.stride).sum((3, 4)) / self.pixels

    def backward(self, dy: Floats) -> Floats:
        """Give each pixel of a window the same share."""
        share = (dy / self.pixels)[:, :, :, None, None]
        patches = np.broadcast_to(share, (*dy.shape[:3], *self.size, dy.shape[3]))
        return _unpad(_scatter(patches, self.padded_shape, self.stride), self.pads)


class GlobalAvgPool(Layer):
    """Mean over height and width."""

    def forward(self, x: Floats, training: bool) -> Floats:
        """From `[n, h, w, c]` to `[n, c]`."""
        self.shape = x.shape
        return x.mean((1, 2))

    def backward(self, dy: Floats) -> Floats:
        """Give each pixel the same share."""
        pixels = self.shape[1] * self.shape[2]
        return np.broadcast_to(dy[:, None, None] / pixels, self.shape)


class GlobalMaxPool(Layer):
    """Maximum over height and width."""

    def forward(self, x: Floats, training: bool) -> Floats:
        """From `[n, h, w, c]` to `[n, c]`; keep the place of the first maximum."""
        self.shape = x.shape
        flat = x.reshape(len(x), -1, x.shape[3])
        self.first = flat.argmax(axis=1, keepdims=True)
        return np.take_along_axis(flat, self.first, axis=1).squeeze(1)

    def backward(self, dy: Floats) -> Floats:
        """Give the gradient to the maximum, the first of equals."""
        n, h, w, c = self.shape
        flat = np.zeros((n, h * w, c))
        np.put_along_axis(flat, self.first, dy[:, None], axis=1)
        return flat.reshape(self.shape)


class Flatten(Layer):
    """Rows of pixels, pixels of channels."""

    def forward(self, x: Floats, training: bool) -> Floats:
        """Reshape to `[n, features]`."""
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Floats) -> Floats:
        """Reshape back."""
        return dy.reshape(self.shape)


class Dense(Layer):
    """`y = x @ kernel + bias`."""

    def forward(self, x: Floats, training: bool) -> Floats:
        """Multiply by the kernel `[in, units]`."""
        self.x = x
        y = x @ self.parameters["kernel"]
        return y + self.parameters["bias"] if "bias" in self.parameters else y

    def backward(self, dy: Floats) -> Floats:
        """Both factors of a product: each one's gradient is the other, transposed."""
        self.gradients["kernel"] = self.x.T @ dy
        if "bias" in self.parameters:
            self.gradients["bias"] = dy.sum(0)
        return dy @ self.parameters["kernel"].T


class Dropout(Layer):
    """Multiplies by `mask`, which holds 0 and 1 / (1 - rate) in training; None passes all."""

    mask: Floats | None = None

    def __init__(self, name: str, rate: float) -> None:
        super().__init__(name)
        self.rate = rate

    def forward(self, x: Floats, training: bool) -> Floats:
        """Drop and scale."""
        return x if self.mask is None else x * self.mask

    def backward(self, dy: Floats) -> Floats:
        """What was dropped has no influence."""
        return dy if self.mask is None else dy * self.mask


class ChannelScale(Layer):
    """`y[n,...,c] = x[n,...,c] scale[c]`."""

    def forward(self, x: Floats, training: bool) -> Floats:
        """Multiply the channels."""
        self.x = x
        return x * self.parameters["scale"]

    def backward(self, dy: Floats) -> Floats:
        """Differentiate a product."""
        self.gradients["scale"] = (dy * self.x).sum(tuple(range(dy.ndim - 1)))
        return dy * self.parameters["scale"]
