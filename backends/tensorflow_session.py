"""TensorFlow as before version 2: a graph of placeholders, a session, a feed for each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np

from backends.stepwise import layer_outputs
from backends.tensorflow_source import (
    Call,
    layer_calls,
    model_docstring,
    shape,
    write_call,
    write_loss,
)
from harness.contract import Array, Floats, Gradients, Integers, Setting, SourceWriter
from harness.spec import Adam, Conv2D, Dense, Dropout, Network, Node, Spec, infer


def source(spec: Spec) -> str:
    """Write network, loss, optimizer, graph and training loop."""
    network = infer(spec)
    write = SourceWriter()
    write(f'"""{spec.name} in TensorFlow, as before version 2: a graph and a session."""\n')
    write("import numpy as np\nimport tensorflow.compat.v1 as tf\n\n")
    if network.dropouts:
        write(DROPOUT_SEED)
    write("def network(x, training):")
    write(model_docstring(spec, network), 1)
    for node in network.nodes:
        _write_layer(write, node, network)
    write("return x\n\n", 1)
    write_loss(write, spec)
    _write_optimizer(write, spec)
    _write_graph(write, spec, network)
    write(TRAIN)
    return write.text()


DROPOUT_SEED = '''def dropout_seed(layer):
    """A random stream of its own for every seed, step and layer."""
    seed = tf.get_variable("seed", [], tf.int64, tf.zeros_initializer(), trainable=False)
    step = tf.train.get_or_create_global_step()
    return tf.random.experimental.stateless_fold_in(tf.stack([seed, step]), layer)

'''


def _write_layer(write: SourceWriter, node: Node, network: Network) -> None:
    name = node.name
    named = f'name="{name}"'
    if isinstance(node.layer, Dropout):
        write("if training:", 1)
        seed = f"dropout_seed({network.dropouts.index(node)})"
        arguments = ("x", repr(node.layer.rate), seed, named)
        write_call(write, Call("x = tf.nn.experimental.stateless_dropout", arguments), 2)
        return
    calls = layer_calls(node, "kernel", "bias")
    if not isinstance(node.layer, Conv2D | Dense):
        write_call(write, Call(calls[0].head, (*calls[0].arguments, named)), 1)
        return
    write(f'with tf.variable_scope("{name}"):', 1)
    for parameter in node.parameters:
        zeros = ", tf.zeros_initializer()" if parameter.role == "bias" else ""
        described = f'"{parameter.role}", {shape(parameter.shape)}, x.dtype{zeros}'
        write(f"{parameter.role} = tf.get_variable({described})", 2)
    for call in calls:
        write_call(write, call, 2)


ADAM = '''def make_optimizer(learning_rate, step):
    """Adam as in algorithm 1 of Kingma and Ba (2015).

    TensorFlow adds its epsilon before v's bias is corrected ("epsilon hat"). Multiplied by
    sqrt(1 - beta2^t) it means what the algorithm says, and what PyTorch and Optax do.
    """
    # Python floats would be rounded to float32 here, whatever the variables' type.
    dtype = learning_rate.dtype
    beta1, beta2 = tf.constant({beta1!r}, dtype), tf.constant({beta2!r}, dtype)
    epsilon = {epsilon!r} * tf.sqrt(1 - beta2 ** tf.cast(step + 1, dtype))
    return tf.train.AdamOptimizer(learning_rate, beta1, beta2, epsilon)

'''

MOMENTUM = '''def make_optimizer(learning_rate, step):
    """v <- {momentum} v + g, then p <- p - rate v; with Nesterov p <- p - rate (g + {momentum} v).

    The rate stays out of the velocity, as in PyTorch; Keras keeps it inside.
    """
    # A Python float would be rounded to float32 here, whatever the variables' type.
    momentum = tf.constant({momentum!r}, learning_rate.dtype)
    return tf.train.MomentumOptimizer(learning_rate, momentum, use_nesterov={nesterov!r})

'''

SGD = """def make_optimizer(learning_rate, step):
    return tf.train.GradientDescentOptimizer(learning_rate)

