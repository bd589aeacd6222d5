"""PyTorch: an nn.Module in channels-last layout, its own loss and optimizer, eager or compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, get_args
from unittest import mock

import numpy as np

from backends.programs import write_program
from backends.stepwise import layer_outputs, reach
from backends.torch_program import torch_dialect
from backends.torch_source import torch_source
from harness.contract import (
    Array,
    DeviceInfo,
    Floats,
    Gradients,
    Integers,
    Precision,
    ProbeKind,
    Setting,
    import_source,
)
from harness.spec import Conv2DTranspose, Parameter, Spec, addresses, infer


class TorchBackend:
    """`torch` runs eagerly; `torch@compile` compiles the forward and backward pass.

    On a GPU these are CUDA graphs, whose outputs the next replay overwrites: a session copies them.
    """

    name = "torch"
    variants: ClassVar = {"": ("torch",), "compile": ("torch",)}
    in_all = True
    precisions: ClassVar = {"": get_args(Precision), "compile": get_args(Precision)}

    def prepare(self, variant: str, setting: Setting) -> None:
        """Import torch, and set threads and full float32 precision."""
        import torch

        torch.set_num_threads(setting.threads)
        torch.set_default_dtype(getattr(torch, setting.storage))
        # TF32 keeps ten bits of the mantissa; the spec's float32 means all twenty-three.
        torch.backends.cuda.matmul.allow_tf32 = setting.precision == "tf32"
        torch.backends.cudnn.allow_tf32 = setting.precision == "tf32"
        # By default cuBLAS may add up parts of a product in bfloat16, for which it is not meant.
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
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

    def source(self, spec: Spec, variant: str, precision: Precision = "float32") -> str:
        """Write the module, the loss, the optimizer and the training loop."""
        return torch_source(spec, variant, mixed=precision == "bfloat16")

    def script(self, spec: Spec, variant: str) -> str:
        """Write the source as a program."""
        return write_program(spec, self.source(spec, variant), torch_dialect(spec, variant))

    def open(self, path: Path, spec: Spec, variant: str, setting: Setting) -> TorchSession:
        """Build the model on the setting's device."""
        if variant == "compile":
            import torch._dynamo.config as dynamo

            # Every shape is a program of its own, and by default the ninth would run eagerly.
            dynamo.recompile_limit = MOST_SHAPES
        return TorchSession(import_source(path), spec, setting)

    def probe(self, kind: ProbeKind, size: int, setting: Setting) -> Callable[[], object]:
        """Return a product, a convolution in channels-last memory, or a copy."""
        import torch

        device = torch.device("cuda" if setting.device == "gpu" else "cpu")
        kept = {"dtype": getattr(torch, setting.factors), "device": device}
        if kind == "product":
            a, b = torch.randn(size, size, **kept), torch.randn(size, size, **kept)
            work = functools.partial(torch.mm, a, b, out=torch.empty_like(a))
        elif kind == "convolution":
            lies = {"memory_format": torch.channels_last}
            images = torch.randn(size, 128, 56, 56, **kept).to(**lies)
            kernel = torch.randn(128, 128, 3, 3, **kept).to(**lies)
            work = functools.partial(torch.nn.functional.conv2d, images, kernel, padding=1)
        else:
            source = torch.ones(size, dtype=torch.uint8, device=device)
            work = functools.partial(torch.empty_like(source).copy_, source)

        def run() -> None:
            with torch.inference_mode():
                work()
            if device.type == "cuda":
                torch.cuda.synchronize()

        return run


MOST_SHAPES = 256  # that torch.compile makes programs for, of one function

ATTRIBUTES = {  # what torch's modules call a parameter, by its role
    "kernel": "weight",
    "bias": "bias",
    "scale": "weight",
    "offset": "bias",
    "mean": "running_mean",
    "variance": "running_var",
}

SLOTS = {  # what torch's optimizers call what they keep
    "velocity": "momentum_buffer",
    "first_moment": "exp_avg",
    "second_moment": "exp_avg_sq",
    "mean_square": "square_avg",
}


