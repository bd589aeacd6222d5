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
Pads = tuple[tuple[int, int], tuple[int, int]]


class Layer:
    """Base: a layer without parameters that passes its input on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters: dict[str, Floats] = {}
        self.gradients: dict[str, Floats] = {}

    def forward(self, x: Floats) -> Floats:
        """Return the layer's output for `x` `[n, ...]`."""
        return x

    def backward(self, dy: Floats) -> Floats:
        """Return the gradient of the input, and keep those of the parameters."""
        return dy


def _windows(x: Floats, size: tuple[int, int], stride: tuple[int, int]) -> Floats:
    """View `x` `[n, h, w, c]` as windows `[n, rows, columns, kh, kw, c]`."""
    views = sliding_window_view(x, size, axis=(1, 2))[:, :: stride[0], :: stride[1]]
    return views.transpose(0, 1, 2, 4, 5, 3)


def _scatter(
    patches: Floats, shape: tuple[int, ...], size: tuple[int, int], stride: tuple[int, int]
) -> Floats:
    """Add windows `[n, rows, columns, kh, kw, c]` up where they came from: `_windows` reversed."""
    total = np.zeros(shape)
    rows, columns = patches.shape[1:3]
    for i in range(size[0]):
        for j in range(size[1]):
            below = slice(i, i + stride[0] * rows, stride[0])
            right = slice(j, j + stride[1] * columns, stride[1])
            total[:, below, right] += patches[:, :, :, i, j]
    return total


def _pad(x: Floats, pads: Pads, value: float) -> Floats:
    return np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)


def _unpad(x: Floats, pads: Pads) -> Floats:
    (top, bottom), (left, right) = pads
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


class Conv2D(Layer):
    """Cross-correlation: `y[n,i,j,o] = sum_{k,l,c} x[n, i*s+k, j*s+l, c] kernel[k,l,c,o]`."""

    def __init__(
        self, name: str, kernel: tuple[int, int], stride: tuple[int, int], pads: Pads
    ) -> None:
        super().__init__(name)
        self.size, self.stride, self.pads = kernel, stride, pads

    def forward(self, x: Floats) -> Floats:
        """Gather the windows into rows of a matrix, and multiply by the kernel."""
        padded = _pad(x, self.pads, 0.0)
        self.padded_shape = padded.shape
        windows = _windows(padded, self.size, self.stride)
        self.places = windows.shape[:3]
        self.patches = windows.reshape(np.prod(self.places), -1)
        kernel = self.parameters["kernel"]
        y = (self.patches @ kernel.reshape(-1, kernel.shape[3])).reshape(*self.places, -1)
        return y + self.parameters["bias"] if "bias" in self.parameters else y

    def backward(self, dy: Floats) -> Floats:
        """Differentiate by the kernel with the input known, then by the input."""
        kernel = self.parameters["kernel"]
        rows = dy.reshape(-1, kernel.shape[3])
        self.gradients["kernel"] = (self.patches.T @ rows).reshape(kernel.shape)
        if "bias" in self.parameters:
            self.gradients["bias"] = rows.sum(0)
        patches = (rows @ kernel.reshape(-1, kernel.shape[3]).T).reshape(
            *self.places, *self.size, kernel.shape[2]
        )
        return _unpad(_scatter(patches, self.padded_shape, self.size, self.stride), self.pads)


class MaxPool(Layer):
    """Maximum over windows; padding counts as minus infinity."""

    def __init__(
        self, name: str, size: tuple[int, int], stride: tuple[int, int], pads: Pads
    ) -> None:
        super().__init__(name)
        self.size, self.stride, self.pads = size, stride, pads

    def forward(self, x: Floats) -> Floats:
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
        return _unpad(_scatter(patches, self.padded_shape, self.size, self.stride), self.pads)


class Flatten(Layer):
    """Rows of pixels, pixels of channels."""

    def forward(self, x: Floats) -> Floats:
        """Reshape to `[n, features]`."""
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Floats) -> Floats:
        """Reshape back."""
        return dy.reshape(self.shape)


class Dense(Layer):
    """`y = x @ kernel + bias`."""

    def forward(self, x: Floats) -> Floats:
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

    def forward(self, x: Floats) -> Floats:
        """Drop and scale."""
        return x if self.mask is None else x * self.mask

    def backward(self, dy: Floats) -> Floats:
        """What was dropped has no influence."""
        return dy if self.mask is None else dy * self.mask


class Relu(Layer):
    """`max(x, 0)`; the gradient at 0 is 0."""

    def forward(self, x: Floats) -> Floats:
        """Clip below."""
        self.positive = x > 0
        return x * self.positive

    def backward(self, dy: Floats) -> Floats:
        """Pass where the input was positive."""
        return dy * self.positive


class Softmax(Layer):
    """`exp(x) / sum(exp(x))` over the last axis."""

    def forward(self, x: Floats) -> Floats:
        """Shift by the maximum, which changes nothing but the overflow."""
        exponentials = np.exp(x - x.max(-1, keepdims=True))
        self.y = exponentials / exponentials.sum(-1, keepdims=True)
        return self.y

    def backward(self, dy: Floats) -> Floats:
        """The Jacobian is `diag(y) - y y^T`."""
        return self.y * (dy - (dy * self.y).sum(-1, keepdims=True))


def cross_entropy(logits: Floats, labels: NDArray[np.integer]) -> tuple[float, Floats]:
    """Return `mean(logsumexp(logits) - logits[label])` and its gradient by the logits."""
    shifted = logits - logits.max(-1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(-1, keepdims=True))
    picked = np.arange(len(labels)), labels
    gradient = np.exp(shifted - log_sum)
    gradient[picked] -= 1
    return float((log_sum[:, 0] - shifted[picked]).mean()), gradient / len(labels)


def mean_squared_error(outputs: Floats, targets: Floats) -> tuple[float, Floats]:
    """Return the mean over batch and outputs of the squared difference, and its gradient."""
    difference = outputs - targets
    return float((difference**2).mean()), 2 * difference / difference.size


class Sgd:
    """`v <- momentum * v + g`; the learning rate is applied after, Nesterov looks ahead."""

    def __init__(self, momentum: float, nesterov: bool) -> None:
        self.momentum, self.nesterov = momentum, nesterov
        self.velocity: dict[str, Floats] = {}

    def update(self, path: str, gradient: Floats, rate: float) -> Floats:
        """Return what to add to the parameter at `path`."""
        velocity = self.momentum * self.velocity.get(path, 0.0) + gradient
        self.velocity[path] = velocity
        return -rate * (gradient + self.momentum * velocity if self.nesterov else velocity)


class Adam:
    """Kingma and Ba (2015), algorithm 1: epsilon is added after the bias correction."""

    def __init__(self, beta1: float, beta2: float, epsilon: float) -> None:
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.moments: dict[str, tuple[Floats, Floats, int]] = {}

    def update(self, path: str, gradient: Floats, rate: float) -> Floats:
        """Return what to add to the parameter at `path`."""
        zero = np.zeros_like(gradient)
        first, second, step = self.moments.get(path, (zero, zero, 0))
        first = self.beta1 * first + (1 - self.beta1) * gradient
        second = self.beta2 * second + (1 - self.beta2) * gradient**2
        step += 1
        self.moments[path] = first, second, step
        corrected_first = first / (1 - self.beta1**step)
        corrected_second = second / (1 - self.beta2**step)
        return -rate * corrected_first / (np.sqrt(corrected_second) + self.epsilon)
