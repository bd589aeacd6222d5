"""Sessions of the Keras backend: what all have in common, and what each framework needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import numpy as np

from backends.keras_layers import layer_name
from harness.contract import Array, Floats, Gradients, Integers, Setting
from harness.spec import Conv2DTranspose, Parameter, Spec, infer

Factors = Mapping[
    str, Any
]  # by Keras's name of the layer, on the device: what multiplies a dropout's input

# What Keras calls the arrays of a layer.
ATTRIBUTES = {
    "kernel": "kernel",
    "bias": "bias",
    "scale": "gamma",
    "offset": "beta",
    "mean": "moving_mean",
    "variance": "moving_variance",
}

SLOTS = {  # where Keras's optimizers keep what the spec names
    ("SGD", "velocity"): "momentums",
    ("Adam", "first_moment"): "_momentums",
    ("Adam", "second_moment"): "_velocities",
    ("AdamW", "first_moment"): "_momentums",
    ("AdamW", "second_moment"): "_velocities",
    ("RMSprop", "mean_square"): "_velocities",
    ("RMSprop", "velocity"): "_momentums",
}


class KerasSession:
    """A generated module on one device.

    The subclass of each framework adds `_train`, `_train_masked`, `_predict`, `_differentiate` and
    `_peak_gpu_bytes`; torch has a `_seed` of its own.
    """

    def __init__(self, module: Any, spec: Spec, setting: Setting) -> None:
        import keras

        self.keras = keras
        self.module = module
        self.network = infer(spec)
        self.slots = spec.training.optimizer.slots
        self.device = f"{setting.device}:0"
        self.model = module.make_model()
        self.optimizer = module.make_optimizer(self.model)
        if setting.precision == "float64" and self.optimizer.weight_decay:
            # TensorFlow would make float32 of a Python float before Keras casts it to float64.
            self.optimizer.weight_decay = np.float64(self.optimizer.weight_decay)
        by_name = {layer.name: layer for layer in self.model.layers}
        self.layers = {node.path: by_name[layer_name(node.path)] for node in self.network.nodes}
        order = {id(v): number for number, v in enumerate(self.model.trainable_variables)}
        parameters = list(self._variables(self.network.parameters))
        self.parameters = sorted(parameters, key=lambda one: order[id(one[1])])
        self.statistics = list(self._variables(self.network.statistics))
        arrays = (*self.network.parameters, *self.network.statistics)
        convs = [n for n in self.network.nodes if isinstance(n.layer, Conv2DTranspose)]
        self.transposed = {f"{node.path}.kernel" for node in convs}
        self.shapes = {array.path: array.shape for array in arrays}

    def load(self, images: Floats, targets: Array) -> None:
        """Copy the training set to the device."""
        self.images = self._put(images)
        self.targets = self._put(targets)

    def reset(self, parameters: Mapping[str, Floats], seed: int) -> None:
        """Set all variables: the model's as given, the optimizer's zero, dropout's by seed."""
        for variable in self.optimizer.variables:
            variable.assign(self._put(np.zeros(variable.shape, variable.dtype)))
        for path, variable in (*self.parameters, *self.statistics):
            # A depthwise kernel is [h, w, channels, multiplier] in Keras, else [h, w, 1, filters].
            array = self._swapped(path, parameters[path]).reshape(variable.shape)
            variable.assign(self._put(array))
        self._seed(seed)

    def train(
        self,
        order: Integers,
        learning_rates: Floats,
        masks: Sequence[Mapping[str, Floats]] | None = None,
    ) -> Floats:
        """Run the generated training loop; with masks, step by step."""
        if masks is None:
            return self._get(self._train(order, learning_rates))
        losses = []
        for step, mask in enumerate(masks):
            one = slice(step, step + 1)
            loss = self._train_masked(order[one], learning_rates[one], self._factors(mask))
            losses.append(self._get(loss))
        return np.concatenate(losses)

    def predict(self, images: Floats) -> Floats:
        """Return logits, in evaluation mode."""
        return self._get(self._predict(self._put(images)))

    def activations(
        self,
        images: Floats,
        masks: Mapping[str, Floats] | None = None,
        training: bool = False,
    ) -> dict[str, Floats]:
        """Apply the model, and return what each of its layers makes of it."""
        outputs = {node.path: self.layers[node.path].output for node in self.network.nodes}
        model = self.keras.Model(self.model.inputs, outputs)
        with self._keeping_statistics(), self._dropout_by(self._factors(masks or {})):
            found = model(self._put(images), training=training)
        return {path: self._get(found[path]) for path in outputs}

    def gradients(
        self, images: Floats, targets: Array, masks: Mapping[str, Floats] | None = None
    ) -> Gradients:
        """Run one backward pass through the generated model and loss."""
        batch = (self._put(images), self._put(targets))
        with self._keeping_statistics():
            found = self._differentiate(*batch, self._factors(masks or {}))
        loss, logits, gradients, of_images = found
        paths = [path for path, _ in self.parameters]
        parameters = self._canonical(dict(zip(paths, gradients, strict=True)))
        mean = float(self._get(loss))
        return Gradients(mean, self._get(logits), parameters, self._get(of_images))

    def state(self) -> dict[str, Floats]:
        """Return parameters and statistics by path."""
        return self._canonical(dict((*self.parameters, *self.statistics)))

    def optimizer_state(self) -> dict[str, Floats]:
        """Return the optimizer's slots by path."""
        found: dict[str, Floats] = {}
        for slot in self.slots:
            kept = getattr(self.optimizer, SLOTS[type(self.optimizer).__name__, slot])
            of = {path: kept[i] for i, (path, _) in enumerate(self.parameters)}
            found |= {f"{path}.{slot}": value for path, value in self._canonical(of).items()}
        return found

    def peak_device_bytes(self) -> int | None:
        """Most bytes that the framework's allocator held on the GPU."""
        return None if "cpu" in self.device else self._peak_gpu_bytes()

    def close(self) -> None:
        """Drop model and data."""
        del self.model, self.optimizer
        self.images = self.targets = None

    def _canonical(self, found: Mapping[str, Any]) -> dict[str, Floats]:
        """Return arrays by path, in the order and the shapes of the network's."""
        return {
            path: self._swapped(path, self._get(found[path])).reshape(shape)
            for path, shape in self.shapes.items()
            if path in found
        }

    def _swapped(self, path: str, array: Floats) -> Floats:
        """Turn transposed convolutions' kernels round: in Keras they are [h, w, filters, in]."""
        return array.swapaxes(-1, -2) if path in self.transposed else array

    def _variables(self, parameters: Sequence[Parameter]) -> Iterator[tuple[str, Any]]:
        for parameter in parameters:
            layer, _, role = parameter.path.rpartition(".")
            yield parameter.path, getattr(self.layers[layer], ATTRIBUTES[role])

    def _seed(self, seed: int) -> None:
        """Give each dropout layer a seed of its own; Keras counts the steps in the second half."""
        for index, node in enumerate(self.network.dropouts):
            layer = self.layers[node.path]
            if layer.rate > 0:  # else it has no random numbers
                drawn = np.random.SeedSequence([seed, index]).generate_state(1)[0]
                state = layer.seed_generator.state
                state.assign(self._put(np.array([drawn >> 1, 0], state.dtype)))

    def _put(self, array: Array) -> Any:
        """Copy to the device, as a framework may share an array's memory and write to it."""
        is_float = np.issubdtype(array.dtype, np.floating)
        dtype = self.keras.config.floatx() if is_float else str(array.dtype)
        return self.keras.ops.array(np.array(array, dtype), dtype)

    def _get(self, tensor: Any) -> Array:
        """Wait for the device, and copy: the next step may change the memory."""
        found = np.array(self.keras.ops.convert_to_numpy(tensor))
        is_narrow = found.dtype.name == "bfloat16"  # a type that NumPy itself has not
        return found.astype(self.keras.config.floatx()) if is_narrow else found

    def _factors(self, masks: Mapping[str, Floats]) -> Factors:
        return {layer_name(path): self._put(mask) for path, mask in masks.items()}

    @contextmanager
    def _keeping_statistics(self) -> Iterator[None]:
        """Leave the running statistics as they were."""
        before = [(variable, self._get(variable)) for _, variable in self.statistics]
        try:
            yield
        finally:
            for variable, value in before:
                variable.assign(self._put(value))

    @contextmanager
    def _dropout_by(self, factors: Factors) -> Iterator[None]:
        """Multiply by the factors where the model drops out at random; leave out what has none."""

        def call(layer: Any, inputs: Any, training: bool = False) -> Any:
            if layer.name not in factors:
                return inputs
            ops = self.keras.ops
            return ops.cast(ops.multiply(inputs, factors[layer.name]), inputs.dtype)

        with mock.patch.object(self.keras.layers.Dropout, "call", call):
            yield