class TorchSession:
    """A generated module on one device."""

    def __init__(self, module: Any, spec: Spec, setting: Setting) -> None:
        import torch

        self.torch = torch
        self.module = module
        self.spec = spec
        self.network = infer(spec)
        self.addresses = addresses(self.network.parts)
        self.everything = (*self.network.parameters, *self.network.statistics)
        self.transposed = {
            f"{node.path}.kernel"
            for node in self.network.nodes
            if isinstance(node.layer, Conv2DTranspose)
        }
        self.dtype = getattr(torch, setting.storage)
        self.device = torch.device("cuda" if setting.device == "gpu" else "cpu")
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        kept = formats.get(len(spec.input) + 1, torch.preserve_format)
        self.model = module.Model().to(self.device, memory_format=kept)
        self.optimizer = module.make_optimizer(self.model)
        self._multipliers: dict[str, Any] = {}

    def load(self, images: Floats, targets: Array) -> None:
        """Copy the training set to the device; class numbers become int64, as torch wants them."""
        self.images = self._put(images)
        self.targets = self._put(targets)

    def reset(self, parameters: Mapping[str, Floats], seed: int) -> None:
        """Set parameters and running statistics, and make a new optimizer and random state."""
        torch = self.torch
        torch.manual_seed(seed)
        with torch.no_grad():
            for path, tensor in self._tensors(self.everything):
                tensor.copy_(self._put(_to_torch(parameters[path], path in self.transposed)))
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

    def activations(
        self,
        images: Floats,
        masks: Mapping[str, Floats] | None = None,
        training: bool = False,
    ) -> dict[str, Floats]:
        """Apply the generated forward pass, layer by layer."""
        self.model.train(training)
        with self._dropout_by(masks or {}), self._keeping_statistics(), self.torch.no_grad():
            outputs = self._layer_outputs(self._put(images).movedim(-1, 1))
        return {name: self._get(value.movedim(1, -1)) for name, value in outputs.items()}

    def gradients(
        self, images: Floats, targets: Array, masks: Mapping[str, Floats] | None = None
    ) -> Gradients:
        """Run one backward pass through the generated model and loss."""
        self.model.train()
        x = self._put(images).requires_grad_()
        self.model.zero_grad()
        with self._dropout_by(masks or {}), self._keeping_statistics():
            outputs = self._forward(x.movedim(-1, 1))
        loss = self.module.loss_fn(outputs, self._put(targets))
        loss.backward()
        parameters = {
            path: _from_torch(self._get(tensor.grad), path in self.transposed)
            for path, tensor in self._tensors(self.network.parameters)
        }
        self.model.zero_grad()
        return Gradients(loss.item(), self._get(outputs), parameters, self._get(x.grad))

    def state(self) -> dict[str, Floats]:
        """Return the parameters and running statistics by path."""
        return {
            path: _from_torch(self._get(tensor), path in self.transposed)
            for path, tensor in self._tensors(self.everything)
        }

    def optimizer_state(self) -> dict[str, Floats]:
        """Return the optimizer's slots; torch makes them in the first step."""
        found = {}
        for path, tensor in self._tensors(self.network.parameters):
            kept = self.optimizer.state.get(tensor, {})
            for slot in self.spec.training.optimizer.slots:
                value = kept.get(SLOTS[slot])
                array = self._get(self.torch.zeros_like(tensor) if value is None else value)
                found[f"{path}.{slot}"] = _from_torch(array, path in self.transposed)
        return found

    def peak_device_bytes(self) -> int | None:
        """Most bytes that torch's allocator held on the GPU."""
        if self.device.type == "cpu":
            return None
        return int(self.torch.cuda.max_memory_allocated(self.device))

    def close(self) -> None:
        """Drop model and data."""
        del self.model, self.optimizer
        self.images = self.targets = None

    def _layer_outputs(self, x: Any) -> dict[str, Any]:
        """Run the forward pass statement by statement, within what the source has around it."""
        found: dict[str, Any] = {}

        def forward(x: Any) -> Any:
            keep = self.torch.clone  # the next statement may overwrite it
            found.update(layer_outputs(self.model, self.network, "forward", keep, x=x))
            return x

        with (
            self.torch.compiler.set_stance("force_eager"),
            mock.patch.object(self.model, "forward", forward),
        ):
            self._forward(x)
        return found

    def _forward(self, x: Any) -> Any:
        """Apply the model as training does: compiled where the source compiles it."""
        compiled = getattr(self.module, "forward", None)
        return compiled(self.model, x) if compiled else self.model(x)

    def _tensors(self, parameters: Iterable[Parameter]) -> Iterator[tuple[str, Any]]:
        for parameter in parameters:
            path, _, role = parameter.path.rpartition(".")
            layer = self._layer(path)
            is_alone = isinstance(layer, self.torch.nn.Parameter)
            yield parameter.path, layer if is_alone else getattr(layer, ATTRIBUTES[role])

    def _owner(self, path: str) -> Any:
        """Return the module that holds a layer as an attribute."""
        return reach(self.model, self.addresses[path][:-1])

    def _layer(self, path: str) -> Any:
        return reach(self.model, self.addresses[path])

    @contextmanager
    def _keeping_statistics(self) -> Iterator[None]:
        """Leave the running statistics as they were."""
        before = [(t, t.clone()) for _, t in self._tensors(self.network.statistics)]
        try:
            yield
        finally:
            for tensor, value in before:
                tensor.copy_(value)

    def _put(self, array: Array) -> Any:
        dtype = self.dtype if np.issubdtype(array.dtype, np.floating) else self.torch.int64
        return self.torch.tensor(array, dtype=dtype, device=self.device)

    def _get(self, tensor: Any) -> Array:
        """Copy: on the CPU, torch's arrays are views of memory that the next step changes."""
        is_narrow = tensor.is_floating_point() and tensor.element_size() < 4
        return np.array((tensor.float() if is_narrow else tensor).detach().cpu().numpy())

    @contextmanager
    def _dropout_by(self, masks: Mapping[str, Floats]) -> Iterator[None]:
        """Multiply by the given masks where the model drops out at random; by 1 where none is."""
        originals = {node.path: self._layer(node.path) for node in self.network.dropouts}
        try:
            for path in originals:
                self._put_layer(path, self._multiplier(path, masks.get(path)))
            yield
        finally:
            for path, module in originals.items():
                self._put_layer(path, module)

    def _put_layer(self, path: str, module: Any) -> None:
        setattr(self._owner(path), str(self.addresses[path][-1]), module)

    def _multiplier(self, path: str, mask: Floats | None) -> Any:
        """Return the layer's own multiplier, made once, so that nothing is compiled twice."""
        factor = self._put(np.ones(()) if mask is None else mask)
        if factor.dim() > 2:
            factor = factor.movedim(-1, 1)
        module = self._multipliers.setdefault(path, _multiply_class(self.torch)())
        module.factor = factor
        return module


@functools.cache
def _multiply_class(torch: Any) -> Any:
    class Multiply(torch.nn.Module):  # type: ignore[misc]
        """Multiplies by `factor`, and returns what is of the type of `x`."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("factor", None)

        def forward(self, x: Any) -> Any:
            return (x * self.factor).to(x.dtype)

    return Multiply


def _to_torch(array: Floats, is_transposed: bool) -> Floats:
    """From `[kh, kw, in, out]` to `[out, in, kh, kw]`, from `[in, out]` to `[out, in]`.

    For a transposed convolution, to `[in, out, kh, kw]`.
    """
    if array.ndim < 2:
        return array
    ends = (-2, -1) if is_transposed else (-1, -2)
    return array.transpose(*(array.ndim + end for end in ends), *range(array.ndim - 2))


def _from_torch(array: Floats, is_transposed: bool) -> Floats:
    if array.ndim < 2:
        return array
    ends = (0, 1) if is_transposed else (1, 0)
    return array.transpose(*range(2, array.ndim), *ends)
