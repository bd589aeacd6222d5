"""The toy with one mistake each: what the contract's suite must notice."""

from __future__ import annotations

import os
import random
import sys
from dataclasses import replace

import numpy as np
from toy_plugin import Toy

from backends.numpy_backend import NumpySession
from harness.contract import import_source

STEP_SECONDS = 0.01


class Clocked(NumpySession):
    """A step takes 10 ms of a clock that nothing else moves: the worker's, in the tests."""

    now = 0.0

    def __init__(self, *arguments):
        super().__init__(*arguments)
        sys.modules["__main__"].perf_counter = lambda: self.now

    def train(self, order, learning_rates, masks=None):
        self.now += STEP_SECONDS * len(order)
        return super().train(order, learning_rates, masks)


class Honest(Toy):
    """Without a mistake."""

    session = Clocked


def toy(session: type[NumpySession]) -> type[Toy]:
    """Return a backend that opens such sessions."""
    return type(session.__name__, (Toy,), {"session": session})


@toy
class Babbling(NumpySession):
    """Writes to a file that is not its own."""

    def train(self, order, learning_rates, masks=None):
        os.write(int(sys.argv[2]), b"0.123 images/s\n")
        return super().train(order, learning_rates, masks)


@toy
class Listing(NumpySession):
    def predict(self, images):
        return super().predict(images).tolist()


class Fixed(Toy):
    """Opens what it would have written, not what lies there."""

    def open(self, path, spec, variant, setting):
        own = path.with_name("of_its_own.py")
        own.write_text(self.source(spec, variant))
        return self.session(import_source(own), spec)


class Dated(Toy):
    def source(self, spec, variant):
        return super().source(spec, variant) + f"# {random.random()}\n"


@toy
class Gathered(NumpySession):
    """Keeps its running statistics in a reset."""

    def reset(self, parameters, seed):
        kept = {p.path: self.owners["bn1"].statistics.get(p.role) for p in self.network.statistics}
        given = {path: value for path, value in kept.items() if value is not None}
        super().reset({**parameters, **given}, seed)


@toy
class Moving(NumpySession):
    """Keeps its optimizer in a reset."""

    def reset(self, parameters, seed):
        kept = self.optimizer
        super().reset(parameters, seed)
        self.optimizer = kept


@toy
class Unseeded(NumpySession):
    def reset(self, parameters, seed):
        kept = self.random
        super().reset(parameters, seed)
        self.random = kept


@toy
class SameSeed(NumpySession):
    def reset(self, parameters, seed):
        super().reset(parameters, 0)


@toy
class SameStep(NumpySession):
    """Draws the same for every step."""

    def _draw(self, batch):
        state = self.random.bit_generator.state
        masks = super()._draw(batch)
        self.random.bit_generator.state = state
        return masks


@toy
class Unscaled(NumpySession):
    def _draw(self, batch):
        return {path: (mask > 0) * 1.0 for path, mask in super()._draw(batch).items()}


@toy
class Rate(NumpySession):
    """Drops half of what it should keep."""

    def _draw(self, batch):
        masks = super()._draw(batch)
        return {path: mask * (self.random.random(mask.shape) < 0.5) for path, mask in masks.items()}


@toy
class Maskless(NumpySession):
    def train(self, order, learning_rates, masks=None):
        return super().train(order, learning_rates)


@toy
class MasklessGradients(NumpySession):
    def gradients(self, images, targets, masks=None):
        return super().gradients(images, targets)


@toy
class Dropping(NumpySession):
    """Drops out where no masks are given to its gradients, too."""

    def gradients(self, images, targets, masks=None):
        masks = self._draw(len(images)) if masks is None else masks
        return super().gradients(images, targets, masks)


@toy
class Filling(NumpySession):
    """Fills a partial batch up with its first row."""

    def train(self, order, learning_rates, masks=None):
        missing = 8 - order.shape[1]
        if missing > 0 and masks is not None:
            order = np.concatenate([order, np.repeat(order[:, :1], missing, 1)], 1)
            masks = [{k: self._fill(m, missing) for k, m in mask.items()} for mask in masks]
        return super().train(order, learning_rates, masks)

    def _fill(self, mask, missing):
        return np.concatenate([mask, np.repeat(mask[:1], missing, 0)])


@toy
class Company(NumpySession):
    """Predicts by the statistics of the batch."""

    def predict(self, images):
        return self._forward(images, {}, training=True)


@toy
class Learning(NumpySession):
    """Gathers running statistics whenever it differentiates."""

    def gradients(self, images, targets, masks=None):
        found = super().gradients(images, targets, masks)
        for layer in self.leaves:
            layer.update_statistics()
        return found

    def train(self, order, learning_rates, masks=None):
        for layer in self.leaves:
            layer.update_statistics = lambda: None
        losses = super().train(order, learning_rates, masks)
        for layer in self.leaves:
            del layer.update_statistics
        return losses


@toy
class Drawing(NumpySession):
    """Draws random numbers to predict, too."""

    def predict(self, images):
        self.random.random()
        return super().predict(images)


@toy
class Restarting(NumpySession):
    """Makes a new optimizer for each call."""

    def train(self, order, learning_rates, masks=None):
        self.optimizer = self.module.make_optimizer()
        return super().train(order, learning_rates, masks)


@toy
class LoadingOnce(NumpySession):
    def load(self, images, targets):
        if not hasattr(self, "images"):
            super().load(images, targets)


@toy
class Viewing(NumpySession):
    """Returns the very arrays that it trains."""

    def state(self):
        return {path: values[path.rpartition(".")[2]] for path, values in self._values()}

    def train(self, order, learning_rates, masks=None):
        live = self.state()
        losses = super().train(order, learning_rates, masks)
        for path, values in self._values():
            live[path][...] = values[path.rpartition(".")[2]]
            values[path.rpartition(".")[2]] = live[path]
        return losses


@toy
class ViewingGradients(NumpySession):
    """Returns the array that the next gradients go to."""

    kept = None

    def gradients(self, images, targets, masks=None):
        found = super().gradients(images, targets, masks)
        if self.kept is None or self.kept.shape != found.images.shape:
            self.kept = found.images
        self.kept[...] = found.images
        return replace(found, images=self.kept)


@toy
class Early(Clocked):
    """Trains only when it is asked what became of it."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.queue = []

    def train(self, order, learning_rates, masks=None):
        self.queue.append((order, learning_rates, masks))
        return np.zeros(len(order))

    def state(self):
        for arguments in self.queue:
            super().train(*arguments)
        self.queue = []
        return super().state()


@toy
class Hoarding(NumpySession):
    """Copies the training set, and keeps it."""

    def load(self, images, targets):
        super().load(np.array(images), targets)

    def close(self):
        pass
