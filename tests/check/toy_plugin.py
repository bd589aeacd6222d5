"""A third party's backend, as small as can be: the NumPy maths under a source of its own."""

from __future__ import annotations

from typing import ClassVar

from backends.numpy_backend import NumpyBackend, NumpySession
from harness.contract import import_source


class Toy(NumpyBackend):
    """No entry point names it."""

    name = "toy"
    variants: ClassVar = {"": ("numpy",), "loud": ("numpy",), "missing": ("no_such_module",)}
    in_all = True
    session = NumpySession

    def prepare(self, variant, setting):
        if variant == "loud":
            print("a plug-in that talks")

    def source(self, spec, variant):
        return super().source(spec, variant).replace(" in NumPy: ", " as a toy: ")

    def open(self, path, spec, variant, setting):
        return self.session(import_source(path), spec)


class Wrong(Toy):
    name = "wrong"

    def source(self, spec, variant):
        return super().source(spec, variant).replace('activations.Relu("conv1"),', "")


class Unopened(Toy):
    """Its session lacks two methods."""

    name = "unopened"

    def open(self, path, spec, variant, setting):
        session = super().open(path, spec, variant, setting)
        session.state = session.close = None
        return session


class Clash(Toy):
    name = "torch"


class Half:
    """Less than half of a backend."""

    name = "all of it"
    variants: ClassVar = {"fast": "numpy"}

    def prepare(self, variant, setting):
        pass

    source = "none"


class NeedsArguments(Toy):
    def __init__(self, size):
        self.size = size


class NamedToy(Toy):
    """Another class of the same name."""
