"""How right predictions are: loss, and accuracy or errors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.spec import Spec


class Score(NamedTuple):
    """Mean loss; the share of images that are right, or else how far off the values are."""

    loss: float
    accuracy: float | None = None
    rmse: float | None = None
    mae: float | None = None


def score(spec: Spec, outputs: NDArray[Any], targets: NDArray[Any]) -> Score:
    """Return the mean loss, without label smoothing, and what says more to a reader.

    `targets` are class numbers `[n]`, of which the largest output should be the right one, or
    values `[n, outputs]`: one-hot rows count as classes, a single output as the choice between
    two in binary_cross_entropy. Other values have, over images and outputs, the root of the mean
    squared error and the mean absolute error; of probabilities in binary_cross_entropy.
    """
    outputs = outputs.astype(np.float64)
    predicted = outputs
    match spec.training.loss:
        case "mean_squared_error":
            loss = float(((outputs - targets) ** 2).mean())
        case "huber":
            size = np.abs(outputs - targets)
            loss = float(np.where(size <= 1, 0.5 * size**2, size - 0.5).mean())
        case "binary_cross_entropy":
            log_one = np.maximum(outputs, 0) + np.log1p(np.exp(-np.abs(outputs)))
            loss = float((log_one - outputs * targets).mean())
            predicted = 0.5 * (1 + np.tanh(outputs / 2))  # sigmoid, without overflow
        case "cross_entropy":
            shifted = outputs - outputs.max(1, keepdims=True)
            picked = shifted[np.arange(len(targets)), targets]
            loss = float((np.log(np.exp(shifted).sum(1)) - picked).mean())
            return Score(loss, float((outputs.argmax(1) == targets).mean()))
    are_choices = bool(np.isin(targets, (0, 1)).all())
    if are_choices and targets.shape[1] == 1 and spec.training.loss == "binary_cross_entropy":
        return Score(loss, float(((outputs > 0) == (targets > 0.5)).mean()))
    if are_choices and targets.shape[1] > 1 and bool((targets.sum(1) == 1).all()):
        return Score(loss, float((outputs.argmax(1) == targets.argmax(1)).mean()))
    rmse, mae = np.sqrt(((predicted - targets) ** 2).mean()), np.abs(predicted - targets).mean()
    return Score(loss, None, float(rmse), float(mae))
