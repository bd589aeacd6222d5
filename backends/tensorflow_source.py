"""The source of the raw TensorFlow backend: tf.nn on tf.Variables, trained in one tf.function."""

from __future__ import annotations

from backends.tensorflow_helpers import write_helpers
from backends.tensorflow_layers import (
    WIDTH,
    Call,
    Statement,
    layer_calls,
    model_docstring,
    shape,
    write_call,
)
from backends.tensorflow_training import write_loss, write_optimizer
from harness.contract import SourceWriter
from harness.spec import ActivationLayer, Dropout, Flatten, Network, Node, Parameter, Spec, infer


def source(spec: Spec) -> str:
    """Write model, loss, optimizer and training loop."""
    network = infer(spec)
    write = SourceWriter()
    write(f'"""{spec.name} in raw TensorFlow."""\n\nimport tensorflow as tf\n\n')
    if any(parameter.role == "kernel" for parameter in network.parameters):
        _write_initializer(write, spec)
    write_helpers(write, (call for node in network.nodes for call in _calls(node)))
    _write_model(write, spec, network)
    write_loss(write, spec, "tf.nn.softmax_cross_entropy_with_logits")
    write_optimizer(write, spec)
    limit = spec.training.clip_norm
    write(TRAIN.format(update=CLIPPED.format(limit=limit) if limit else UPDATE))
    return write.text()


TRUNCATED_SD = 0.87962566103423978  # of a standard normal variable that is kept within two
INITIALIZER = {
    "glorot": ("Glorot and Bengio (2010)", "2 / (fan_in + fan_out)"),
    "he": ("He et al. (2015)", "2 / fan_in"),
    "lecun": ("LeCun et al. (1998)", "1 / fan_in"),
}


def _write_initializer(write: SourceWriter, spec: Spec) -> None:
    scheme, distribution = spec.initializer.split("_")
    authors, variance = INITIALIZER[scheme]
    write("def weights(shape, fan_in, fan_out, dtype):")
    write(f'"""Draw from a {distribution} distribution of variance {variance}.', 1)
    write(f'\nThis is the scheme of {authors}.\n"""', 1)
    write(f"stddev = ({variance}) ** 0.5", 1)
    if distribution == "truncated":
        write("# What is beyond two standard deviations is drawn again: that leaves .88 of one.", 1)
        write(f"stddev /= {TRUNCATED_SD!r}", 1)
        write("return tf.Variable(tf.random.truncated_normal(shape, 0.0, stddev, dtype))\n\n", 1)
    elif distribution == "normal":
        write("return tf.Variable(tf.random.normal(shape, 0.0, stddev, dtype))\n\n", 1)
    else:
        write("bound = 3**0.5 * stddev", 1)
        write("return tf.Variable(tf.random.uniform(shape, -bound, bound, dtype))\n\n", 1)


def _write_model(write: SourceWriter, spec: Spec, network: Network) -> None:
    write("class Model(tf.Module):")
    write(model_docstring(spec, network) + "\n", 1)
    write("def __init__(self, dtype=tf.float32):", 1)
    write("super().__init__()", 2)
    for node in network.nodes:
        for parameter in (*node.parameters, *node.statistics):
            write_call(write, _variable(parameter), 2)
    if network.dropouts:
        write("self.rng = tf.random.Generator.from_seed(0)  # a variable: it can be reset", 2)
    write("\ndef __call__(self, x, training=False):", 1)
    for node in network.nodes:
        _write_layer(write, node)
    write("return x\n\n", 2)


def _variable(parameter: Parameter) -> Call:
    """Return the statement that makes a parameter's variable."""
    head, sizes = f"self.{parameter.path.replace('.', '_')} =", shape(parameter.shape)
    if parameter.role == "kernel":
        drawn = (sizes, str(parameter.fan_in), str(parameter.fan_out), "dtype")
        return Call(f"{head} weights", drawn)
    first = "tf.ones" if parameter.role in ("scale", "variance") else "tf.zeros"
    value = Call(first, (sizes, "dtype"))
    fixed = ("trainable=False",) if parameter.role in ("mean", "variance") else ()
    return Call(f"{head} tf.Variable", (value, *fixed))


def _calls(node: Node) -> list[Statement]:
    return layer_calls(node, f"self.{node.name}_")


def _write_layer(write: SourceWriter, node: Node) -> None:
    name = node.name
    if isinstance(node.layer, Dropout):
        write("if training:", 2)
        arguments = ("x", repr(node.layer.rate), "self.rng.uniform")
        write_call(write, Call("x = tf.nn.experimental.general_dropout", arguments), 3, name)
        return
    *before, last = _calls(node)
    for call in before:
        write_call(write, call, 2)
    has_name = any(f"self.{name}_{role}" in str(last) for role in ("kernel", "bias"))
    write_call(write, last, 2, "" if has_name else _remark(node, str(last)))


def _remark(node: Node, call: str) -> str:
    """Return the layer's name, and what is worth saying about it if there is room."""
    remark = node.name
    if isinstance(node.layer, Flatten) and len(node.input_shape) == 3:
        remark += ": rows, columns, channels"
    elif isinstance(node.layer, ActivationLayer) and node.activation != node.layer.function:
        remark += f": its {node.layer.function} is in the loss"
    return remark if len(f"        {call}  # {remark}") <= WIDTH else node.name


UPDATE = """    parameters = model.trainable_variables
    optimizer.apply(parameters, tape.gradient(loss, parameters), learning_rate)
"""
CLIPPED = """    parameters = model.trainable_variables
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, parameters), {limit!r})
    optimizer.apply(parameters, gradients, learning_rate)
"""

TRAIN = '''def train_step(model, optimizer, images, targets, learning_rate):
    with tf.GradientTape() as tape:
        loss = loss_fn(model(images, training=True), targets)
{update}    return loss


@tf.function(reduce_retracing=True)
def train(model, optimizer, images, targets, order, learning_rates):
    """Train on one batch of row numbers after another; return the loss of each step.

    AutoGraph makes the loop a tf.while_loop: all steps are one call into the runtime.
    """
    steps = tf.shape(order)[0]
    losses = tf.TensorArray(learning_rates.dtype, steps)
    for step in tf.range(steps):
        batch = order[step]
        batch_images, batch_targets = tf.gather(images, batch), tf.gather(targets, batch)
        loss = train_step(model, optimizer, batch_images, batch_targets, learning_rates[step])
        losses = losses.write(step, loss)
    return losses.stack()


@tf.function(reduce_retracing=True)
def predict(model, images):
    """Return the logits of images [n, h, w, c], in evaluation mode."""
    return model(images)'''
