"""How a model is trained: loss, optimizer, schedule."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from harness.spec.layers import Model

LossName = Literal["cross_entropy", "binary_cross_entropy", "mean_squared_error", "huber"]
LearningRate = Annotated[float, Field(gt=0.0, le=1000.0)]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
Penalty = Annotated[float, Field(ge=0.0, le=1000.0)]
Epsilon = Annotated[float, Field(gt=0.0, le=1.0)]


class Sgd(Model):
    """Stochastic gradient descent; the learning rate is applied after the momentum.

    `v <- momentum * v + g`, then `p <- p - rate * v`, or with Nesterov
    `p <- p - rate * (g + momentum * v)` (Sutskever et al. 2013, in the form of torch.optim.SGD).
    `l2` is coupled: `g` is the gradient plus `l2 * p`, for kernels, or with `decay_all` for every
    parameter.
    """

    type: Literal["sgd"] = "sgd"
    learning_rate: LearningRate
    momentum: Decay = 0.0
    nesterov: bool = False
    l2: Penalty = 0.0
    decay_all: bool = False

    @property
    def slots(self) -> tuple[str, ...]:
        """What is kept of each parameter: `v`, where there is momentum."""
        return ("velocity",) if self.momentum else ()

    @field_validator("nesterov")
    @classmethod
    def _nesterov_needs_momentum(cls, value: bool, others: ValidationInfo) -> bool:
        if value and others.data.get("momentum") == 0.0:
            raise ValueError("needs a momentum above 0, for example momentum = 0.9")
        return value


class Adam(Model):
    """Adam as in algorithm 1 of Kingma and Ba (2015): epsilon is added after bias correction."""

    type: Literal["adam"] = "adam"
    learning_rate: LearningRate = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    epsilon: Epsilon = 1e-8

    @property
    def slots(self) -> tuple[str, ...]:
        """What is kept of each parameter: both moments, before the bias correction."""
        return ("first_moment", "second_moment")


class AdamW(Model):
    """Adam with decoupled decay (Loshchilov and Hutter 2019): first `p <- p - rate * decay * p`.

    For kernels, or with `decay_all` for every parameter; then as `Adam`.
    """

    type: Literal["adamw"] = "adamw"
    learning_rate: LearningRate = 1e-3
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    epsilon: Epsilon = 1e-8
    weight_decay: Penalty = 0.01
    decay_all: bool = False

    @property
    def slots(self) -> tuple[str, ...]:
        """What is kept of each parameter: both moments, before the bias correction."""
        return ("first_moment", "second_moment")


class RmsProp(Model):
    """RMSprop (Tieleman and Hinton 2012), epsilon outside of the root, as in torch.optim.RMSprop.

    `s <- decay * s + (1 - decay) * g^2`, `v <- momentum * v + g / (sqrt(s) + epsilon)`,
    `p <- p - rate * v`.
    """

    type: Literal["rmsprop"] = "rmsprop"
    learning_rate: LearningRate = 1e-3
    decay: Decay = 0.9
    momentum: Decay = 0.0
    epsilon: Epsilon = 1e-7

    @property
    def slots(self) -> tuple[str, ...]:
        """What is kept of each parameter: `s`, and `v` where there is momentum."""
        return ("mean_square", "velocity") if self.momentum else ("mean_square",)


Optimizer = Annotated[Sgd | Adam | AdamW | RmsProp, Field(discriminator="type")]
OPTIMIZER_TYPES = ("sgd", "adam", "adamw", "rmsprop")

Epochs = Annotated[float, Field(ge=0.0, le=10_000.0)]


class Constant(Model):
    """The optimizer's rate throughout, after `warmup_epochs` of linear growth from near zero."""

    type: Literal["constant"] = "constant"
    warmup_epochs: Epochs = 0.0

    def factor(self, progress: float, epoch: float) -> float:
        """Share of the rate at `progress` (0 to 1 after warm-up) and `epoch`."""
        return 1.0


def _some(value: tuple[float, ...]) -> tuple[float, ...]:
    # Not min_length, which counts sound numbers only: a mistake in one would be reported twice.
    if not value:
        raise ValueError("is empty; allowed: one number or more")
    return value


