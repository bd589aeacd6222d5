"""A backend for the tests of the ladder: the NumPy reference with one fault, its variant's name."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import ClassVar

import numpy as np
from check_edits import EDITS

from backends.numpy_activations import Relu
from backends.numpy_backend import NumpyBackend, NumpySession
from backends.numpy_mixed import Mixed, to_bfloat16
from harness.contract import import_source

SUMMED = """

def summed(outputs, targets):
    loss, gradient = training.cross_entropy(outputs, targets)
    return loss, gradient * len(outputs)
"""


class Plain(NumpySession):
    """No fault."""


class Nobias(NumpySession):
    def state(self):
        return {path: value for path, value in super().state().items() if path != "conv1.bias"}


class Extra(NumpySession):
    def state(self):
        return {**super().state(), "conv9.kernel": np.ones(3)}


class Transposed(NumpySession):
    def state(self):
        state = super().state()
        return {**state, "dense1.kernel": state["dense1.kernel"].T.copy()}


class Rounded(NumpySession):
    def state(self):
        return {path: np.round(value, 6) for path, value in super().state().items()}


class Unnamed(NumpySession):
    def activations(self, *given):
        return {name: x for name, x in super().activations(*given).items() if name != "bn1"}


class Channels(NumpySession):
    """Flattens by channels."""

    def activations(self, *given):
        found = super().activations(*given)
        x = found["pool1"]
        return {**found, "flatten1": np.moveaxis(x, -1, 1).reshape(len(x), -1)}


class Unscaled(NumpySession):
    def _forward(self, images, masks, training):
        return super()._forward(images, {k: (m > 0) * 1.0 for k, m in masks.items()}, training)


class Noisy(NumpySession):
    """Has other rounding in a gradient that is zero but for rounding."""

    def gradients(self, images, targets, masks=None):
        found = super().gradients(images, targets, masks)
        noise = np.random.default_rng(5).normal(scale=1e-17, size=3)
        bias = found.parameters["conv1.bias"] + noise
        return replace(found, parameters={**found.parameters, "conv1.bias": bias})


class Percent(NumpySession):
    def gradients(self, images, targets, masks=None):
        found = super().gradients(images, targets, masks)
        wrong = found.parameters["conv1.kernel"] * 1.01
        return replace(found, parameters={**found.parameters, "conv1.kernel": wrong})


class Tipped(NumpySession):
    """Has the ReLU whose input is nearest to its bend on the other side of it."""

    def gradients(self, images, targets, masks=None):
        (relu,) = (layer for layer in self.leaves if isinstance(layer, Relu))

        def derivative(x):
            is_on = Relu.derivative(relu, x)
            return np.where(self.is_other(np.abs(x)), 1 - is_on, is_on)

        relu.derivative = derivative
        return super().gradients(images, targets, masks)

    def is_other(self, distance):
        return distance == distance.min()


class Toppled(Tipped):
    """All that are near it, and nearer than rounding comes."""

    def is_other(self, distance):
        return distance < 1e-4


class Unbiased(NumpySession):
    def train(self, order, learning_rates, masks=None):
        losses = []
        for step in range(len(order)):
            before = self.owners["bn1"].statistics["variance"]
            given = None if masks is None else masks[step : step + 1]
            rates = learning_rates[step : step + 1]
            losses += super().train(order[step : step + 1], rates, given).tolist()
            values = self.owners["bn1"].statistics
            count = self.owners["bn1"].normal[..., 0].size
            decayed = 0.9 * before
            values["variance"] = decayed + (values["variance"] - decayed) * count / (count - 1)
        return np.array(losses)


class Keras(NumpySession):
    """The learning rate inside the velocity."""

    def train(self, order, learning_rates, masks=None):
        for rate in learning_rates:
            ratio = getattr(self, "last", rate) / rate
            for path in self.optimizer.velocity:
                self.optimizer.velocity[path] = self.optimizer.velocity[path] * ratio
            self.last = rate
        return super().train(order, learning_rates, masks)

    def reset(self, parameters, seed):
        super().reset(parameters, seed)
        self.__dict__.pop("last", None)


class Frozen(NumpySession):
    def train(self, order, learning_rates, masks=None):
        kept = self.owners["dense1"].parameters["bias"]
        losses = super().train(order, learning_rates, masks)
        self.owners["dense1"].parameters["bias"] = kept
        return losses


class Partial(NumpySession):
    """Leaves the last image of a partial batch out."""

    def train(self, order, learning_rates, masks=None):
        if order.shape[1] < 8 and masks is not None:
            order, masks = order[:, :-1], [{k: m[:-1] for k, m in x.items()} for x in masks]
        return super().train(order, learning_rates, masks)


class Stale(NumpySession):
    """Predicts for ever with the weights that it was first asked to predict with."""

    def predict(self, images):
        now = self.state()
        self.kept = getattr(self, "kept", now)
        self._set(self.kept)
        try:
            return super().predict(images)
        finally:
            self._set(now)

    def _set(self, state):
        for path, values in self._values():
            values[path.rpartition(".")[2]] = state[path]


class Diverging(NumpySession):
    def train(self, order, learning_rates, masks=None):
        losses = super().train(order, learning_rates, masks)
        return losses * np.nan if len(losses) > 1 else losses


class Lazy(NumpySession):
    """Trains where it is given masks, as in a check, and not where it is timed."""

    def train(self, order, learning_rates, masks=None):
        kept = self.state()
        losses = super().train(order, learning_rates, masks)
        if masks is None:
            for path, values in self._values():
                values[path.rpartition(".")[2]] = kept[path]
        return losses


class Forgetful(NumpySession):
    """Tells of moments that it does not use."""

    def optimizer_state(self):
        return {path: value / 2 for path, value in super().optimizer_state().items()}


class Crashing(NumpySession):
    def train(self, order, learning_rates, masks=None):
        os._exit(3)


class Raising(NumpySession):
    def gradients(self, images, targets, masks=None):
        raise ValueError("no kernel for this shape")


class Exact(NumpySession):
    """Rounds nothing, whatever the precision."""

    def __init__(self, module, spec):
        super().__init__(module, spec)
        self.rounds = False


class Half(NumpySession):
    """Rounds to float16, which has ten bits, as it would to bfloat16, which has seven."""

    def _forward(self, images, masks, training):
        self.mixed.rounded = lambda x: x.astype(np.float16).astype(np.float64)
        return super()._forward(images, masks, training)


class Narrow(NumpySession):
    """Keeps its parameters in bfloat16."""

    def reset(self, parameters, seed):
        super().reset({path: to_bfloat16(value) for path, value in parameters.items()}, seed)


class Narrowed(NumpySession):
    """Rounds its parameters to bfloat16 after each step."""

    def train(self, order, learning_rates, masks=None):
        losses = []
        for step in range(len(order)):
            given = None if masks is None else masks[step : step + 1]
            losses.append(
                super().train(order[step : step + 1], learning_rates[step : step + 1], given)
            )
            for layer in self.leaves:
                layer.parameters = {k: to_bfloat16(v) for k, v in layer.parameters.items()}
        return np.concatenate(losses)


class Moments(NumpySession):
    """Computes the batch's mean and variance in bfloat16."""

    def __init__(self, module, spec):
        super().__init__(module, spec)
        norm = self.owners["bn1"]
        moments = norm.moments

        def rounded(x, training):
            mean, variance = map(to_bfloat16, moments(x, training))
            norm.batch = {"mean": mean, "variance": variance}
            return mean, variance

        norm.moments = rounded


class Logits(NumpySession):
    """Computes the loss in bfloat16."""

    def gradients(self, images, targets, masks=None):
        found = super().gradients(images, targets, masks)
        return replace(found, loss=float(to_bfloat16(np.array([found.loss]))[0]))


class Faulty(NumpyBackend):
    """What its variant says."""

    name = "fake"
    variants: ClassVar = {"": ("numpy",)}

    def source(self, spec, variant, precision="float32"):
        text = super().source(spec, variant)
        if variant in EDITS:
            old, new = EDITS[variant]
            assert old in text, text
            text = text.replace(old, new) + (SUMMED if variant == "sum" else "")
        return text

    def open(self, path, spec, variant, setting):
        kind = globals().get(variant.title(), Plain) if variant not in EDITS else Plain
        session = kind(import_source(path), spec)
        if setting.precision == "bfloat16" and getattr(session, "rounds", True):
            session.mixed = Mixed(session.layers)
        return session
