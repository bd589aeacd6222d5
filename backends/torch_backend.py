"""PyTorch: an nn.Module in channels-last layout, its own loss and optimizer, eager or compiled."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from backends.stepwise import layer_outputs
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
    Activation,
    ActivationLayer,
    Adam,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Network,
    Node,
    Spec,
    infer,
)


class TorchBackend:
    """`torch` runs eagerly; `torch@compile` compiles the forward and backward pass."""

    name = "torch"
    variants: ClassVar = {"": ("torch",), "compile": ("torch",)}
    in_all = True

    def prepare(self, variant: str, setting: Setting) -> None:
        """Import torch, and set threads and full float32 precision."""
        import torch

        torch.set_num_threads(setting.threads)
        torch.set_default_dtype(getattr(torch, setting.precision))
        # TF32 keeps ten bits of the mantissa; the spec's float32 means all twenty-three.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True

    def versions(self) -> dict[str, str]:
        """Return torch's version and CUDA's."""
        import torch

        return {"torch": torch.__version__, "cuda": torch.version.cuda or "none"}

    def devices(self) -> list[DeviceInfo]:
        """Return the CPU, and the first GPU that torch sees."""
        import torch

        found = [DeviceInfo("cpu", "cpu")]
        if torch.cuda.is_available():
            found.append(DeviceInfo("gpu", torch.cuda.get_device_name(0)))
        return found

    def source(self, spec: Spec, variant: str) -> str:
        """Write the module, the loss, the optimizer and the training loop."""
        network = infer(spec)
        write = SourceWriter()
        write(f'"""{spec.name} in PyTorch{", compiled" if variant == "compile" else ""}."""\n')
        write("import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n")
        _write_model(write, spec, network)
        _write_loss(write, spec)
        _write_optimizer(write, spec)
        _write_train(write, variant)
        return write.text()

    def open(self, path: Path, spec: Spec, variant: str, setting: Setting) -> TorchSession:
        """Build the model on the setting's device."""
        return TorchSession(import_source(path), spec, setting)


def _activation(function: Activation, value: str, shape: tuple[int, ...]) -> str:
    if function == "linear":
        return value
    if function == "relu":
        return f"F.relu({value})"
    # NHWC's last axis is axis 1 of the NCHW shape that torch sees.
    return f"F.softmax({value}, dim={1 if len(shape) == 3 else -1})"