class TensorFlowSession(KerasSession):
    """Keras on TensorFlow: all steps in one tf.function."""

    def __init__(self, module: Any, spec: Spec, setting: Setting) -> None:
        import tensorflow as tf

        super().__init__(module, spec, setting)
        self.tf = tf
        self._traced: set[tuple[int, int]] = set()
        self._train_with_factors = tf.function(self._trained)
        self._differentiate_with_factors = tf.function(self._differentiated)

    def _train(self, order: Integers, learning_rates: Floats) -> Any:
        steps = (self.images, self.targets, self._put(order), self._put(learning_rates))
        return self._call(self.module.train, (self.model, self.optimizer), *steps)

    def _train_masked(self, order: Integers, learning_rates: Floats, factors: Factors) -> Any:
        steps = (self.images, self.targets, self._put(order), self._put(learning_rates))
        return self._call(self._train_with_factors, (), *steps, factors)

    def _trained(self, images: Any, targets: Any, order: Any, rates: Any, factors: Factors) -> Any:
        """Call the generated training loop, as Python, with its dropout given."""
        arguments = (self.model, self.optimizer, images, targets, order, rates)
        with self._dropout_by(factors):
            return self.module.train.python_function(*arguments)

    def _predict(self, images: Any) -> Any:
        return self._call(self.module.predict, (self.model,), images)

    def _differentiate(self, images: Any, targets: Any, factors: Factors) -> Any:
        return self._call(self._differentiate_with_factors, (), images, targets, factors)

    def _differentiated(self, images: Any, targets: Any, factors: Factors) -> Any:
        with self._dropout_by(factors), self.tf.GradientTape() as tape:
            tape.watch(images)
            logits = self.model(images, training=True)
            loss = self.module.loss_fn(targets, logits)
        parameters, of_images = tape.gradient(loss, (self.model.trainable_variables, images))
        return loss, logits, parameters, of_images

    def _call(self, function: Any, objects: tuple[Any, ...], *tensors: Any) -> Any:
        """Call a tf.function; trace it once for any number of images, of steps and of rows."""
        tf = self.tf
        key = (id(function), len(tf.nest.flatten(tensors)))
        if key not in self._traced:

            def loose(tensor: Any) -> Any:
                # The first axis counts images or steps; row numbers, [steps, batch], are int64.
                free = 2 if tensor.dtype == tf.int64 else 1
                return tf.TensorSpec([None] * free + tensor.shape[free:], tensor.dtype)

            function.get_concrete_function(*objects, *tf.nest.map_structure(loose, tensors))
            self._traced.add(key)
        return function(*objects, *tensors)

    def _peak_gpu_bytes(self) -> int | None:
        name = self.device.upper()  # of "gpu:0" it would know no device
        return int(self.tf.config.experimental.get_memory_info(name)["peak"])


