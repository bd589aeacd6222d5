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
Sizes = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]


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


def _windows(x: Floats, size: Sizes, stride: Sizes, dilation: Sizes) -> Floats:
    """View `x` `[n, h, w, c]` as windows `[n, rows, columns, kh, kw, c]`; so for other axes."""
    axes = len(size)
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilation, strict=True)]
    views = sliding_window_view(x, reach, axis=tuple(range(1, axes + 1)))
    steps = (slice(None, None, step) for step in stride)
    taps = (slice(None, None, step) for step in dilation)
    views = views[(slice(None), *steps, slice(None), *taps)]
    return np.moveaxis(views, axes + 1, -1)


def _scatter(patches: Floats, shape: tuple[int, ...], stride: Sizes, dilation: Sizes) -> Floats:
    """Add windows `[n, rows, columns, kh, kw, c]` up where they came from: `_windows` reversed."""
    axes = len(stride)
    total = np.zeros(shape)
    places, size = patches.shape[1 : axes + 1], patches.shape[axes + 1 : -1]
    for tap in np.ndindex(*size):
        where = tuple(
            slice(index * d, index * d + s * count, s)
            for index, d, s, count in zip(tap, dilation, stride, places, strict=True)
        )
        window = (slice(None),) * (axes + 1) + tap
        total[(slice(None), *where)] += patches[window]
    return total


def _ones(sizes: Sizes) -> Sizes:
    return (1,) * len(sizes)


def _pad(x: Floats, pads: Pads, value: float) -> Floats:
    return np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)


def _unpad(x: Floats, pads: Pads) -> Floats:
    inside = (slice(b, n - a) for (b, a), n in zip(pads, x.shape[1:-1], strict=True))
    return x[(slice(None), *inside)]


class Conv(Layer):
    """Cross-correlation: `y[n,i,j,o] = sum_{k,l,c} x[n, i*s + k*d, j*s + l*d, c] kernel[k,l,c,o]`.

    With groups, `c` runs over the channels of the group that the filter `o` belongs to. Signals
    and volumes have one axis less, or one more.
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
        self.places = windows.shape[: x.ndim - 1]
        split = windows.reshape(*windows.shape[:-1], self.groups, -1)
        self.patches = np.moveaxis(split, -2, 0).reshape(self.groups, np.prod(self.places), -1)
        y = np.moveaxis(self.patches @ self._kernels(), 0, 1).reshape(*self.places, -1)
        return y + self.parameters["bias"] if "bias" in self.parameters else y

    def backward(self, dy: Floats) -> Floats:
        """Differentiate by the kernel with the input known, then by the input."""
        kernel = self.parameters["kernel"]
        if "bias" in self.parameters:
            self.gradients["bias"] = dy.sum(tuple(range(dy.ndim - 1)))
        rows = np.moveaxis(dy.reshape(np.prod(self.places), self.groups, -1), 1, 0)
        by_group = self.patches.transpose(0, 2, 1) @ rows
        self.gradients["kernel"] = np.moveaxis(by_group, 0, 1).reshape(kernel.shape)
        patches = (rows @ self._kernels().transpose(0, 2, 1)).reshape(
            self.groups, *self.places, *self.size, kernel.shape[-2]
        )
        channels = np.moveaxis(patches, 0, -2).reshape(*self.places, *self.size, -1)
        total = _scatter(channels, self.padded_shape, self.stride, self.dilation)
        return _unpad(total, self.pads)

    def _kernels(self) -> Floats:
        """Return the kernel as a matrix `[kh*kw*in, out]` for each group."""
        kernel = self.parameters["kernel"]
        split = kernel.reshape(-1, self.groups, kernel.shape[-1] // self.groups)
        return np.moveaxis(split, 1, 0)


class ConvTranspose(Layer):
    """Each pixel adds the kernel: `y[n, i*s + k, j*s + l, o] += sum_c x[n,i,j,c] kernel[k,l,c,o]`.

    Of that, `pads` are cut off; where they are negative, as many zeros are added.
    """

    def __init__(self, name: str, kernel: Sizes, stride: Sizes, pads: Pads) -> None:
        super().__init__(name)
        self.size, self.stride, self.pads = kernel, stride, pads

    def forward(self, x: Floats, training: bool) -> Floats:
        """Add all kernels up, and cut."""
        self.x = x
        kernel = self.parameters["kernel"]
        patches = np.einsum("nijc,klco->nijklo", x, kernel)
        extents = [
            (n - 1) * s + k + max(-after, 0)
            for n, s, k, (_, after) in zip(
                x.shape[1:3], self.stride, self.size, self.pads, strict=True
            )
        ]
        shape = (len(x), *extents, kernel.shape[-1])
        total = _scatter(patches, shape, self.stride, _ones(self.stride))
        self.cut = tuple((before, max(after, 0)) for before, after in self.pads)
        y = _unpad(total, self.cut)
        return y + self.parameters["bias"] if "bias" in self.parameters else y

    def backward(self, dy: Floats) -> Floats:
        """A convolution: each pixel gathers from where it was added."""
        kernel = self.parameters["kernel"]
        if "bias" in self.parameters:
            self.gradients["bias"] = dy.sum((0, 1, 2))
        windows = _windows(_pad(dy, self.cut, 0.0), self.size, self.stride, _ones(self.stride))
        windows = windows[:, : self.x.shape[1], : self.x.shape[2]]
        self.gradients["kernel"] = np.einsum("nijc,nijklo->klco", self.x, windows)
        return np.einsum("nijklo,klco->nijc", windows, kernel)


class MaxPool(Layer):
    """Maximum over windows; padding counts as minus infinity."""

    def __init__(self, name: str, size: Sizes, stride: Sizes, pads: Pads) -> None:
        super().__init__(name)
        self.size, self.stride, self.pads = size, stride, pads

    def forward(self, x: Floats, training: bool) -> Floats:
        """Keep the place of each maximum: argmax gives the first in row-major order."""
        padded = _pad(x, self.pads, -np.inf)
        self.padded_shape = padded.shape
        windows = _windows(padded, self.size, self.stride, _ones(self.size))
        flat = windows.reshape(*windows.shape[: x.ndim - 1], -1, x.shape[-1])
        self.first = flat.argmax(axis=-2, keepdims=True)
        return np.take_along_axis(flat, self.first, axis=-2).squeeze(-2)

    def backward(self, dy: Floats) -> Floats:
        """Give each window's gradient to its maximum, the first of equals."""
        places, channels = dy.shape[:-1], dy.shape[-1]
        flat = np.zeros((*places, np.prod(self.size), channels))
        np.put_along_axis(flat, self.first, dy[..., None, :], axis=-2)
        patches = flat.reshape(*places, *self.size, channels)
        total = _scatter(patches, self.padded_shape, self.stride, _ones(self.size))
        return _unpad(total, self.pads)