def _tuple(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"({pair[0]}, {pair[1]})"


def _constructor(node: Node) -> str:
    """Return the line of `__init__` that makes the layer; empty where it has no state."""
    symmetric = all(before == after for before, after in node.pads)
    padding = (node.pads[0][0], node.pads[1][0])
    match node.layer:
        case Conv2D() as layer:
            text = f"nn.Conv2d({node.input_shape[2]}, {layer.filters}, {_tuple(layer.kernel)}"
            text += f", stride={_tuple(layer.stride)}" if layer.stride != (1, 1) else ""
            text += f", padding={_tuple(padding)}" if symmetric and any(padding) else ""
            return text + ("" if layer.bias else ", bias=False") + ")"
        case MaxPool() as layer:
            text = f"nn.MaxPool2d({_tuple(layer.size)}"
            text += f", stride={_tuple(layer.steps)}" if layer.steps != layer.size else ""
            return (
                text + (f", padding={_tuple(padding)}" if symmetric and any(padding) else "") + ")"
            )
        case Dense() as layer:
            bias = "" if layer.bias else ", bias=False"
            return f"nn.Linear({node.input_shape[0]}, {layer.units}{bias})"
        case Dropout() as layer:
            return f"nn.Dropout({layer.rate})"
        case ActivationLayer() if node.activation == "linear":
            return "nn.Identity()"
    return ""


def _forward(node: Node) -> list[str]:
    """Return the lines of `forward` that apply the layer."""
    name = node.name
    match node.layer:
        case Flatten() if len(node.input_shape) == 3:
            return [f"x = x.permute(0, 2, 3, 1).flatten(1)  # {name}: rows, columns, channels"]
        case Flatten():
            return [f"x = x.flatten(1)  # {name}"]
        case Conv2D() | MaxPool() | Dense() | Dropout() as layer:
            lines = []
            (top, bottom), (left, right) = node.pads
            if (top, left) != (bottom, right):
                fill = ', value=float("-inf")' if isinstance(layer, MaxPool) else ""
                lines.append(f"x = F.pad(x, ({left}, {right}, {top}, {bottom}){fill})")
            value = _activation(node.activation, f"self.{name}(x)", node.output_shape)
            return [*lines, f"x = {value}"]
        case ActivationLayer() as layer if node.activation == "linear":
            remark = "  # its softmax is in the loss" if layer.function == "softmax" else ""
            return [f"x = self.{name}(x){remark}"]
    return [f"x = {_activation(node.activation, 'x', node.output_shape)}  # {name}"]


def _write_model(write: SourceWriter, spec: Spec, network: Network) -> None:
    height, width, channels = spec.input
    write("class Model(nn.Module):")
    outputs = network.output_shape[0]
    write(f'"""From images [n, {channels}, {height}, {width}] to logits [n, {outputs}]."""\n', 1)
    write("def __init__(self):", 1)
    write("super().__init__()", 2)
    for node in network.nodes:
        if constructor := _constructor(node):
            write(f"self.{node.name} = {constructor}", 2)
    write()
    write("def forward(self, x):", 1)
    for node in network.nodes:
        for line in _forward(node):
            write(line, 2)
    write("return x\n\n", 2)


def _write_loss(write: SourceWriter, spec: Spec) -> None:
    write("def loss_fn(outputs, targets):")
    if spec.training.loss == "cross_entropy":
        write(
            "return F.cross_entropy(outputs, targets)  # softmax included; mean over the batch\n\n",
            1,
        )
    else:
        write("return F.mse_loss(outputs, targets)\n\n", 1)


def _write_optimizer(write: SourceWriter, spec: Spec) -> None:
    optimizer = spec.training.optimizer
    write("def make_optimizer(model):")
    write("return torch.optim." + ("Adam(" if isinstance(optimizer, Adam) else "SGD("), 1)
    write("model.parameters(),", 2)
    write(f"lr={optimizer.learning_rate!r},", 2)
    if isinstance(optimizer, Adam):
        write(f"betas=({optimizer.beta1!r}, {optimizer.beta2!r}),", 2)
        write(f"eps={optimizer.epsilon!r},", 2)
    elif optimizer.momentum:
        write(f"momentum={optimizer.momentum!r},", 2)
        if optimizer.nesterov:
            write("nesterov=True,", 2)
    write("fused=True,", 2)
    write(")\n\n", 1)


TRAIN = '''def train_step(model, optimizer, images, targets):
    loss = loss_fn({forward}images), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def train(model, optimizer, images, targets, order, learning_rates):
    """Train on one batch of row numbers after another; return the loss of each step.

    `images` is [n, h, w, c]: seen as NCHW, it is in channels-last memory format.
    """
    model.train()
    losses = []
    for batch, learning_rate in zip(order, learning_rates):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        batch_images = images[batch].permute(0, 3, 1, 2)
        losses.append(train_step(model, optimizer, batch_images, targets[batch]))
    return torch.stack(losses)


def predict(model, images):
    """Return the logits of images [n, h, w, c], in evaluation mode."""
    model.eval()
    with torch.inference_mode():
        return {forward}images.permute(0, 3, 1, 2))'''


def _write_train(write: SourceWriter, variant: str) -> None:
    if variant == "compile":
        write("@torch.compile(dynamic=False)\ndef forward(model, images):")
        write("return model(images)\n\n", 1)
    write(TRAIN.format(forward="forward(model, " if variant == "compile" else "model("))


class TorchSession:
    """A generated module on one device."""

    def __init__(self, module: Any, spec: Spec, setting: Setting) -> None:
        import torch

        self.torch = torch
        self.module = module
        self.spec = spec
        self.network = infer(spec)
        self.dtype = getattr(torch, setting.precision)
        self.device = torch.device("cuda" if setting.device == "gpu" else "cpu")
        self.model = module.Model().to(self.device, memory_format=torch.channels_last)
        self.optimizer = module.make_optimizer(self.model)
        self._multipliers: dict[str, Any] = {}

    def load(self, images: Floats, targets: Array) -> None:
        """Copy the training set to the device; class numbers become int64, as torch wants them."""
        self.images = self._put(images)
        self.targets = self._put(targets)

    def reset(self, parameters: Mapping[str, Floats], seed: int) -> None:
        """Set parameters, and make a new optimizer and random state."""
        torch = self.torch
        torch.manual_seed(seed)
        with torch.no_grad():
            for path, tensor in self._tensors():
                tensor.copy_(self._put(_to_torch(path, parameters[path])))
        self.optimizer = self.module.make_optimizer(self.model)

    def train(
        self,
        order: Integers,
        learning_rates: Floats,
        masks: Sequence[Mapping[str, Floats]] | None = None,
    ) -> Floats:
        """Run the generated training loop; with masks, step by step."""
        rows = self._put(order)
        rates = [float(rate) for rate in learning_rates]
        arguments = (self.model, self.optimizer, self.images, self.targets)
        if masks is None:
            return self._get(self.module.train(*arguments, rows, rates))
        losses = []
        for step, mask in enumerate(masks):
            with self._dropout_by(mask):
                losses.append(
                    self._get(
                        self.module.train(*arguments, rows[step : step + 1], rates[step : step + 1])
                    )
                )
        return np.concatenate(losses)

    def predict(self, images: Floats) -> Floats:
        """Return logits, in evaluation mode."""
        return self._get(self.module.predict(self.model, self._put(images)))

    def activations(self, images: Floats) -> dict[str, Floats]:
        """Apply the generated forward pass, layer by layer."""
        self.model.eval()
        with self.torch.inference_mode():
            outputs = layer_outputs(
                self.module.Model.forward,
                [node.name for node in self.network.nodes],
                self=self.model,
                x=self._put(images).permute(0, 3, 1, 2),
            )
        return {
            name: self._get(value.permute(0, 2, 3, 1) if value.dim() == 4 else value)
            for name, value in outputs.items()
        }

    def gradients(
        self, images: Floats, targets: Array, masks: Mapping[str, Floats] | None = None
    ) -> Gradients:
        """Run one backward pass through the generated model and loss."""
        self.model.train()
        x = self._put(images).requires_grad_()
        self.model.zero_grad()
        with self._dropout_by(masks or {}):
            outputs = self._forward(x.permute(0, 3, 1, 2))
        loss = self.module.loss_fn(outputs, self._put(targets))
        loss.backward()
        parameters = {
            path: _from_torch(path, self._get(tensor.grad)) for path, tensor in self._tensors()
        }
        self.model.zero_grad()
        return Gradients(loss.item(), self._get(outputs), parameters, self._get(x.grad))

    def state(self) -> dict[str, Floats]:
        """Return the parameters by path."""
        return {path: _from_torch(path, self._get(tensor)) for path, tensor in self._tensors()}

    def peak_device_bytes(self) -> int | None:
        """Most bytes that torch's allocator held on the GPU."""
        if self.device.type == "cpu":
            return None
        return int(self.torch.cuda.max_memory_allocated(self.device))

    def close(self) -> None:
        """Drop model and data."""
        del self.model, self.optimizer
        self.images = self.targets = None

    def _forward(self, x: Any) -> Any:
        """Apply the model as training does: compiled where the source compiles it."""
        compiled = getattr(self.module, "forward", None)
        return compiled(self.model, x) if compiled else self.model(x)

    def _tensors(self) -> Iterator[tuple[str, Any]]:
        for parameter in self.network.parameters:
            layer, _, role = parameter.path.rpartition(".")
            owner = self.model.get_submodule(layer)
            yield parameter.path, owner.weight if role == "kernel" else owner.bias

    def _put(self, array: Array) -> Any:
        dtype = self.dtype if np.issubdtype(array.dtype, np.floating) else self.torch.int64
        return self.torch.tensor(array, dtype=dtype, device=self.device)

    def _get(self, tensor: Any) -> Array:
        """Copy: on the CPU, torch's arrays are views of memory that the next step changes."""
        return np.array(tensor.detach().cpu().numpy())

    @contextmanager
    def _dropout_by(self, masks: Mapping[str, Floats]) -> Iterator[None]:
        """Multiply by the given masks where the model drops out at random; by 1 where none is."""
        originals = {node.name: getattr(self.model, node.name) for node in self.network.dropouts}
        try:
            for name in originals:
                setattr(self.model, name, self._multiplier(name, masks.get(name)))
            yield
        finally:
            for name, module in originals.items():
                setattr(self.model, name, module)

    def _multiplier(self, name: str, mask: Floats | None) -> Any:
        """Return the layer's own multiplier, made once, so that nothing is compiled twice."""
        factor = self._put(np.ones(()) if mask is None else mask)
        if factor.dim() == 4:
            factor = factor.permute(0, 3, 1, 2)
        module = self._multipliers.setdefault(name, _multiply_class(self.torch)())
        module.factor = factor
        return module


@functools.cache
def _multiply_class(torch: Any) -> Any:
    class Multiply(torch.nn.Module):  # type: ignore[misc]
        """Multiplies by `factor`."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("factor", None)

        def forward(self, x: Any) -> Any:
            return x * self.factor

    return Multiply


def _to_torch(path: str, array: Floats) -> Floats:
    """From `[kh, kw, in, out]` to `[out, in, kh, kw]`, from `[in, out]` to `[out, in]`."""
    if path.endswith(".bias"):
        return array
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _from_torch(path: str, array: Floats) -> Floats:
    if path.endswith(".bias"):
        return array
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
