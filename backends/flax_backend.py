"""Flax: an nnx.Module trained with optax, each step one compiled XLA program."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from typing import Any, ClassVar, get_args
from unittest.mock import patch

import numpy as np

from backends.flax_program import flax_dialect
from backends.flax_source import flax_source
from backends.programs import write_program
from backends.stepwise import layer_outputs, reach
from backends.xla_tuning import tuned_xla
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
from harness.spec import Address, ChannelScale, Conv2DTranspose, Network, Spec, addresses, infer


class FlaxBackend:
    """`flax` has one variant: the model is compiled in any case."""

    name = "flax"
    variants: ClassVar = {"": ("jax", "flax", "optax")}
    in_all = True
    precisions: ClassVar = {"": get_args(Precision)}
    tuned: ClassVar = {"": tuned_xla()}

    def prepare(self, variant: str, setting: Setting) -> None:
        """Import JAX and Flax, and choose device and precision.

        `setting.threads` is not set here: XLA has no such option, but on the CPU runs as many
        threads as the process may use cores when its first array is made. So the number of
        threads is that of the process's CPU affinity, which the harness sets before this.

        With `setting.device == "cpu"` the process sees no GPU at all: none of its memory is
        touched, and none of its start-up counts. To list the GPUs, prepare for "gpu".
        """
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        if setting.precision == "bfloat16":
            # By default XLA leaves out what it takes for needless roundings, those of logits too.
            flags = os.environ.get("XLA_FLAGS", "")
            os.environ["XLA_FLAGS"] = f"{flags} --xla_allow_excess_precision=false".strip()
        import jax

        if setting.device == "cpu":
            jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_enable_x64", setting.precision == "float64")
        # TF32 keeps ten bits of the mantissa; the spec's float32 means all twenty-three.
        products = "tensorfloat32" if setting.precision == "tf32" else "highest"
        jax.config.update("jax_default_matmul_precision", products)
        # The generated file needs these; their import is to count here, not in `open`.
        import flax.nnx  # noqa: F401
        import optax  # noqa: F401

    def versions(self) -> dict[str, str]:
        """Return Flax's version, and those of JAX, XLA (in jaxlib) and optax."""
        import flax
        import jax
        import jaxlib
        import optax

        return {
            "flax": flax.__version__,
            "jax": jax.__version__,
            "jaxlib": jaxlib.__version__,
            "optax": optax.__version__,
        }

    def devices(self) -> list[DeviceInfo]:
        """Return the CPU, and the first GPU that JAX sees; see `prepare`."""
        import jax

        found = [DeviceInfo("cpu", "cpu")]
        gpus = [device for device in jax.devices() if device.platform == "gpu"]
        return found + [DeviceInfo("gpu", device.device_kind) for device in gpus[:1]]

    def source(self, spec: Spec, variant: str, precision: Precision = "float32") -> str:
        """Write the module, the loss, the optimizer and the training loop."""
        return flax_source(spec, mixed=precision == "bfloat16")

    def script(self, spec: Spec, variant: str) -> str:
        """Write the source as a program."""
        source = self.source(spec, variant)
        return write_program(spec, source, flax_dialect(spec, source))

    def open(self, path: Path, spec: Spec, variant: str, setting: Setting) -> FlaxSession:
        """Build the model on the setting's device."""
        return FlaxSession(import_source(path), spec, setting)

    def probe(self, kind: ProbeKind, size: int, setting: Setting) -> Callable[[], object]:
        """Return a product, a convolution or a copy, each compiled by XLA."""
        import jax
        from jax import numpy as jnp

        jax.config.update("jax_default_device", jax.devices(setting.device)[0])
        keys = jax.random.split(jax.random.key(0))

        def draw(*shapes: tuple[int, ...]) -> list[Any]:
            return [
                jax.random.normal(k, s, setting.factors) for k, s in zip(keys, shapes, strict=True)
            ]

        if kind == "product":
            work, arrays = jax.jit(jnp.matmul), draw((size, size), (size, size))
        elif kind == "convolution":
            axes = {"window_strides": (1, 1), "padding": "SAME"}
            layout = ("NHWC", "HWIO", "NHWC")
            work = jax.jit(partial(jax.lax.conv_general_dilated, **axes, dimension_numbers=layout))
            arrays = draw((size, 56, 56, 128), (3, 3, 128, 128))
        else:
            work, arrays = partial(jnp.array, copy=True), [jnp.ones(size, jnp.uint8)]
        return lambda: jax.block_until_ready(work(*arrays))


NNX_ROLES = {"offset": "bias", "variance": "var"}  # the others are called as in a spec's paths
SLOTS = {  # what optax's states call what they keep
    ("sgd", "velocity"): "trace",
    ("adam", "first_moment"): "mu",
    ("adam", "second_moment"): "nu",
    ("adamw", "first_moment"): "mu",
    ("adamw", "second_moment"): "nu",
    ("rmsprop", "mean_square"): "nu",
    ("rmsprop", "velocity"): "trace",
}
MODE = {"training": True}  # what a model with batch norm takes beside images