class Step(Model):
    """The rate times `gamma` at each of `epochs`, counted from the start of training."""

    type: Literal["step"] = "step"
    warmup_epochs: Epochs = 0.0
    epochs: Annotated[
        tuple[Epochs, ...],
        AfterValidator(_some),
        Field(max_length=100, json_schema_extra={"minItems": 1}),
    ]
    gamma: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1

    def factor(self, progress: float, epoch: float) -> float:
        """Share of the rate at `progress` (0 to 1 after warm-up) and `epoch`."""
        return float(self.gamma ** sum(epoch >= at for at in self.epochs))


class Cosine(Model):
    """Half a cosine, from the rate to `final` times the rate (Loshchilov and Hutter 2017)."""

    type: Literal["cosine"] = "cosine"
    warmup_epochs: Epochs = 0.0
    final: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0

    def factor(self, progress: float, epoch: float) -> float:
        """Share of the rate at `progress` (0 to 1 after warm-up) and `epoch`."""
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2


class OneCycle(Model):
    """Up from `1 / start` of the rate by half a cosine, and down towards `1 / (start * final)`.

    Smith and Topin (2018), with the two phases of torch.optim.lr_scheduler.OneCycleLR; `peak` is
    the share of the training at which the rate is reached. Step `t` of `n` is at `t / n` of the
    training here, as in all schedules: torch reaches its peak one step earlier, and its end with
    the last step.
    """

    type: Literal["one_cycle"] = "one_cycle"
    peak: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    start: Annotated[float, Field(ge=1.0, le=1e6)] = 25.0
    final: Annotated[float, Field(ge=1.0, le=1e9)] = 1e4

    @property
    def warmup_epochs(self) -> float:
        """None: the way up is its warm-up."""
        return 0.0

    def factor(self, progress: float, epoch: float) -> float:
        """Share of the rate at `progress` (0 to 1) and `epoch`."""
        low, end = 1 / self.start, 1 / (self.start * self.final)
        if progress < self.peak:
            return low + (1 - low) * (1 - math.cos(math.pi * progress / self.peak)) / 2
        down = (progress - self.peak) / (1 - self.peak)
        return end + (1 - end) * (1 + math.cos(math.pi * down)) / 2


Schedule = Annotated[Constant | Step | Cosine | OneCycle, Field(discriminator="type")]
SCHEDULE_TYPES = ("constant", "step", "cosine", "one_cycle")


class Augment(Model):
    """How training images are changed at random, anew in each epoch; in this order.

    `crop_padding` pixels of zeros are put around an image, which is then cropped back to its
    size; with `flip` one image in two is mirrored left to right; a square with side `cutout`
    is set to zero, as far as it lies within the image. Something of every image must be left.
    The harness does it, for all alike.
    """

    crop_padding: Annotated[int, Field(ge=0, le=1024)] = 0
    flip: bool = False
    cutout: Annotated[int, Field(ge=0, le=4096)] = 0

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.crop_padding or self.flip or self.cutout):
            raise ValueError("changes nothing; set crop_padding, flip or cutout, or leave it out")
        return self


class Training(Model):
    """How a model is trained. `last_batch` says what becomes of a last, partial batch.

    `clip_norm` scales all gradients down together where their global L2 norm is larger; that
    comes before any coupled decay. `label_smoothing` mixes the one-hot target of cross_entropy
    with the uniform distribution over the outputs.
    """

    loss: LossName = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    optimizer: Optimizer = Adam()
    schedule: Schedule = Constant()
    clip_norm: Annotated[float, Field(gt=0.0, le=1e6)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 128
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    validation_split: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    last_batch: Literal["drop", "keep"] = "drop"
    augment: Augment | None = None

    @field_validator("label_smoothing")
    @classmethod
    def _smoothing_needs_cross_entropy(cls, value: float, others: ValidationInfo) -> float:
        if value and others.data.get("loss") != "cross_entropy":
            raise ValueError('needs loss = "cross_entropy"')
        return value

    def learning_rates(self, steps_per_epoch: int) -> NDArray[np.float64]:
        """Return the rate of every step of the whole training, `[epochs * steps_per_epoch]`.

        In warm-up the first step has `1 / n` of the rate and the last of the `n` steps all of it.
        """
        total = self.epochs * steps_per_epoch
        warm = min(round(self.schedule.warmup_epochs * steps_per_epoch), total)
        rates = np.empty(total)
        for step in range(total):
            if step < warm:
                factor = (step + 1) / warm
            else:
                progress = (step - warm) / max(total - warm, 1)
                factor = self.schedule.factor(progress, step / steps_per_epoch)
            rates[step] = self.optimizer.learning_rate * factor
        return rates
