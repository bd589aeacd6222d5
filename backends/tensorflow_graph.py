"""The source of TensorFlow as before version 2: a graph of placeholders, fed for each step."""

from __future__ import annotations

from backends.tensorflow_calls import Call, write_call
from backends.tensorflow_helpers import write_helpers
from backends.tensorflow_norms import norm_functions
from backends.tensorflow_scopes import DISTRIBUTIONS, initializer, network_source
from backends.tensorflow_training import write_loss
from harness.contract import SourceWriter
from harness.spec import (
    Adam,
    AdamW,
    BatchNorm,
    Network,
    RmsProp,
    Sgd,
    Spec,
    constant_of,
    infer,
)


def source(spec: Spec) -> str:
    """Write network, loss, optimizer, graph and training loop."""
    network = infer(spec)
    functions = network_source(spec, network)
    write = SourceWriter()
    write(f'"""{spec.name} in TensorFlow, as before version 2: a graph and a session."""\n')
    write("import numpy as np\nimport tensorflow.compat.v1 as tf\n\n")
    write_helpers(write, functions, norm_functions(network), network, mixed=False)
    write(functions + "\n")
    write_loss(write, spec, "tf.nn.softmax_cross_entropy_with_logits_v2")
    _write_optimizer(write, spec)
    _write_graph(write, spec, network)
    write(TRAIN)
    return write.text()


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


RMSPROP = '''class RMSProp(tf.train.Optimizer):
    """{formula}, then p <- p - rate v.

    s is the running mean of g^2. As in PyTorch; tf.train.RMSPropOptimizer has its epsilon inside
    of the root, and the rate inside of the velocity.
    """

    def __init__(self, learning_rate):
        super().__init__(use_locking=False, name="RMSProp")
        self.learning_rate = learning_rate

    def _create_slots(self, parameters):
        for p in parameters:
            self._zeros_slot(p, "square", "RMSProp")
{slot}
    def _resource_apply_dense(self, g, p):
        square = self.get_slot(p, "square")
        s = square.assign({decay!r} * square + (1 - {decay!r}) * tf.square(g))
        v = g / (tf.sqrt(s) + {epsilon!r})
{update}        return p.assign_sub(self.learning_rate * v, read_value=False)


def make_optimizer(learning_rate, step):
    return RMSProp(learning_rate)

'''
VELOCITY_SLOT = '            self._zeros_slot(p, "velocity", "RMSProp")\n'
VELOCITY = """        velocity = self.get_slot(p, "velocity")
        v = velocity.assign({momentum!r} * velocity + v)
"""


def _write_optimizer(write: SourceWriter, spec: Spec) -> None:
    match spec.training.optimizer:
        case Adam() | AdamW() as optimizer:
            write(ADAM.format(**optimizer.model_dump()))
        case Sgd() as optimizer:
            write((MOMENTUM if optimizer.momentum else SGD).format(**optimizer.model_dump()))
        case RmsProp(momentum=momentum, epsilon=epsilon) as optimizer:
            before = f"{momentum} v + " if momentum else ""
            fields = {
                "formula": f"v <- {before}g / (sqrt(s) + {epsilon})",
                "slot": VELOCITY_SLOT if momentum else "",
                "update": VELOCITY.format(momentum=momentum) if momentum else "",
            }
            write(RMSPROP.format(**optimizer.model_dump(), **fields))


GRAPH = '''class Graph:
    """Everything is built once; afterwards it is only fed and run."""

    def __init__(self, dtype=tf.float32):
        self.images = tf.placeholder(dtype, {images}, "images")
        self.targets = tf.placeholder({targets}, "targets")
        self.learning_rate = tf.placeholder(dtype, [], "learning_rate")
        weights = {weights}
        with tf.variable_scope("", initializer=weights, reuse=tf.AUTO_REUSE):
            self.outputs = network(self.images, training=True)
            self.logits = network(self.images, training=False)
        self.loss = loss_fn(self.outputs, self.targets)
        step = tf.train.get_or_create_global_step()'''


def _write_train_op(write: SourceWriter, spec: Spec, network: Network) -> None:
    """Write how the graph's train_op is made: in one call, where nothing comes in between."""
    optimizer, limit = spec.training.optimizer, spec.training.clip_norm
    write("optimizer = make_optimizer(self.learning_rate, step)", 2)
    indent = 2
    if any(isinstance(node.layer, BatchNorm) for node in network.nodes):
        write("# A step gathers the running statistics, too.", 2)
        write("with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):", 2)
        indent = 3
    l2 = optimizer.l2 if isinstance(optimizer, Sgd) else 0.0
    decay = optimizer.weight_decay if isinstance(optimizer, AdamW) else 0.0
    if not (limit or l2 or decay):
        write("self.train_op = optimizer.minimize(self.loss, global_step=step)", indent)
        return
    write("gradients, parameters = zip(*optimizer.compute_gradients(self.loss))", indent)
    if limit:
        write(f"gradients, _ = tf.clip_by_global_norm(gradients, {limit!r})", indent)
    decay_all = getattr(optimizer, "decay_all", False)
    if (l2 or decay) and not decay_all:
        write("# Kernels decay; biases, scales and offsets, which have one axis, do not.", indent)
    if l2:
        chosen = f"g + {l2!r} * p" if decay_all else f"g + {l2!r} * p if p.shape.rank > 1 else g"
        write("pairs = zip(gradients, parameters)", indent)
        write(f"gradients = [{chosen} for g, p in pairs]", indent)
    if decay:
        write(f"rate = self.learning_rate * {decay!r}", indent)
        if decay_all:
            chosen = "parameters"
        else:
            chosen = "kernels"
            write("kernels = [p for p in parameters if p.shape.rank > 1]", indent)
        write("with tf.control_dependencies(gradients):", indent)
        write(f"decays = [p.assign_sub(rate * p, read_value=False) for p in {chosen}]", indent + 1)
        write("with tf.control_dependencies(decays):", indent)
        indent += 1
    arguments = ("zip(gradients, parameters)", "global_step=step")
    write_call(write, Call("self.train_op = optimizer.apply_gradients", arguments), indent)


def _initializer(spec: Spec) -> str:
    """Return the initializer of kernels, which a scope gives to all that have none of their own."""
    if (value := constant_of(spec.initializer)) is not None:
        return initializer(value)
    scheme, distribution = str(spec.initializer).split("_")
    gain, fan = {"glorot": (1.0, "avg"), "he": (2.0, "in"), "lecun": (1.0, "in")}[scheme]
    arguments = f'{gain}, "fan_{fan}", "{DISTRIBUTIONS[distribution]}"'
    return f"tf.variance_scaling_initializer({arguments})"


def _write_graph(write: SourceWriter, spec: Spec, network: Network) -> None:
    classes = spec.training.loss == "cross_entropy"
    fields = {
        "images": f"[None, {', '.join(map(str, spec.input))}]",
        "targets": "tf.int32, [None]" if classes else f"dtype, [None, {network.output_shape[0]}]",
        "weights": _initializer(spec),
    }
    write(GRAPH.format(**fields))
    _write_train_op(write, spec, network)
    write("self.initializer = tf.global_variables_initializer()\n\n", 2)


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
    """Return the logits of images [n, ...], in evaluation mode."""
    return session.run(graph.logits, {graph.images: images})'''
