"""The source of the raw TensorFlow backend: tf.nn on tf.Variables, trained in one tf.function."""

from __future__ import annotations

from backends.tensorflow_classes import model_source
from backends.tensorflow_helpers import write_helpers
from backends.tensorflow_norms import norm_classes
from backends.tensorflow_training import write_loss, write_optimizer
from harness.contract import SourceWriter
from harness.spec import Conv, Network, Spec, infer


def source(spec: Spec, mixed: bool) -> str:
    """Write model, loss, optimizer and training loop; `mixed` with bfloat16."""
    network = infer(spec)
    model = model_source(spec, network, mixed)
    draws = any(parameter.is_drawn for parameter in network.parameters)
    write = SourceWriter()
    write(f'"""{spec.name} in raw TensorFlow{", in bfloat16" if mixed else ""}."""\n')
    write("import math\n" if draws else "")
    write("import tensorflow as tf\n\n")
    if draws:
        _write_initializer(write, spec, network)
    write_helpers(write, model, norm_classes(network, mixed), network, mixed)
    write(model + "\n")
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


def _write_initializer(write: SourceWriter, spec: Spec, network: Network) -> None:
    scheme, distribution = str(spec.initializer).split("_")
    authors, variance = INITIALIZER[scheme]
    convolutions = [node.layer for node in network.nodes if isinstance(node.layer, Conv)]
    has_groups = any(layer.groups != 1 for layer in convolutions)
    by_groups = scheme == "glorot" and has_groups
    write(f"def weights(shape, dtype{', groups=1' if by_groups else ''}):")
    write(f'"""Draw from a {distribution} distribution of variance {variance}.', 1)
    write(f'\nThis is the scheme of {authors}.\n"""', 1)
    write("fan_in = math.prod(shape[:-1])", 1)
    if scheme == "glorot":
        groups = " // groups" if by_groups else ""
        write(f"fan_out = math.prod(shape[:-2]) * shape[-1]{groups}", 1)
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
    """Return the logits of images [n, ...], in evaluation mode."""
    return model(images)'''