class JaxSession(KerasSession):
    """Keras on JAX: every step a compiled XLA program."""

    def __init__(self, module: Any, spec: Spec, setting: Setting) -> None:
        import jax

        self.jax = jax
        self.jax_device = jax.devices(setting.device)[0]
        jax.config.update("jax_default_device", self.jax_device)
        super().__init__(module, spec, setting)
        step = self._with_factors(module.train_step.__wrapped__)
        self._step_with_factors = jax.jit(step, static_argnums=(1, 2))  # model and optimizer
        self._differentiate_with_factors = jax.jit(self._with_factors(self._differentiated))

    def _train(self, order: Integers, learning_rates: Floats) -> Any:
        """Train; rows and rates stay on the host, from where a step's dispatch copies them."""
        rates = learning_rates.astype(self.keras.config.floatx())
        arguments = (self.images, self.targets, order.astype(np.int32), rates)
        return self.module.train(self.model, self.optimizer, *arguments)

    def _train_masked(self, order: Integers, learning_rates: Floats, factors: Factors) -> Any:
        step = partial(self._step_with_factors, factors)
        with mock.patch.object(self.module, "train_step", step):
            return self._train(order, learning_rates)

    def _predict(self, images: Any) -> Any:
        return self.module.predict(self.model, images)

    def _differentiate(self, images: Any, targets: Any, factors: Factors) -> Any:
        variables = (self.model.trainable_variables, self.model.non_trainable_variables)
        values = self.jax.tree.map(lambda variable: variable.value, variables)
        found = self._differentiate_with_factors(factors, *values, images, targets)
        (loss, logits), (parameters, of_images) = found
        return loss, logits, parameters, of_images

    def _differentiated(self, trainable: Any, fixed: Any, images: Any, targets: Any) -> Any:
        """Return ((loss, logits), gradients of parameters and images)."""

        def batch_loss(trainable: Any, images: Any) -> Any:
            logits, _ = self.model.stateless_call(trainable, fixed, images, training=True)
            return self.module.loss_fn(targets, logits), logits

        differentiate = self.jax.value_and_grad(batch_loss, argnums=(0, 1), has_aux=True)
        return differentiate(trainable, images)

    def _with_factors(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function` with a new first argument: what dropout is to multiply by.

        Keras is patched while the function is traced for this check, never where it is timed;
        the factors are arguments, so that it is traced once.
        """

        def with_factors(factors: Factors, *arguments: Any) -> Any:
            with self._dropout_by(factors):
                return function(*arguments)

        return with_factors

    def _peak_gpu_bytes(self) -> int | None:
        return (self.jax_device.memory_stats() or {}).get("peak_bytes_in_use")


class TorchSession(KerasSession):
    """Keras on PyTorch: eager."""

    def _seed(self, seed: int) -> None:
        """Seed torch, whose own generator serves a dropout layer that was given no seed."""
        import torch

        torch.manual_seed(seed)

    def _train(self, order: Integers, learning_rates: Floats) -> Any:
        steps = (self._put(order), self._put(learning_rates))
        return self.module.train(self.model, self.optimizer, self.images, self.targets, *steps)

    def _train_masked(self, order: Integers, learning_rates: Floats, factors: Factors) -> Any:
        with self._dropout_by(factors):
            return self._train(order, learning_rates)

    def _predict(self, images: Any) -> Any:
        return self.module.predict(self.model, images)

    def _differentiate(self, images: Any, targets: Any, factors: Factors) -> Any:
        images.requires_grad_()
        self.model.zero_grad()
        with self._dropout_by(factors):
            logits = self.model(images, training=True)
        loss = self.module.loss_fn(targets, logits)
        loss.backward()
        parameters = [variable.value.grad for _, variable in self.parameters]
        self.model.zero_grad()
        return loss, logits, parameters, images.grad

    def _peak_gpu_bytes(self) -> int | None:
        import torch

        return int(torch.cuda.max_memory_allocated(self.device.replace("gpu", "cuda")))


SESSIONS: dict[str, type[KerasSession]] = {
    "tensorflow": TensorFlowSession,
    "jax": JaxSession,
    "torch": TorchSession,
}
