"""The recipes as a backend, so that a worker can run them as it runs the others."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.contract import Array, DeviceInfo, Floats, Integers, Setting
from harness.spec import Spec

MODULES = {
    "keras": "keras_fit",
    "torch": "torch_eager",
    "flax": "flax_nnx",
    "tensorflow": "tensorflow_tape",
    "session": "tensorflow_session",
}


class Recipe:
    """Every variant is one framework's recipe; it can be trained, and nothing else."""

    name = "recipe"
    variants: ClassVar = dict.fromkeys(MODULES, ())
    in_all = False

    def prepare(self, variant: str, setting: Setting) -> None:
        """Import the recipe and its framework, which is left as it comes."""
        self.module = importlib.import_module(f"benchmarks.recipes.{MODULES[variant]}")

    def versions(self) -> dict[str, str]:
        """Return none: they are those of the adapter beside it."""
        return {}

    def devices(self) -> list[DeviceInfo]:
        """Return the CPU."""
        return [DeviceInfo("cpu", "cpu")]

    def source(self, spec: Spec, variant: str) -> str:
        """Return the recipe itself."""
        return Path(self.module.__file__).read_text()

    def open(self, path: Path, spec: Spec, variant: str, setting: Setting) -> RecipeSession:
        """Keep the model's name; the recipe has its own models."""
        return RecipeSession(self.module, spec)


class RecipeSession:
    """A recipe in training, from weights that it draws itself."""

    def __init__(self, module: Any, spec: Spec) -> None:
        self.module, self.model = module, spec.name

    def load(self, images: Floats, targets: Array) -> None:
        """Start the training on these arrays."""
        self.training = self.module.start(self.model, np.array(images), np.array(targets))

    def reset(self, parameters: Mapping[str, Floats], seed: int) -> None:
        """Do nothing: the recipe's weights are its own."""

    def train(
        self,
        order: Integers,
        learning_rates: Floats,
        masks: Sequence[Mapping[str, Floats]] | None = None,
    ) -> Floats:
        """Train on the rows of `order`; the rates are the recipe's own.

        Returns no losses, which recipes do not keep, but the seconds of each step where the recipe
        has a clock of its own, and else zeros.
        """
        self.training.train(np.asarray(order))
        seconds = getattr(self.training, "seconds", 0.0)
        return np.full(len(order), seconds / len(order))

    def peak_device_bytes(self) -> None:
        """Return nothing: it runs on the CPU."""

    def close(self) -> None:
        """Drop it."""
        del self.training

    def _refuse(self, *arguments: Any) -> Any:
        """Say what a session must be able to do, and a recipe is not asked to."""
        raise NotImplementedError("a recipe is only trained")

    activations = gradients = optimizer_state = predict = state = _refuse
