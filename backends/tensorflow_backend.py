"""Raw TensorFlow: tf.nn and tf.Variables in one tf.function, or a graph in a TF1 session."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, get_args
from unittest import mock

import numpy as np

from backends import tensorflow_graph, tensorflow_session, tensorflow_source
from backends.programs import write_program
from backends.stepwise import layer_outputs, reach, running_order
from backends.tensorflow_program import graph_dialect, tensorflow_dialect
from backends.tensorflow_setting import prepare_tensorflow, set_operations_at_once
from harness.contract import (
    Array,
    DeviceInfo,
    Floats,
    Gradients,
    Integers,
    Precision,
    ProbeKind,
    Session,
    Setting,
    import_source,
)
from harness.spec import Dropout, Parameter, Spec, addresses, infer


class TensorFlowBackend:
    """`tensorflow` is a tf.function; `tensorflow@session` is how it was written before TF 2."""

    name = "tensorflow"
    variants: ClassVar = {"": ("tensorflow",), "session": ("tensorflow",)}
    in_all = True
    # No one wrote graphs for bfloat16.
    precisions: ClassVar = {"": get_args(Precision), "session": ("float32", "tf32", "float64")}

    def prepare(self, variant: str, setting: Setting) -> None:
        """Import TensorFlow, and set device, threads and precision."""
        prepare_tensorflow(setting)

    def versions(self) -> dict[str, str]:
        """Return TensorFlow's version and CUDA's."""
        import tensorflow as tf

        built_with = tf.sysconfig.get_build_info()
        return {"tensorflow": tf.__version__, "cuda": built_with.get("cuda_version", "none")}

    def devices(self) -> list[DeviceInfo]:
        """Return the CPU, and the first GPU that TensorFlow sees."""
        import tensorflow as tf

        found = [DeviceInfo("cpu", "cpu")]
        for gpu in tf.config.list_physical_devices("GPU")[:1]:
            details = tf.config.experimental.get_device_details(gpu)
            found.append(DeviceInfo("gpu", details.get("device_name", gpu.name)))
        return found

    def source(self, spec: Spec, variant: str, precision: Precision = "float32") -> str:
        """Write the model, the loss, the optimizer and the training loop."""
        if variant == "session":
            return tensorflow_graph.source(spec)
        return tensorflow_source.source(spec, mixed=precision == "bfloat16")

    def script(self, spec: Spec, variant: str) -> str:
        """Write the source as a program."""
        dialect = graph_dialect(spec) if variant == "session" else tensorflow_dialect(spec)
        return write_program(spec, self.source(spec, variant), dialect)

    def open(self, path: Path, spec: Spec, variant: str, setting: Setting) -> Session:
        """Build the model, or the graph and its session, on the setting's device."""
        set_operations_at_once(spec, setting)
        if variant == "session":
            return tensorflow_session.GraphSession(import_source(path), spec, setting)
        return TensorFlowSession(import_source(path), spec, setting)

    def probe(self, kind: ProbeKind, size: int, setting: Setting) -> Callable[[], object] | None:
        """Return a product or a convolution as a tf.function; a copy it has on the CPU only."""
        import tensorflow as tf

        if kind == "copy":
            return None
        function: Any = tf.matmul
        shapes: tuple[tuple[int, ...], ...] = ((size, size), (size, size))
        if kind == "convolution":
            function = functools.partial(tf.nn.conv2d, strides=1, padding="SAME")
            shapes = ((size, 56, 56, 128), (3, 3, 128, 128))
        dtype = tf.dtypes.as_dtype(setting.factors)
        with tf.device(f"/{setting.device}:0"):
            arrays = [tf.random.normal(shape, dtype=dtype) for shape in shapes]
        work = tf.function(lambda *given: function(*given))

        def run() -> None:
            work(*arrays)
            tf.test.experimental.sync_devices()

        return run


# What the generated optimizers call what they keep.
SLOTS = {"velocity": "v", "first_moment": "m", "second_moment": "v", "mean_square": "s"}


