"""TensorFlow as before version 2: a generated graph in a session."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import numpy as np

from backends.stepwise import function_outputs, running_order
from backends.tensorflow_scopes import function_name
from backends.tensorflow_setting import operations_at_once
from harness.contract import Array, Floats, Gradients, Integers, Setting
from harness.spec import Address, Dropout, Parameter, Spec, addresses, families, infer

SLOTS = {  # what TensorFlow names an optimizer's variables, by its type and the spec's slot
    ("sgd", "velocity"): "Momentum",
    ("adam", "first_moment"): "Adam",
    ("adam", "second_moment"): "Adam_1",
    ("adamw", "first_moment"): "Adam",
    ("adamw", "second_moment"): "Adam_1",
    ("rmsprop", "mean_square"): "RMSProp",
    ("rmsprop", "velocity"): "RMSProp_1",
}


class GraphSession:
    """A generated graph in a tf.Session on one device."""

    def __init__(self, module: Any, spec: Spec, setting: Setting) -> None:
        import tensorflow.compat.v1 as tf

        self.tf = tf
        self.module = module
        self.network = infer(spec)
        self.optimizer = spec.training.optimizer.type
        self.slots = spec.training.optimizer.slots
        self.dtype = np.dtype(setting.storage)
        self.device = f"/{setting.device}:0"
        config = tf.ConfigProto(
            intra_op_parallelism_threads=setting.threads,
            inter_op_parallelism_threads=operations_at_once(spec, setting),
        )
        config.gpu_options.allow_growth = True
        if setting.device == "cpu":
            config.device_count["GPU"] = 0
        with tf.Graph().as_default():
            self.graph = module.Graph(tf.as_dtype(self.dtype))
            self.session = tf.Session(config=config)
        with self._building():
            self.parameters = self._variables(self.network.parameters)
            self.statistics = self._variables(self.network.statistics)
            self.seed = self._variable("seed", np.int64) if self.network.dropouts else None
        self.draws = self._draws(0)
        self.checks: dict[str, Any] = {}  # graphs that only the checks need, once they did

    def load(self, images: Floats, targets: Array) -> None:
        """Keep the training set on the host, from where its batches are fed."""
        self.images = self._put(images)
        self.targets = self._put(targets)

    def reset(self, parameters: Mapping[str, Floats], seed: int) -> None:
        """Run the initializers of all variables, then set parameters, statistics and the seed."""
        self.session.run(self.graph.initializer)
        variables = {**self.parameters, **self.statistics}
        values = [(variable, self._put(parameters[path])) for path, variable in variables.items()]
        if self.seed is not None:
            values.append((self.seed, np.asarray(seed, np.int64)))
        self._assign(values)

    def train(
        self,
        order: Integers,
        learning_rates: Floats,
        masks: Sequence[Mapping[str, Floats]] | None = None,
    ) -> Floats:
        """Run the generated training loop; with masks, step by step."""
        data = (self.images, self.targets)
        rates = self._put(learning_rates)
        if masks is None:
            return self._get(self.module.train(self.session, self.graph, *data, order, rates))
        losses = []
        for step, mask in enumerate(masks):
            one = slice(step, step + 1)
            fed = _Fed(self.session, self._fed(self.draws, mask))
            losses.append(self.module.train(fed, self.graph, *data, order[one], rates[one]))
        return np.concatenate(losses)

    def predict(self, images: Floats) -> Floats:
        """Return logits, in evaluation mode."""
        return self._get(self.module.predict(self.session, self.graph, self._put(images)))

    def activations(
        self,
        images: Floats,
        masks: Mapping[str, Floats] | None = None,
        training: bool = False,
    ) -> dict[str, Floats]:
        """Add the generated network to the graph once more, layer by layer, and run it."""
        key = f"activations {training} {masks is None}"
        if key not in self.checks:
            self.checks[key] = self._layer_outputs(training, without_dropout=masks is None)
        outputs, draws = self.checks[key]
        feed = {self.graph.images: self._put(images), **self._fed(draws, masks or {})}
        return dict(self.session.run(outputs, feed))

    def gradients(
        self, images: Floats, targets: Array, masks: Mapping[str, Floats] | None = None
    ) -> Gradients:
        """Differentiate the generated loss: of the very graph, or of one without dropout."""
        key = "gradients" if masks is None else "gradients with masks"
        if key not in self.checks:
            self.checks[key] = self._differentiated(without_dropout=masks is None)
        feed = {self.graph.images: self._put(images), self.graph.targets: self._put(targets)}
        found = self.session.run(self.checks[key], {**feed, **self._fed(self.draws, masks or {})})
        return Gradients(
            float(found["loss"]), found["outputs"], found["parameters"], found["images"]
        )

    def state(self) -> dict[str, Floats]:
        """Return the parameters and running statistics by path."""
        return dict(self.session.run({**self.parameters, **self.statistics}))

    def optimizer_state(self) -> dict[str, Floats]:
        """Return the optimizer's slots, which are variables of the graph beside the parameters'."""
        with self.session.graph.as_default():
            named = {variable.op.name: variable for variable in self.tf.global_variables()}
        kept = {
            f"{path}.{slot}": named[f"{variable.op.name}/{SLOTS[self.optimizer, slot]}"]
            for path, variable in self.parameters.items()
            for slot in self.slots
        }
        return dict(self.session.run(kept)) if kept else {}

    def peak_device_bytes(self) -> int | None:
        """Most bytes that TensorFlow's allocator held on the GPU."""
        return peak_device_bytes(self.device)

    def close(self) -> None:
        """Close the session, and drop graph and data."""
        self.session.close()
        del self.graph, self.parameters, self.statistics, self.draws, self.checks
        del self.images, self.targets

    @contextmanager
    def _building(self) -> Iterator[None]:
        """Add to the graph, with the variables that it has."""
        with self.session.graph.as_default(), self.tf.variable_scope("", reuse=True):
            yield

    def _place(self) -> Address:
        """Return the address of the block in whose scope the graph is built at the moment."""
        names = self.tf.get_variable_scope().name.split("/")
        return tuple(int(name) if name.isdigit() else name for name in names)

    def _layer_outputs(self, training: bool, without_dropout: bool) -> tuple[Any, dict[str, Any]]:
        """Add the network to the graph; return its layers' outputs, and what its dropout draws."""
        functions = [function_name(family) for family in families(self.network).all]
        arguments = {"x": self.graph.images, "training": training}
        first = len(self.session.graph.get_operations())
        dropout = mock.patch.object(self.tf.nn.experimental, "stateless_dropout", _identity)
        with self._building(), dropout if without_dropout else nullcontext():
            outputs = function_outputs(
                self.module, self.network, functions, self._place, **arguments
            )
        return outputs, self._draws(first) if training and not without_dropout else {}

    def _differentiated(self, without_dropout: bool) -> dict[str, Any]:
        """Add gradients to the graph: of what it trains, or of the same without its dropout."""
        graph, parameters = self.graph, self.parameters
        outputs, loss = graph.outputs, graph.loss
        with self._building():
            if without_dropout:
                with mock.patch.object(self.tf.nn.experimental, "stateless_dropout", _identity):
                    outputs = self.module.network(graph.images, training=True)
                loss = self.module.loss_fn(outputs, graph.targets)
            *gradients, of_images = self.tf.gradients(loss, [*parameters.values(), graph.images])
        by_path = dict(zip(parameters, gradients, strict=True))
        return {"loss": loss, "outputs": outputs, "parameters": by_path, "images": of_images}

    def _variables(self, described: Iterable[Parameter]) -> dict[str, Any]:
        places = addresses(self.network.parts)
        found = {}
        for parameter in described:
            path, _, role = parameter.path.rpartition(".")
            found[parameter.path] = self._variable("/".join(map(str, (*places[path], role))))
        return found

    def _variable(self, name: str, dtype: Any = None) -> Any:
        return self.tf.get_variable(name, dtype=dtype or self.dtype)

    def _assign(self, values: Sequence[tuple[Any, Array]]) -> None:
        """Run the variables' own initializers on other values: the graph does not grow."""
        feed = {variable.initializer.inputs[1]: value for variable, value in values}
        self.session.run([variable.initializer for variable, _ in values], feed)

    def _put(self, array: Array) -> Array:
        is_float = np.issubdtype(array.dtype, np.floating)
        return np.asarray(array, self.dtype if is_float else array.dtype)

    def _get(self, array: Array) -> Floats:
        return np.asarray(array)

    def _draws(self, first: int) -> dict[str, Any]:
        """Return what dropout draws, in the operations from the `first` on, by its layer.

        With these numbers fed, the graph as it was written takes masks.
        """
        operations = self.session.graph.get_operations()[first:]
        draws = [op.outputs[0] for op in operations if op.type == "StatelessRandomUniformV2"]
        order = running_order(self.network.parts)
        dropouts = [n.path for n in order if isinstance(n.layer, Dropout) and n.layer.rate]
        return dict(zip(dropouts, draws, strict=True))

    def _fed(self, draws: Mapping[str, Any], masks: Mapping[str, Floats]) -> dict[Any, Array]:
        """Return what to feed for the masks: draws of 1 are above every rate, of 0 below it."""
        return {draws[name]: mask > 0 for name, mask in masks.items() if name in draws}


def _identity(x: Any, *_: Any, **__: Any) -> Any:
    return x


class _Fed:
    """A session that feeds more to every step than the training loop does."""

    def __init__(self, session: Any, feed: Mapping[Any, Array]) -> None:
        self.session, self.feed = session, feed

    def run(self, fetches: Any, feed: Mapping[Any, Array]) -> Any:
        return self.session.run(fetches, {**feed, **self.feed})


def peak_device_bytes(device: str) -> int | None:
    """Return the most bytes that TensorFlow's allocator held on a GPU; None for the CPU."""
    import tensorflow as tf

    if "gpu" not in device:
        return None
    name = device.strip("/").upper()  # of "gpu:0" it would know no device
    return int(tf.config.experimental.get_memory_info(name)["peak"])
