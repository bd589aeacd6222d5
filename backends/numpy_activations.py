"""Activations in NumPy, each with its derivative, written out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from backends.numpy_layers import Layer
from harness.spec import LEAKY_SLOPE

Floats = NDArray[np.float64]
GELU_CUBIC = 0.044715  # Hendrycks and Gimpel (2016)


class Pointwise(Layer):
    """A function of each value alone: a subclass gives it and its derivative."""

    def forward(self, x: Floats, training: bool) -> Floats:
        """Apply the function."""
        self.x = x
        return self.function(x)

    def backward(self, dy: Floats) -> Floats:
        """Apply the chain rule."""
        return dy * self.derivative(self.x)

    def function(self, x: Floats) -> Floats:
        """Return f(x)."""
        raise NotImplementedError

    def derivative(self, x: Floats) -> Floats:
        """Return f'(x)."""
        raise NotImplementedError


class Relu(Pointwise):
    """`max(x, 0)`; the gradient at 0 is 0."""

    def function(self, x: Floats) -> Floats:
        """Clip below."""
        return np.maximum(x, 0)

    def derivative(self, x: Floats) -> Floats:
        """One where x is positive."""
        return (x > 0).astype(np.float64)


class Relu6(Pointwise):
    """`min(max(x, 0), 6)`."""

    def function(self, x: Floats) -> Floats:
        """Clip on both sides."""
        return np.clip(x, 0, 6)

    def derivative(self, x: Floats) -> Floats:
        """One in between."""
        return ((x > 0) & (x < 6)).astype(np.float64)


class LeakyRelu(Pointwise):
    """x, or 0.01 x where it is negative."""

    def function(self, x: Floats) -> Floats:
        """Keep a little of what is negative."""
        return np.where(x > 0, x, LEAKY_SLOPE * x)

    def derivative(self, x: Floats) -> Floats:
        """One, or the slope."""
        return np.where(x > 0, 1, LEAKY_SLOPE)


class Elu(Pointwise):
    """x, or `exp(x) - 1` where it is negative (Clevert et al. 2016)."""

    def function(self, x: Floats) -> Floats:
        """Bend towards -1."""
        return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))

    def derivative(self, x: Floats) -> Floats:
        """One, or `exp(x)`."""
        return np.exp(np.minimum(x, 0))


class Gelu(Pointwise):
    """x times the normal distribution function (Hendrycks and Gimpel 2016)."""

    def function(self, x: Floats) -> Floats:
        """Weigh x by the share of a normal population below it."""
        return x * self._below(x)

    def derivative(self, x: Floats) -> Floats:
        """The product rule: the density is the distribution's derivative."""
        density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
        return self._below(x) + x * density

    def _below(self, x: Floats) -> Floats:
        below: Floats = (1 + erf(x / np.sqrt(2))) / 2
        return below


class GeluTanh(Pointwise):
    """The same, by its approximation with tanh."""

    def function(self, x: Floats) -> Floats:
        """Weigh x by `(1 + tanh(u)) / 2`."""
        return x * (1 + np.tanh(self._inner(x))) / 2

    def derivative(self, x: Floats) -> Floats:
        """The product rule, then the chain rule."""
        t = np.tanh(self._inner(x))
        slope = np.sqrt(2 / np.pi) * (1 + 3 * GELU_CUBIC * x**2)
        return (1 + t) / 2 + x * (1 - t**2) * slope / 2

    def _inner(self, x: Floats) -> Floats:
        return np.sqrt(2 / np.pi) * (x + GELU_CUBIC * x**3)


def _sigmoid(x: Floats) -> Floats:
    """Return `1 / (1 + exp(-x))`, by tanh, which does not overflow."""
    return (1 + np.tanh(x / 2)) / 2


class Sigmoid(Pointwise):
    """`1 / (1 + exp(-x))`."""

    def function(self, x: Floats) -> Floats:
        """Squash into (0, 1)."""
        return _sigmoid(x)

    def derivative(self, x: Floats) -> Floats:
        """`s (1 - s)`."""
        return _sigmoid(x) * (1 - _sigmoid(x))


class Silu(Pointwise):
    """`x sigmoid(x)`, also called swish."""

    def function(self, x: Floats) -> Floats:
        """Weigh x by its sigmoid."""
        return x * _sigmoid(x)

    def derivative(self, x: Floats) -> Floats:
        """The product rule."""
        s = _sigmoid(x)
        return s + x * s * (1 - s)


class Tanh(Pointwise):
    """The hyperbolic tangent."""

    def function(self, x: Floats) -> Floats:
        """Squash into (-1, 1)."""
        return np.tanh(x)

    def derivative(self, x: Floats) -> Floats:
        """`1 - tanh(x)^2`."""
        return 1 - np.tanh(x) ** 2


class HardSwish(Pointwise):
    """`x relu6(x + 3) / 6` (Howard et al. 2019)."""

    def function(self, x: Floats) -> Floats:
        """Weigh x by a straight line between -3 and 3."""
        return x * np.clip(x + 3, 0, 6) / 6

    def derivative(self, x: Floats) -> Floats:
        """Zero, `(2 x + 3) / 6`, one."""
        return np.where(x <= -3, 0, np.where(x >= 3, 1, (2 * x + 3) / 6))


class Softmax(Layer):
    """`exp(x) / sum(exp(x))` over the last axis."""

    def forward(self, x: Floats, training: bool) -> Floats:
        """Shift by the maximum, which changes nothing but the overflow."""
        exponentials = np.exp(x - x.max(-1, keepdims=True))
        self.y = exponentials / exponentials.sum(-1, keepdims=True)
        return self.y

    def backward(self, dy: Floats) -> Floats:
        """The Jacobian is `diag(y) - y y^T`."""
        return self.y * (dy - (dy * self.y).sum(-1, keepdims=True))