class AvgPool(Layer):
    """Mean over windows; padding counts neither in the sum nor in the number of pixels."""

    def __init__(self, name: str, size: Sizes, stride: Sizes, pads: Pads) -> None:
        super().__init__(name)
        self.size, self.stride, self.pads = size, stride, pads

    def forward(self, x: Floats, training: bool) -> Floats:
        """Divide the sum of each window by its number of real pixels."""
        padded = _pad(x, self.pads, 0.0)
        self.padded_shape = padded.shape
        real = _pad(np.ones((1, *x.shape[1:-1], 1)), self.pads, 0.0)
        self.pixels = self._sums(real)
        return self._sums(padded) / self.pixels

    def _sums(self, padded: Floats) -> Floats:
        windows = _windows(padded, self.size, self.stride, _ones(self.size))
        return windows.sum(tuple(range(padded.ndim - 1, windows.ndim - 1)))

    def backward(self, dy: Floats) -> Floats:
        """Give each pixel of a window the same share."""
        share = np.expand_dims(dy / self.pixels, tuple(range(-1 - len(self.size), -1)))
        patches = np.broadcast_to(share, (*dy.shape[:-1], *self.size, dy.shape[-1]))
        total = _scatter(patches, self.padded_shape, self.stride, _ones(self.size))
        return _unpad(total, self.pads)


class GlobalAvgPool(Layer):
    """Mean over all pixels."""

    def forward(self, x: Floats, training: bool) -> Floats:
        """From `[n, h, w, c]` to `[n, c]`."""
        self.shape = x.shape
        return x.mean(tuple(range(1, x.ndim - 1)))

    def backward(self, dy: Floats) -> Floats:
        """Give each pixel the same share."""
        pixels = self.shape[1:-1]
        share = np.expand_dims(dy / np.prod(pixels), tuple(range(1, 1 + len(pixels))))
        return np.broadcast_to(share, self.shape)


class GlobalMaxPool(Layer):
    """Maximum over all pixels."""

    def forward(self, x: Floats, training: bool) -> Floats:
        """From `[n, h, w, c]` to `[n, c]`; keep the place of the first maximum."""
        self.shape = x.shape
        flat = x.reshape(len(x), -1, x.shape[-1])
        self.first = flat.argmax(axis=1, keepdims=True)
        return np.take_along_axis(flat, self.first, axis=1).squeeze(1)

    def backward(self, dy: Floats) -> Floats:
        """Give the gradient to the maximum, the first of equals."""
        flat = np.zeros((self.shape[0], np.prod(self.shape[1:-1]), self.shape[-1]))
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