class TensorFlowSession:
    """A generated module on one device."""

    def __init__(self, module: Any, spec: Spec, setting: Setting) -> None:
        import tensorflow as tf

        self.tf = tf
        self.module = module
        self.network = infer(spec)
        self.slots = spec.training.optimizer.slots
        self.addresses = addresses(self.network.parts)
        self.dtype = tf.dtypes.as_dtype(setting.storage)
        self.device = f"/{setting.device}:0"
        with tf.device(self.device):
            self.model = module.Model(self.dtype)
            self.optimizer = module.make_optimizer(self.model)
        self._traced: set[tuple[int, int]] = set()
        self._train_with_masks = tf.function(self._masked_training)
        self._differentiate = tf.function(self._differentiated)

    def load(self, images: Floats, targets: Array) -> None:
        """Copy the training set to the device."""
        self.images = self._put(images)
        self.targets = self._put(targets)

    def reset(self, parameters: Mapping[str, Floats], seed: int) -> None:
        """Set parameters, statistics, and the variables of optimizer and generator."""
        for variable in self.optimizer.variables:
            variable.assign(self.tf.zeros_like(variable))
        for path, variable in (*self._variables(), *self._statistics()):
            variable.assign(self._put(parameters[path]))
        if self.network.dropouts:
            self.model.rng.reset_from_seed(seed)

    def train(
        self,
        order: Integers,
        learning_rates: Floats,
        masks: Sequence[Mapping[str, Floats]] | None = None,
    ) -> Floats:
        """Run the generated training loop; with masks, step by step."""
        rows, rates = self._put(order), self._put(learning_rates)
        data = (self.images, self.targets)
        if masks is None:
            objects = (self.model, self.optimizer)
            return self._get(self._call(self.module.train, objects, *data, rows, rates))
        losses = []
        for step, mask in enumerate(masks):
            one = slice(step, step + 1)
            factors = {name: self._put(mask[name]) for name in mask}
            arguments = (*data, rows[one], rates[one], factors)
            losses.append(self._get(self._call(self._train_with_masks, (), *arguments)))
        return np.concatenate(losses)

    def predict(self, images: Floats) -> Floats:
        """Return logits, in evaluation mode."""
        return self._get(self._call(self.module.predict, (self.model,), self._put(images)))

    def activations(
        self,
        images: Floats,
        masks: Mapping[str, Floats] | None = None,
        training: bool = False,
    ) -> dict[str, Floats]:
        """Apply the generated forward pass, layer by layer."""
        arguments = {"x": self._put(images), "training": training}
        factors = {name: self._put(mask) for name, mask in (masks or {}).items()}
        with self._keeping_statistics(), self._dropout_by(factors):
            outputs = layer_outputs(self.model, self.network, "__call__", **arguments)
        return {name: self._get(value) for name, value in outputs.items()}

    def gradients(
        self, images: Floats, targets: Array, masks: Mapping[str, Floats] | None = None
    ) -> Gradients:
        """Run one backward pass through the generated model and loss."""
        factors = {name: self._put(mask) for name, mask in (masks or {}).items()}
        batch = (self._put(images), self._put(targets), factors)
        with self._keeping_statistics():
            found = self._call(self._differentiate, (), *batch)
        loss, outputs, parameters, of_images = self.tf.nest.map_structure(self._get, found)
        return Gradients(float(loss), outputs, parameters, of_images)

    def state(self) -> dict[str, Floats]:
        """Return the parameters and running statistics by path."""
        variables = (*self._variables(), *self._statistics())
        return {path: self._get(variable) for path, variable in variables}

    def optimizer_state(self) -> dict[str, Floats]:
        """Return the optimizer's slots, which it keeps in the order of trainable_variables."""
        order = {id(v): index for index, v in enumerate(self.model.trainable_variables)}
        return {
            f"{path}.{slot}": self._get(getattr(self.optimizer, SLOTS[slot])[order[id(variable)]])
            for path, variable in self._variables()
            for slot in self.slots
        }

    def peak_device_bytes(self) -> int | None:
        """Most bytes that TensorFlow's allocator held on the GPU."""
        return tensorflow_session.peak_device_bytes(self.device)

    def close(self) -> None:
        """Drop model and data."""
        del self.model, self.optimizer
        self.images = self.targets = None

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

    def _variables(self) -> Iterator[tuple[str, Any]]:
        for parameter in self.network.parameters:
            yield parameter.path, self._variable(parameter)

    def _statistics(self) -> Iterator[tuple[str, Any]]:
        for statistic in self.network.statistics:
            yield statistic.path, self._variable(statistic)

    @contextmanager
    def _keeping_statistics(self) -> Iterator[None]:
        """Leave the running statistics as they were."""
        before = [(variable, self.tf.identity(variable)) for _, variable in self._statistics()]
        try:
            yield
        finally:
            for variable, value in before:
                variable.assign(value)

    def _variable(self, parameter: Parameter) -> Any:
        path, _, role = parameter.path.rpartition(".")
        *place, layer = self.addresses[path]
        owner = reach(self.model, tuple(place))
        norm = getattr(owner, str(layer), None)
        return getattr(owner, f"{layer}_{role}") if norm is None else getattr(norm, role)

    def _put(self, array: Array) -> Any:
        is_float = np.issubdtype(array.dtype, np.floating)
        with self.tf.device(self.device):
            return self.tf.constant(array, self.dtype if is_float else array.dtype)

    def _get(self, tensor: Any) -> Array:
        is_narrow = tensor.dtype == self.tf.bfloat16  # which NumPy has not
        return np.asarray((self.tf.cast(tensor, self.dtype) if is_narrow else tensor).numpy())

    def _masked_training(
        self, images: Any, targets: Any, order: Any, learning_rates: Any, masks: Mapping[str, Any]
    ) -> Any:
        """Call the generated training loop, as Python, with its dropout given."""
        data = (images, targets, order, learning_rates)
        with self._dropout_by(masks):
            return self.module.train.python_function(self.model, self.optimizer, *data)

    def _differentiated(self, images: Any, targets: Any, masks: Mapping[str, Any]) -> Any:
        """Return loss, outputs, gradients of the parameters by path, and that of the images."""
        variables = dict(self._variables())
        with self._dropout_by(masks), self.tf.GradientTape() as tape:
            tape.watch(images)
            outputs = self.model(images, training=True)
            loss = self.module.loss_fn(outputs, targets)
        gradients, of_images = tape.gradient(loss, (variables, images))
        return loss, outputs, gradients, of_images

    @contextmanager
    def _dropout_by(self, masks: Mapping[str, Any]) -> Iterator[None]:
        """While tracing, let dropout keep what the masks keep; without a mask, everything.

        Only the random numbers are replaced, so the rate and its scale are still the source's.
        """
        # A loop's body may be traced more than once, but always from its first layer.
        order = running_order(self.network.parts)
        paths = itertools.cycle([n.path for n in order if isinstance(n.layer, Dropout)])
        dropout = self.tf.nn.experimental.general_dropout

        def given(x: Any, rate: Any, uniform_sampler: Any) -> Any:
            path = next(paths)
            if path not in masks:
                return self.tf.identity(x)
            kept = self.tf.cast(masks[path] > 0, x.dtype)
            return dropout(x, rate, lambda shape, dtype: kept)

        with mock.patch.object(self.tf.nn.experimental, "general_dropout", given):
            yield