Places = dict[str, Address]  # where nnx's nested dictionaries have each array, by its path


def _places(network: Network, kind: str) -> Places:
    """Return the places of all `parameters`, or of all `statistics`."""
    layers, places = addresses(network.parts), {}
    for node in network.nodes:
        is_alone = isinstance(node.layer, ChannelScale)  # an nnx.Param itself
        for parameter in getattr(node, kind):
            role = () if is_alone else (NNX_ROLES.get(parameter.role, parameter.role),)
            places[parameter.path] = (*layers[node.path], *role)
    return places


class FlaxSession:
    """A generated module on one device: the model's structure, and its state as arrays.

    Its variables are the parameters and, where there is a batch norm, its running statistics.
    """

    def __init__(self, module: Any, spec: Spec, setting: Setting) -> None:
        import jax

        self.jax = jax
        self.module = module
        self.network = infer(spec)
        self.optimizer = spec.training.optimizer
        self.addresses = addresses(self.network.parts)
        self.places = [_places(self.network, "parameters")]
        if self.network.statistics:
            self.places.append(_places(self.network, "statistics"))
        self.mirrored = {
            f"{node.path}.kernel"
            for node in self.network.nodes
            if isinstance(node.layer, Conv2DTranspose)
        }
        self.dtype = np.dtype(setting.storage)
        self.device = jax.devices(setting.device)[0]
        jax.config.update("jax_default_device", self.device)
        # The structure only: initial weights come from the harness, by `reset`.
        self.graphdef, self.state_now = jax.eval_shape(module.init)
        self._outputs = jax.jit(self._layer_outputs, static_argnums=4)
        self._masked_step = jax.jit(self._with_masks(module.train_step.__wrapped__))
        self._differentiate = jax.jit(self._with_masks(self._loss_and_gradients))

    def load(self, images: Floats, targets: Array) -> None:
        """Copy the training set to the device."""
        self.images = self._put(images)
        self.targets = self._put(targets)

    def reset(self, parameters: Mapping[str, Floats], seed: int) -> None:
        """Set parameters and statistics, and make a new optimizer state and random key."""
        variables = [self._nested(places, parameters) for places in self.places]
        self.state_now = self.module.init_state(*variables, seed)

    def train(
        self,
        order: Integers,
        learning_rates: Floats,
        masks: Sequence[Mapping[str, Floats]] | None = None,
    ) -> Floats:
        """Run the generated training loop; with masks, step by step.

        The rows of `order` stay NumPy arrays: to hand each to its step costs less than to put
        them on the device first, and a step's dispatch copies it.
        """
        rows = order.astype(np.int32)
        rates = learning_rates.tolist()
        if masks is None:
            return self._train(rows, rates)
        losses = []
        for step, mask in enumerate(masks):
            masked_step = partial(self._masked_step, self._factors(mask))
            with patch.object(self.module, "train_step", masked_step):
                losses.append(self._train(rows[step : step + 1], rates[step : step + 1]))
        return np.concatenate(losses)

    def predict(self, images: Floats) -> Floats:
        """Return logits, in evaluation mode."""
        images = np.asarray(images, self.dtype)
        return self._get(self.module.predict(self.graphdef, *self._variables(), images))

    def activations(
        self,
        images: Floats,
        masks: Mapping[str, Floats] | None = None,
        training: bool = False,
    ) -> dict[str, Floats]:
        """Apply the generated forward pass, layer by layer."""
        given = (self._factors(masks or {}), self.graphdef, self._variables(), self._put(images))
        outputs = self._outputs(*given, training)
        return {node.path: self._get(outputs[node.path]) for node in self.network.nodes}

    def gradients(
        self, images: Floats, targets: Array, masks: Mapping[str, Floats] | None = None
    ) -> Gradients:
        """Differentiate the generated model and loss; the statistics stay as they are."""
        (loss, logits), (parameters, images_gradient) = self._differentiate(
            self._factors(masks or {}),
            self.graphdef,
            self._variables(),
            self._put(images),
            self._put(targets),
        )
        return Gradients(
            float(loss), self._get(logits), self._by_path([parameters]), self._get(images_gradient)
        )

    def state(self) -> dict[str, Floats]:
        """Return the parameters and statistics by path."""
        return self._by_path(self._variables())

    def optimizer_state(self) -> dict[str, Floats]:
        """Return the optimizer's slots, which optax nests as the parameters."""
        from optax import tree_utils

        found = {}
        for slot in self.optimizer.slots:
            kept = tree_utils.tree_get(self.state_now.opt_state, SLOTS[self.optimizer.type, slot])
            # optax's RMSprop turns the sign before its momentum, and keeps the velocity so.
            sign = -1 if (self.optimizer.type, slot) == ("rmsprop", "velocity") else 1
            values = self._by_path([kept])
            found |= {f"{path}.{slot}": sign * value for path, value in values.items()}
        return found

    def peak_device_bytes(self) -> int | None:
        """Most bytes that XLA's allocator held on the GPU."""
        if self.device.platform == "cpu":
            return None
        statistics = self.device.memory_stats() or {}
        return statistics.get("peak_bytes_in_use")

    def close(self) -> None:
        """Drop model and data."""
        self.state_now = self.images = self.targets = None

    def _layer_outputs(
        self,
        factors: Mapping[str, Any],
        graphdef: Any,
        variables: Sequence[Any],
        x: Any,
        training: bool,
    ) -> dict[str, Any]:
        model = self._model(graphdef, *variables)
        if training:
            self._replace_dropout(model, factors)
        return layer_outputs(model, self.network, "__call__", x=x, training=training, rngs=None)

    def _train(self, rows: Integers, rates: Sequence[float]) -> Floats:
        self.state_now, losses = self.module.train(
            self.graphdef, self.state_now, self.images, self.targets, rows, rates
        )
        return self._get(losses)

    def _loss_and_gradients(self, graphdef: Any, variables: Any, images: Any, targets: Any) -> Any:
        """Return ((loss, logits), gradients of parameters and images), dropout by masks."""
        params, *statistics = variables
        mode = MODE if statistics else {}

        def batch_loss(params: Any, images: Any) -> Any:
            logits = self._model(graphdef, params, *statistics)(images, **mode)
            return self.module.loss_fn(logits, targets), logits

        differentiate = self.jax.value_and_grad(batch_loss, argnums=(0, 1), has_aux=True)
        return differentiate(params, images)

    def _with_masks(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` with a new first argument: what multiplies each dropout's input.

        The generated model is patched while it is traced for this check, never where it is
        timed; the masks are arguments, so that it is traced once.
        """

        def masked(factors: Mapping[str, Any], *arguments: Any) -> Any:
            call = self.module.Model.__call__

            def call_with_masks(model: Any, x: Any, *, rngs: Any = None, **mode: Any) -> Any:
                self._replace_dropout(model, factors)
                return call(model, x, **mode)

            with patch.object(self.module.Model, "__call__", call_with_masks):
                return function(*arguments)

        return masked

    def _replace_dropout(self, model: Any, factors: Mapping[str, Any]) -> None:
        """Have a model multiply by the factors where it drops out."""
        for path, factor in factors.items():
            *owner, name = self.addresses[path]
            dropout = lambda x, factor=factor, **_: (x * factor).astype(x.dtype)  # noqa: E731
            setattr(reach(model, tuple(owner)), str(name), dropout)

    def _factors(self, masks: Mapping[str, Floats]) -> dict[str, Any]:
        """Return a multiplier for every dropout layer: 1 where no mask is given."""
        paths = [node.path for node in self.network.dropouts]
        return {path: self._put(masks.get(path, np.ones(()))) for path in paths}

    def _variables(self) -> list[Any]:
        """Return parameters and, where there is a batch norm, statistics, as nnx nests them."""
        state = self.state_now
        return [state.params, state.batch_stats] if self.network.statistics else [state.params]

    def _model(self, graphdef: Any, *variables: Any) -> Any:
        from flax import nnx

        return nnx.merge(graphdef, *variables)

    def _by_path(self, variables: Sequence[Any]) -> dict[str, Floats]:
        """Return variables, or gradients of the first, in canonical layout."""
        return {
            path: self._mirrored(path, self._get(reduce(getitem, place, values)))
            for places, values in zip(self.places, variables, strict=False)
            for path, place in places.items()
        }

    def _nested(self, places: Places, arrays: Mapping[str, Floats]) -> dict[str, Any]:
        """Return the arrays on the device, as nnx nests them."""
        nested: dict[str, Any] = {}
        for path, (*holders, last) in places.items():
            inner: dict[str | int, Any] = nested
            for name in holders:
                inner = inner.setdefault(name, {})
            inner[last] = self._put(self._mirrored(path, arrays[path]))
        return nested

    def _mirrored(self, path: str, array: Array) -> Array:
        """Turn between canonical and nnx's layout, which differ in transposed convolutions only.

        lax.conv_transpose does not flip the kernel.
        """
        return array[::-1, ::-1] if path in self.mirrored else array

    def _put(self, array: Array) -> Any:
        """Copy to the device: a step may donate the memory, and so must own it."""
        dtype = self.dtype if np.issubdtype(array.dtype, np.floating) else np.int32
        return self.jax.numpy.array(array, dtype)

    def _get(self, array: Any) -> Array:
        """Wait for the device, and copy: the memory may be donated to the next step."""
        is_narrow = array.dtype == self.jax.numpy.bfloat16  # which NumPy has not
        return np.array(array, self.dtype if is_narrow else None)
