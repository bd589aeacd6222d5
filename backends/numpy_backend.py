"""NumPy: the float64 reference, forward and backward by hand; never timed against the rest."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness.contract import (
    Array,
    DeviceInfo,
    Floats,
    Gradients,
    Integers,
    Setting,
    SourceWriter,
    import_source,
)
from harness.spec import (
    Adam,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Node,
    Spec,
    infer,
)


class NumpyBackend:
    """The reference. It computes in float64 whatever the precision asked for."""

    name = "numpy"
    variants: ClassVar = {"": ("numpy",)}
    in_all = False

    def prepare(self, variant: str, setting: Setting) -> None:
        """NumPy is here already."""

    def versions(self) -> dict[str, str]:
        """Return NumPy's version and Python's."""
        return {"numpy": np.__version__, "python": platform.python_version()}

    def devices(self) -> list[DeviceInfo]:
        """Return the CPU."""
        return [DeviceInfo("cpu", "cpu")]

    def source(self, spec: Spec, variant: str) -> str:
        """Write the list of layers, the loss and the optimizer."""
        write = SourceWriter()
        optimizer = spec.training.optimizer
        write(f'"""{spec.name} in NumPy: the float64 reference, differentiated by hand."""\n')
        write("from backends import numpy_layers as layers\n\n")
        write("def make_model():")
        write("return [", 1)
        for node in infer(spec).nodes:
            for line in _constructors(node):
                write(f"layers.{line},", 2)
        write("]\n\n", 1)
        write(f"loss_fn = layers.{spec.training.loss}\n\n")
        write("def make_optimizer():")
        if isinstance(optimizer, Adam):
            values = (optimizer.beta1, optimizer.beta2, optimizer.epsilon)
            write(f"return layers.Adam({', '.join(map(repr, values))})", 1)
        else:
            write(f"return layers.Sgd({optimizer.momentum!r}, {optimizer.nesterov!r})", 1)
        return write.text()

    def open(self, path: Path, spec: Spec, variant: str, setting: Setting) -> NumpySession:
        """Build the list of layers."""
        return NumpySession(import_source(path), spec)


def _constructors(node: Node) -> list[str]:
    name = f'"{node.name}"'
    match node.layer:
        case Conv2D() as layer:
            lines = [f"Conv2D({name}, {layer.kernel}, {layer.stride}, {node.pads})"]
        case MaxPool() as layer:
            lines = [f"MaxPool({name}, {layer.size}, {layer.steps}, {node.pads})"]
        case Flatten():
            lines = [f"Flatten({name})"]
        case Dense():
            lines = [f"Dense({name})"]
        case Dropout() as layer:
            lines = [f"Dropout({name}, {layer.rate!r})"]
        case _:
            lines = []
    if node.activation != "linear" or not lines:
        kind = {"relu": "Relu", "softmax": "Softmax", "linear": "Layer"}[node.activation]
        lines.append(f"{kind}({name})")
    return lines


class NumpySession:
    """The layers of one model; several may share a name, where an activation follows."""

    def __init__(self, module: Any, spec: Spec) -> None:
        self.module = module
        self.network = infer(spec)
        self.layers = module.make_model()
        self.owners = {layer.name: layer for layer in reversed(self.layers)}
        self.optimizer = module.make_optimizer()
        self.random = np.random.default_rng(0)

    def load(self, images: Floats, targets: Array) -> None:
        """Keep the training set."""
        self.images, self.targets = images, targets

    def reset(self, parameters: Mapping[str, Floats], seed: int) -> None:
        """Set parameters, and make a new optimizer and random state."""
        for parameter in self.network.parameters:
            owner, role = self._owner(parameter.path)
            owner.parameters[role] = np.array(parameters[parameter.path], np.float64)
        self.optimizer = self.module.make_optimizer()
        self.random = np.random.default_rng(seed)

    def train(
        self,
        order: Integers,
        learning_rates: Floats,
        masks: Sequence[Mapping[str, Floats]] | None = None,
    ) -> Floats:
        """Differentiate and update, step by step."""
        losses = []
        for step, (batch, rate) in enumerate(zip(order, learning_rates, strict=True)):
            given = self._draw(len(batch)) if masks is None else masks[step]
            result = self.gradients(self.images[batch], self.targets[batch], given)
            for path, gradient in result.parameters.items():
                owner, role = self._owner(path)
                owner.parameters[role] += self.optimizer.update(path, gradient, float(rate))
            losses.append(result.loss)
        return np.array(losses)

    def predict(self, images: Floats) -> Floats:
        """Return logits, in evaluation mode."""
        return self._forward(images, {})

    def activations(self, images: Floats) -> dict[str, Floats]:
        """Keep what each name's last layer returns."""
        seen: dict[str, Floats] = {}
        self._forward(images, {}, seen)
        return seen

    def gradients(
        self, images: Floats, targets: Array, masks: Mapping[str, Floats] | None = None
    ) -> Gradients:
        """Go forward through the layers, and back."""
        outputs = self._forward(images, masks or {})
        loss, gradient = self.module.loss_fn(outputs, targets)
        for layer in reversed(self.layers):
            gradient = layer.backward(gradient)
        found = {}
        for parameter in self.network.parameters:
            owner, role = self._owner(parameter.path)
            found[parameter.path] = owner.gradients[role]
        return Gradients(loss, outputs, found, gradient)

    def state(self) -> dict[str, Floats]:
        """Return the parameters by path."""
        state = {}
        for parameter in self.network.parameters:
            owner, role = self._owner(parameter.path)
            state[parameter.path] = owner.parameters[role].copy()
        return state

    def peak_device_bytes(self) -> int | None:
        """There is no device but the host."""
        return None

    def close(self) -> None:
        """Drop model and data."""
        self.layers, self.owners = [], {}
        self.images = self.targets = np.empty(0)

    def _owner(self, path: str) -> tuple[Any, str]:
        name, _, role = path.rpartition(".")
        return self.owners[name], role

    def _draw(self, batch: int) -> dict[str, Floats]:
        """Inverted dropout: what is kept is divided by the share that is kept."""
        masks = {}
        for node in self.network.dropouts:
            assert isinstance(node.layer, Dropout)
            kept = self.random.random((batch, *node.input_shape)) >= node.layer.rate
            masks[node.name] = kept / (1 - node.layer.rate)
        return masks

    def _forward(
        self,
        images: Floats,
        masks: Mapping[str, Floats],
        seen: dict[str, Floats] | None = None,
    ) -> Floats:
        for node in self.network.dropouts:
            self.owners[node.name].mask = masks.get(node.name)
        x = np.asarray(images, np.float64)
        for layer in self.layers:
            x = layer.forward(x)
            if seen is not None:
                seen[layer.name] = x
        return x
