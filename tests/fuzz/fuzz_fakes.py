"""Backends for the tests of the fuzz: the NumPy reference with one fault, its variant's name."""

from __future__ import annotations

import os
from typing import ClassVar

import numpy as np

from backends import numpy_layers, numpy_norms
from backends.numpy_backend import NumpyBackend, NumpySession
from backends.numpy_rounded import REACH, RoundedSession
from harness.contract import import_source
from harness.spec import infer


class Rounding(RoundedSession):
    """No fault: rounds otherwise, but keeps the weights that it is given."""

    def __init__(self, module, spec):
        super().__init__(module, spec, REACH["float64"])

    def reset(self, parameters, seed):
        self.noise = np.random.default_rng(12345)
        NumpySession.reset(self, parameters, seed)


class Faulty(NumpyBackend):
    """What its variant says."""

    name = "fake"
    variants: ClassVar = {"": ("numpy",)}

    def source(self, spec, variant):
        kinds = {node.layer.type: node.path for node in infer(spec).nodes}
        if variant == "refusing" and "flatten" in kinds:
            raise NotImplementedError(f"layers {kinds['flatten']!r}: it has no rows; here 3")
        if variant == "raising" and "layer_norm" in kinds:
            raise ValueError("no kernel for this shape")
        if variant == "crashing" and "max_pool" in kinds:
            os._exit(3)
        return super().source(spec, variant)

    def open(self, path, spec, variant, setting):
        kind = Rounding if variant == "rounding" else NumpySession
        session = kind(import_source(path), spec)
        for layer in session.leaves:
            if variant == "norms" and isinstance(layer, numpy_norms.GroupNorm):
                enlarge(layer, 1 + 1e-6)
            if variant == "pools" and isinstance(layer, numpy_layers.AvgPool):
                enlarge(layer, 1 + 1e-6)
            if variant == "scales" and isinstance(layer, numpy_layers.ChannelScale):
                enlarge_own_gradients(layer, 1.01)
            if variant == "tiny":
                enlarge(layer, 1 + 1e-9)
        return session


def enlarge(layer, factor):
    forward = layer.forward
    layer.forward = lambda x, training: forward(x, training) * factor


def enlarge_own_gradients(layer, factor):
    backward = layer.backward

    def enlarged(dy):
        dx = backward(dy)
        layer.gradients = {role: value * factor for role, value in layer.gradients.items()}
        return dx

    layer.backward = enlarged