"""


def _write_optimizer(write: SourceWriter, spec: Spec) -> None:
    optimizer = spec.training.optimizer
    text = ADAM if isinstance(optimizer, Adam) else MOMENTUM if optimizer.momentum else SGD
    write(text.format(**optimizer.model_dump()))


GRAPH = '''class Graph:
    """Everything is built once; afterwards it is only fed and run."""

    def __init__(self, dtype=tf.float32):
        self.images = tf.placeholder(dtype, {images}, "images")
        self.targets = tf.placeholder({targets}, "targets")
        self.learning_rate = tf.placeholder(dtype, [], "learning_rate")
        weights = tf.variance_scaling_initializer({gain}, "{fan}", "{distribution}")
        with tf.variable_scope("", initializer=weights, reuse=tf.AUTO_REUSE):
            self.outputs = network(self.images, training=True)
            self.logits = network(self.images, training=False)
        self.loss = loss_fn(self.outputs, self.targets)
        step = tf.train.get_or_create_global_step()
        optimizer = make_optimizer(self.learning_rate, step)
        self.train_op = optimizer.minimize(self.loss, global_step=step)
        self.initializer = tf.global_variables_initializer()

'''


def _write_graph(write: SourceWriter, spec: Spec, network: Network) -> None:
    scheme, distribution = spec.initializer.split("_")
    gain, fan = {"glorot": (1.0, "avg"), "he": (2.0, "in"), "lecun": (1.0, "in")}[scheme]
    classes = spec.training.loss == "cross_entropy"
    fields = {
        "images": f"[None, {', '.join(map(str, spec.input))}]",
        "targets": "tf.int32, [None]" if classes else f"dtype, [None, {network.output_shape[0]}]",
        "gain": gain,
        "fan": f"fan_{fan}",
        "distribution": "uniform" if distribution == "uniform" else "untruncated_normal",
    }
    write(GRAPH.format(**fields))


TRAIN = '''def train(session, graph, images, targets, order, learning_rates):
    """Train on one batch of row numbers after another; return the loss of each step.

    The arrays are NumPy's: every step feeds its batch to the session and fetches its loss.
    """
    losses = []
    for batch, learning_rate in zip(order, learning_rates):
        feed = {
            graph.images: images[batch],
            graph.targets: targets[batch],
            graph.learning_rate: learning_rate,
        }
        _, loss = session.run([graph.train_op, graph.loss], feed)
        losses.append(loss)
    return np.stack(losses)


def predict(session, graph, images):
    """Return the logits of images [n, h, w, c], in evaluation mode."""
    return session.run(graph.logits, {graph.images: images})'''


class GraphSession:
    """A generated graph in a tf.Session on one device."""

    def __init__(self, module: Any, spec: Spec, setting: Setting) -> None:
        import tensorflow.compat.v1 as tf

        self.tf = tf
        self.module = module
        self.network = infer(spec)
        self.dtype = np.dtype(setting.precision)
        self.device = f"/{setting.device}:0"
        config = tf.ConfigProto(
            intra_op_parallelism_threads=setting.threads, inter_op_parallelism_threads=1
        )
        config.gpu_options.allow_growth = True
        if setting.device == "cpu":
            config.device_count["GPU"] = 0
        with tf.Graph().as_default():
            self.graph = module.Graph(tf.as_dtype(self.dtype))
            self.session = tf.Session(config=config)
        with self._building():
            paths = [parameter.path for parameter in self.network.parameters]
            self.parameters = {p: self._variable(p.replace(".", "/")) for p in paths}
            self.seed = self._variable("seed", np.int64) if self.network.dropouts else None
        # What dropout draws: with these numbers fed, the graph as it was written takes masks.
        operations = self.session.graph.get_operations()
        draws = [op.outputs[0] for op in operations if op.type == "StatelessRandomUniformV2"]
        rates = {n.name: n.layer.rate for n in self.network.nodes if isinstance(n.layer, Dropout)}
        self.draws = dict(zip((name for name in rates if rates[name]), draws, strict=False))
        self.checks: dict[str, Any] = {}  # graphs that only the checks need, once they did

    def load(self, images: Floats, targets: Array) -> None:
        """Keep the training set on the host, from where its batches are fed."""
        self.images = self._put(images)
        self.targets = self._put(targets)

    def reset(self, parameters: Mapping[str, Floats], seed: int) -> None:
        """Run the initializers of all variables, then set the parameters and the seed."""
        self.session.run(self.graph.initializer)
        for path, variable in self.parameters.items():
            self._assign(variable, self._put(parameters[path]))
        if self.seed is not None:
            self._assign(self.seed, np.asarray(seed, np.int64))

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
            fed = _Fed(self.session, self._draws(mask))
            losses.append(self.module.train(fed, self.graph, *data, order[one], rates[one]))
        return np.concatenate(losses)

    def predict(self, images: Floats) -> Floats:
        """Return logits, in evaluation mode."""
        return self._get(self.module.predict(self.session, self.graph, self._put(images)))

    def activations(self, images: Floats) -> dict[str, Floats]:
        """Add the generated network to the graph once more, layer by layer, and run it."""
        if "activations" not in self.checks:
            names = [node.name for node in self.network.nodes]
            arguments = {"x": self.graph.images, "training": False}
            with self._building():
                outputs = layer_outputs(self.module.network, names, **arguments)
            self.checks["activations"] = outputs
        feed = {self.graph.images: self._put(images)}
        return dict(self.session.run(self.checks["activations"], feed))

    def gradients(
        self, images: Floats, targets: Array, masks: Mapping[str, Floats] | None = None
    ) -> Gradients:
        """Differentiate the generated loss: of the very graph, or of one without dropout."""
        key = "gradients" if masks is None else "gradients with masks"
        if key not in self.checks:
            self.checks[key] = self._differentiated(without_dropout=masks is None)
        feed = {self.graph.images: self._put(images), self.graph.targets: self._put(targets)}
        found = self.session.run(self.checks[key], {**feed, **self._draws(masks or {})})
        return Gradients(
            float(found["loss"]), found["outputs"], found["parameters"], found["images"]
        )

    def state(self) -> dict[str, Floats]:
        """Return the parameters by path."""
        return dict(self.session.run(self.parameters))

    def peak_device_bytes(self) -> int | None:
        """Most bytes that TensorFlow's allocator held on the GPU."""
        return peak_device_bytes(self.device)

    def close(self) -> None:
        """Close the session, and drop graph and data."""
        self.session.close()
        del self.graph, self.parameters, self.draws, self.checks
        del self.images, self.targets

    @contextmanager
    def _building(self) -> Iterator[None]:
        """Add to the graph, with the variables that it has."""
        with self.session.graph.as_default(), self.tf.variable_scope("", reuse=True):
            yield

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

    def _variable(self, name: str, dtype: Any = None) -> Any:
        return self.tf.get_variable(name, dtype=dtype or self.dtype)

    def _assign(self, variable: Any, value: Array) -> None:
        """Run the variable's own initializer on another value: the graph does not grow."""
        self.session.run(variable.initializer, {variable.initializer.inputs[1]: value})

    def _put(self, array: Array) -> Array:
        is_float = np.issubdtype(array.dtype, np.floating)
        return np.asarray(array, self.dtype if is_float else array.dtype)

    def _get(self, array: Array) -> Floats:
        return np.asarray(array)

    def _draws(self, masks: Mapping[str, Floats]) -> dict[Any, Array]:
        """Return what to feed for the masks: draws of 1 are above every rate, of 0 below it."""
        return {self.draws[name]: mask > 0 for name, mask in masks.items() if name in self.draws}


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
    return int(tf.config.experimental.get_memory_info(device.strip("/"))["peak"])
