"""NumPy: the float64 reference, forward and backward by hand; never timed against the rest."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np

from backends import numpy_blocks as blocks
from backends.numpy_mixed import Mixed
from harness.contract import (
    Array,
    DeviceInfo,
    Floats,
    Gradients,
    Integers,
    Precision,
    ProbeKind,
    Setting,
    SourceWriter,
    import_source,
)
from harness.spec import (
    Adam,
    AdamW,
    AvgPool,
    BatchNorm,
    ChannelScale,
    Conv,
    Conv2DTranspose,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    MaxPool,
    Node,
    Part,
    RmsProp,
    Sgd,
    Spec,
    infer,
)


class NumpyBackend:
    """The reference. It computes in float64 whatever the precision asked for.

    For bfloat16, too, but there it rounds in between what the contract says is rounded.
    """

    name = "numpy"
    variants: ClassVar = {"": ("numpy",), "rounded": ("numpy",)}
    precisions: ClassVar = {"": get_args(Precision)}
    in_all = False

    def prepare(self, variant: str, setting: Setting) -> None:
        """NumPy is here already."""

    def versions(self) -> dict[str, str]:
        """Return NumPy's version and Python's."""
        return {"numpy": np.__version__, "python": platform.python_version()}

    def devices(self) -> list[DeviceInfo]:
        """Return the CPU."""
        return [DeviceInfo("cpu", "cpu")]

    def source(self, spec: Spec, variant: str, precision: Precision = "float32") -> str:
        """Write the list of layers, the loss and the optimizer: the same in every precision."""
        write = SourceWriter()
        write(f'"""{spec.name} in NumPy: the float64 reference, differentiated by hand."""\n')
        model = SourceWriter()
        _write_layers(model, infer(spec).parts, 2)
        for name in ("activations", "blocks", "layers", "norms"):
            if any(line.lstrip().startswith(f"{name}.") for line in model.lines):
                write(f"from backends import numpy_{name} as {name}")
        write("from backends import numpy_training as training\n\n")
        write("def make_model():")
        write("return [", 1)
        write(model.text().rstrip("\n"))
        write("]\n\n", 1)
        _write_training(write, spec)
        return write.text()

    def script(self, spec: Spec, variant: str) -> str:
        """Refuse: the source is a list of layers, and those are the backend's own.

        Raises:
            NotImplementedError: always.

        """
        raise NotImplementedError(
            "it is the reference, differentiated by hand in backends/numpy_layers.py, and no "
            "source of its own is run. Try: python -m harness explain"
        )

    def open(self, path: Path, spec: Spec, variant: str, setting: Setting) -> NumpySession:
        """Build the list of layers; the variant `rounded` moves what goes into each."""
        from backends.numpy_rounded import REACH, RoundedSession  # which is built on this module

        module = import_source(path)
        if variant == "rounded":
            return RoundedSession(module, spec, REACH[setting.precision])
        session = NumpySession(module, spec)
        if setting.precision == "bfloat16":
            session.mixed = Mixed(session.layers)
        return session

    def probe(self, kind: ProbeKind, size: int, setting: Setting) -> Callable[[], object] | None:
        """Return a product or a copy; NumPy has no convolution of images, nor such types."""
        if kind == "copy":
            source = np.ones(size, np.uint8)
            return partial(np.copyto, np.zeros_like(source), source)
        if kind == "convolution" or setting.precision in ("bfloat16", "tf32"):
            return None
        a = np.random.default_rng(0).standard_normal((size, size), setting.storage)
        return partial(np.matmul, a, a.copy(), np.empty_like(a))


ACTIVATIONS = {
    "relu": "Relu",
    "relu6": "Relu6",
    "leaky_relu": "LeakyRelu",
    "elu": "Elu",
    "gelu": "Gelu",
    "gelu_tanh": "GeluTanh",
    "silu": "Silu",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "hard_swish": "HardSwish",
    "softmax": "Softmax",
}


WIDTH = 100  # columns of a generated line
BLOCKS = {"residual": "Residual", "concat": "Concat", "gate": "Gate"}


def _write_layers(write: SourceWriter, parts: tuple[Part, ...], indent: int) -> None:
    """Write a list's items; a sequence's are items of the list that it stands in."""
    for part in parts:
        if isinstance(part, Node):
            for call in _constructors(part):
                is_long = 4 * indent + len(call) >= WIDTH
                function, _, inside = call[:-1].partition("(")
                write(f"{function}(\n    {inside}\n)," if is_long else f"{call},", indent)
        elif part.kind == "sequence":
            _write_layers(write, part.children, indent)
        else:
            write(f"blocks.{BLOCKS[part.kind]}(", indent)
            write(f'"{part.path}",', indent + 1)
            for branch in part.branches:
                if branch:
                    write("[", indent + 1)
                    _write_layers(write, branch, indent + 2)
                write("]," if branch else "[],", indent + 1)
            write("),", indent)
            if part.activation != "linear":
                write(f'activations.{ACTIVATIONS[part.activation]}("{part.path}"),', indent)


def _constructors(node: Node) -> list[str]:
    """Return the calls that make the layer, and its activation under the same name."""
    name = f'"{node.path}"'
    match node.layer:
        case Conv() as layer:
            places = f"{layer.kernel}, {layer.stride}, {node.pads}, {layer.dilation}"
            lines = [f"layers.Conv({name}, {places}, {layer.groups})"]
        case Conv2DTranspose() as layer:
            places = f"{layer.kernel}, {layer.stride}, {node.pads}"
            lines = [f"layers.ConvTranspose({name}, {places})"]
        case MaxPool() as layer:
            lines = [f"layers.MaxPool({name}, {layer.size}, {layer.steps}, {node.pads})"]
        case AvgPool() as layer:
            lines = [f"layers.AvgPool({name}, {layer.size}, {layer.steps}, {node.pads})"]
        case BatchNorm() as layer:
            lines = [f"norms.BatchNorm({name}, {layer.decay!r}, {layer.epsilon!r})"]
        case LayerNorm() as layer:
            lines = [f"norms.LayerNorm({name}, {layer.epsilon!r})"]
        case GroupNorm() as layer:
            lines = [f"norms.GroupNorm({name}, {layer.groups}, {layer.epsilon!r})"]
        case Dropout() as layer:
            lines = [f"layers.Dropout({name}, {layer.rate!r})"]
        case GlobalAvgPool() | GlobalMaxPool() | Flatten() | Dense() | ChannelScale() as layer:
            lines = [f"layers.{type(layer).__name__}({name})"]
        case _:
            lines = []
    if node.activation != "linear":
        lines.append(f"activations.{ACTIVATIONS[node.activation]}({name})")
    return lines or [f"layers.Layer({name})"]


def _write_training(write: SourceWriter, spec: Spec) -> None:
    """Write loss, clipping and optimizer."""
    training = spec.training
    write("def loss_fn(outputs, targets):")
    smoothing = f", {training.label_smoothing!r}" if training.label_smoothing else ""
    write(f"return training.{training.loss}(outputs, targets{smoothing})\n\n", 1)
    write("def clip(gradients):")
    limit = training.clip_norm
    clipped = f"training.clip_by_global_norm(gradients, {limit!r})" if limit else "gradients"
    write(f"return {clipped}\n\n", 1)
    write("def make_optimizer():")
    match training.optimizer:
        case AdamW() as o:
            values: tuple[float, ...] = (o.beta1, o.beta2, o.epsilon, o.weight_decay, o.decay_all)
        case Adam() as o:
            values = (o.beta1, o.beta2, o.epsilon)
        case RmsProp() as o:
            values = (o.decay, o.momentum, o.epsilon)
        case Sgd() as o:
            values = (o.momentum, o.nesterov, o.l2, o.decay_all)
    kind = type(training.optimizer).__name__
    write(f"return training.{kind}({', '.join(map(repr, values))})", 1)


class NumpySession:
    """The layers of one model; several may share a name, where an activation follows."""

    def __init__(self, module: Any, spec: Spec) -> None:
        self.module = module
        self.network = infer(spec)
        self.slots = spec.training.optimizer.slots
        self.layers = module.make_model()
        self.leaves = list(blocks.leaves(self.layers))
        self.owners = {layer.name: layer for layer in reversed(self.leaves)}
        self.optimizer = module.make_optimizer()
        self.random = np.random.default_rng(0)
        self.mixed: Mixed | None = None

    def load(self, images: Floats, targets: Array) -> None:
        """Keep the training set."""
        self.images, self.targets = images, targets

    def reset(self, parameters: Mapping[str, Floats], seed: int) -> None:
        """Set parameters and statistics, and make a new optimizer and random state."""
        for path, values in self._values():
            role = path.rpartition(".")[2]
            values[role] = np.array(parameters[path], np.float64)
        self.optimizer = self.module.make_optimizer()
        self.random = np.random.default_rng(seed)
        if self.mixed:
            self.mixed.reset(seed)

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
            for path, gradient in self.module.clip(result.parameters).items():
                owner, role = self._owner(path)
                value = owner.parameters[role]
                owner.parameters[role] = self.optimizer.update(path, value, gradient, float(rate))
            for layer in self.leaves:
                layer.update_statistics()
            losses.append(result.loss)
        return np.array(losses)

    def predict(self, images: Floats) -> Floats:
        """Return logits, in evaluation mode."""
        return self._forward(images, {}, training=False)

    def activations(
        self,
        images: Floats,
        masks: Mapping[str, Floats] | None = None,
        training: bool = False,
    ) -> dict[str, Floats]:
        """Keep what each name's last layer returns."""
        self._forward(images, masks or {}, training)
        last = {layer.name: layer.output for layer in self.leaves}
        return {node.path: last[node.path] for node in self.network.nodes}

    def gradients(
        self, images: Floats, targets: Array, masks: Mapping[str, Floats] | None = None
    ) -> Gradients:
        """Go forward through the layers, and back."""
        outputs = self._forward(images, masks or {}, training=True)
        loss, gradient = self.module.loss_fn(outputs, targets)
        # In mixed precision the logits were a bfloat16's, and so is their gradient.
        gradient = self.mixed.rounded(gradient) if self.mixed else gradient
        gradient = blocks.backward(self.layers, gradient)
        found = {}
        for parameter in self.network.parameters:
            owner, role = self._owner(parameter.path)
            found[parameter.path] = owner.gradients[role]
        return Gradients(loss, outputs, found, gradient)

    def state(self) -> dict[str, Floats]:
        """Return the parameters and statistics by path."""
        return {path: values[path.rpartition(".")[2]].copy() for path, values in self._values()}

    def optimizer_state(self) -> dict[str, Floats]:
        """Return the optimizer's slots by path; zeros where there was no step yet."""
        kept = self.optimizer.slots
        return {
            f"{p.path}.{slot}": np.array(kept[slot].get(p.path, np.zeros(p.shape)))
            for p in self.network.parameters
            for slot in self.slots
        }

    def peak_device_bytes(self) -> int | None:
        """There is no device but the host."""
        return None

    def close(self) -> None:
        """Drop model and data."""
        self.layers, self.leaves, self.owners = [], [], {}
        self.images = self.targets = np.empty(0)

    def _values(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each path, and the dictionary of its layer that holds its value."""
        for parameter in self.network.parameters:
            yield parameter.path, self._owner(parameter.path)[0].parameters
        for statistic in self.network.statistics:
            yield statistic.path, self._owner(statistic.path)[0].statistics

    def _owner(self, path: str) -> tuple[Any, str]:
        name, _, role = path.rpartition(".")
        return self.owners[name], role

    def _draw(self, batch: int) -> dict[str, Floats]:
        """Inverted dropout: what is kept is divided by the share that is kept."""
        masks = {}
        for node in self.network.dropouts:
            assert isinstance(node.layer, Dropout)
            kept = self.random.random((batch, *node.input_shape)) >= node.layer.rate
            masks[node.path] = kept / (1 - node.layer.rate)
        return masks

    def _forward(
        self,
        images: Floats,
        masks: Mapping[str, Floats],
        training: bool,
    ) -> Floats:
        for node in self.network.dropouts:
            self.owners[node.path].mask = masks.get(node.path)
        x = np.asarray(images, np.float64)
        x = self.mixed.rounded(x) if self.mixed else x
        return blocks.forward(self.layers, x, training)
