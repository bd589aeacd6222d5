"""Losses, clipping and optimizers in NumPy, as the spec means them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def cross_entropy(
    logits: Floats, labels: NDArray[np.integer], smoothing: float = 0.0
) -> tuple[float, Floats]:
    """Return `mean(logsumexp(logits) - target . logits)` and its gradient by the logits.

    The target is `1 - smoothing` for the label, and `smoothing / outputs` more for every output.
    """
    targets = np.full(logits.shape, smoothing / logits.shape[1])
    targets[np.arange(len(labels)), labels] += 1 - smoothing
    shifted = logits - logits.max(-1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(-1, keepdims=True))
    loss = float((log_sum[:, 0] - (targets * shifted).sum(-1)).mean())
    return loss, (np.exp(shifted - log_sum) - targets) / len(labels)


def binary_cross_entropy(logits: Floats, targets: Floats) -> tuple[float, Floats]:
    """Return the mean over batch and outputs, from logits, and its gradient."""
    losses = np.maximum(logits, 0) - logits * targets + np.log1p(np.exp(-np.abs(logits)))
    probabilities = 0.5 * (1 + np.tanh(logits / 2))  # the sigmoid, without overflow
    return float(losses.mean()), (probabilities - targets) / logits.size


def mean_squared_error(outputs: Floats, targets: Floats) -> tuple[float, Floats]:
    """Return the mean over batch and outputs of the squared difference, and its gradient."""
    difference = outputs - targets
    return float((difference**2).mean()), 2 * difference / difference.size


def huber(outputs: Floats, targets: Floats) -> tuple[float, Floats]:
    """Return the mean of Huber's loss (1964) with its bend at 1, and its gradient."""
    difference = outputs - targets
    size = np.abs(difference)
    losses = np.where(size <= 1, 0.5 * difference**2, size - 0.5)
    return float(losses.mean()), np.clip(difference, -1, 1) / difference.size


def clip_by_global_norm(gradients: dict[str, Floats], limit: float) -> dict[str, Floats]:
    """Scale all gradients alike, so that the norm of them all is at most `limit`."""
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
    return {path: gradient * limit / max(norm, limit) for path, gradient in gradients.items()}


class Sgd:
    """`v <- momentum * v + g`; the learning rate is applied after, Nesterov looks ahead.

    `l2` times the parameter is part of `g`, for the parameters that decay.
    """

    def __init__(self, momentum: float, nesterov: bool, l2: float, decay_all: bool) -> None:
        self.momentum, self.nesterov, self.l2, self.decay_all = momentum, nesterov, l2, decay_all
        self.velocity: dict[str, Floats] = {}

    @property
    def slots(self) -> dict[str, dict[str, Floats]]:
        """What is kept of each parameter, by its path."""
        return {"velocity": self.velocity}

    def update(self, path: str, parameter: Floats, gradient: Floats, rate: float) -> Floats:
        """Return the new value of the parameter at `path`."""
        if self.decay_all or path.endswith(".kernel"):
            gradient = gradient + self.l2 * parameter
        velocity = self.momentum * self.velocity.get(path, 0.0) + gradient
        self.velocity[path] = velocity
        return parameter - rate * (
            gradient + self.momentum * velocity if self.nesterov else velocity
        )


class Adam:
    """Kingma and Ba (2015), algorithm 1: epsilon is added after the bias correction."""

    def __init__(self, beta1: float, beta2: float, epsilon: float) -> None:
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        self.moments: dict[str, tuple[Floats, Floats, int]] = {}

    @property
    def slots(self) -> dict[str, dict[str, Floats]]:
        """What is kept of each parameter, by its path: both moments, not yet corrected."""
        return {
            "first_moment": {path: first for path, (first, _, _) in self.moments.items()},
            "second_moment": {path: second for path, (_, second, _) in self.moments.items()},
        }

    def update(self, path: str, parameter: Floats, gradient: Floats, rate: float) -> Floats:
        """Return the new value of the parameter at `path`."""
        zero = np.zeros_like(gradient)
        first, second, step = self.moments.get(path, (zero, zero, 0))
        first = self.beta1 * first + (1 - self.beta1) * gradient
        second = self.beta2 * second + (1 - self.beta2) * gradient**2
        step += 1
        self.moments[path] = first, second, step
        corrected_first = first / (1 - self.beta1**step)
        corrected_second = second / (1 - self.beta2**step)
        return parameter - rate * corrected_first / (np.sqrt(corrected_second) + self.epsilon)


class AdamW(Adam):
    """Loshchilov and Hutter (2019): parameters shrink by `rate * decay`, apart from the moments."""

    def __init__(
        self, beta1: float, beta2: float, epsilon: float, weight_decay: float, decay_all: bool
    ) -> None:
        super().__init__(beta1, beta2, epsilon)
        self.weight_decay, self.decay_all = weight_decay, decay_all

    def update(self, path: str, parameter: Floats, gradient: Floats, rate: float) -> Floats:
        """Return the new value of the parameter at `path`."""
        if self.decay_all or path.endswith(".kernel"):
            parameter = parameter - rate * self.weight_decay * parameter
        return super().update(path, parameter, gradient, rate)


class RmsProp:
    """Tieleman and Hinton (2012); epsilon is added to the root, the rate is applied last."""

    def __init__(self, decay: float, momentum: float, epsilon: float) -> None:
        self.decay, self.momentum, self.epsilon = decay, momentum, epsilon
        self.squares: dict[str, Floats] = {}
        self.velocity: dict[str, Floats] = {}

    @property
    def slots(self) -> dict[str, dict[str, Floats]]:
        """What is kept of each parameter, by its path."""
        return {"mean_square": self.squares, "velocity": self.velocity}

    def update(self, path: str, parameter: Floats, gradient: Floats, rate: float) -> Floats:
        """Return the new value of the parameter at `path`."""
        before = self.squares.get(path, np.zeros_like(gradient))
        squares = self.decay * before + (1 - self.decay) * gradient**2
        velocity = self.momentum * self.velocity.get(path, 0.0)
        velocity = velocity + gradient / (np.sqrt(squares) + self.epsilon)
        self.squares[path], self.velocity[path] = squares, velocity
        return parameter - rate * velocity
