"""The source of the raw TensorFlow backend: tf.nn on tf.Variables, trained in one tf.function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.contract import SourceWriter
from harness.spec import (
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

WIDTH = 100  # columns of a generated line


@dataclass(frozen=True)
class Call:
    """`head(arguments)`, broken over lines where it must be, as ruff would break it."""

    head: str
    arguments: tuple[str | Call, ...]

    def __str__(self) -> str:
        return f"{self.head}({', '.join(map(str, self.arguments))})"

    def lines(self, indent: int, comment: str = "") -> Iterator[str]:
        """Yield the lines of a call at `indent` levels, relative to that indentation."""
        room = WIDTH - 4 * indent
        inside = ", ".join(map(str, self.arguments))
        if len(f"{self}{comment}") <= room:
            yield f"{self}{comment}"
            return
        yield f"{self.head}("
        if len(inside) <= room - 4:
            yield f"    {inside}"
        else:
            for argument in self.arguments:
                parts = [argument] if isinstance(argument, str) else [*argument.lines(indent + 1)]
                parts[-1] += "," if len(self.arguments) > 1 else ""
                yield from (f"    {part}" for part in parts)
        yield f"){comment}"


def write_call(write: SourceWriter, call: Call, indent: int, comment: str = "") -> None:
    """Write `call` as a statement, with a comment behind it."""
    for line in call.lines(indent, f"  # {comment}" if comment else ""):
        write(line, indent)


def layer_calls(node: Node, kernel: str, bias: str) -> list[Call]:
    """Return the statements `x = ...` that apply a layer; dropout is left to the dialect."""
    match node.layer:
        case Conv2D() as layer:
            strides = f"strides={_pair(layer.stride)}"
            padding = f'padding="{layer.padding.upper()}"'
            value = Call("tf.nn.conv2d", ("x", kernel, strides, padding))
            return _with_bias_and_activation(node, value, bias if layer.bias else "")
        case Dense() as layer:
            value = Call("tf.matmul", ("x", kernel))
            return _with_bias_and_activation(node, value, bias if layer.bias else "")
        case MaxPool() as layer:
            strides = f"strides={_pair(layer.steps)}"
            padding = f'padding="{layer.padding.upper()}"'
            return [Call("x = tf.nn.max_pool2d", ("x", _pair(layer.size), strides, padding))]
        case Flatten():
            return [Call("x = tf.reshape", ("x", f"[-1, {node.output_shape[0]}]"))]
    function = "tf.identity" if node.activation == "linear" else f"tf.nn.{node.activation}"
    return [Call(f"x = {function}", ("x",))]


def _with_bias_and_activation(node: Node, value: Call, bias: str) -> list[Call]:
    """Two statements where there is a bias, so that each stays short; the last names the layer."""
    calls = []
    if bias:
        calls.append(Call(f"x = {value.head}", value.arguments))
        value = Call("tf.nn.bias_add", ("x", bias))
    if node.activation != "linear":
        value = Call(f"tf.nn.{node.activation}", (value,))
    return [*calls, Call(f"x = {value.head}", value.arguments)]


def _pair(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"[{pair[0]}, {pair[1]}]"


def shape(sizes: Iterable[object]) -> str:
    """Return the shape as TensorFlow's users write it: `[5, 5, 1, 32]`."""
    return f"[{', '.join(map(str, sizes))}]"


def model_docstring(spec: Spec, network: Network, more: str = "") -> str:
    """Return the docstring of the forward pass, with what the dialect means by its padding."""
    first = f"From images {shape(('n', *spec.input))} to logits [n, {network.output_shape[0]}]"
    if not any(pads != (0, 0) for node in network.nodes for pads in node.pads):
        return f'"""{first}.{more}"""'
    return (
        f'"""{first}.{more}\n\n'
        '"SAME" pads as little as it can; of an odd number of pixels, the larger half goes\n'
        'below and to the right. The convolutions see zeros there, max-pooling nothing.\n"""'
    )


def source(spec: Spec) -> str:
    """Write model, loss, optimizer and training loop."""
    network = infer(spec)
    write = SourceWriter()
    write(f'"""{spec.name} in raw TensorFlow."""\n\nimport tensorflow as tf\n\n')
    if network.parameters:
        _write_initializer(write, spec)
    _write_model(write, spec, network)
    write_loss(write, spec)
    if isinstance(spec.training.optimizer, Adam):
        write(ADAM.format(**spec.training.optimizer.model_dump()))
    elif spec.training.optimizer.momentum:
        write(MOMENTUM.format(**spec.training.optimizer.model_dump()))
    else:
        write(SGD)
    write(TRAIN)
    return write.text()


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
    if distribution == "normal":
        write("return tf.Variable(tf.random.normal(shape, 0.0, stddev, dtype))\n\n", 1)
    else:
        write("bound = 3**0.5 * stddev", 1)
        write("return tf.Variable(tf.random.uniform(shape, -bound, bound, dtype))\n\n", 1)


def _write_model(write: SourceWriter, spec: Spec, network: Network) -> None:
    write("class Model(tf.Module):")
    write(model_docstring(spec, network) + "\n", 1)
    write("def __init__(self, dtype=tf.float32):", 1)
    write("super().__init__()", 2)
    for parameter in network.parameters:
        layer, _, role = parameter.path.rpartition(".")
        sizes = shape(parameter.shape)
        if role == "kernel":
            drawn = (sizes, str(parameter.fan_in), str(parameter.fan_out), "dtype")
            write_call(write, Call(f"self.{layer}_kernel = weights", drawn), 2)
        else:
            zeros = Call("tf.zeros", (sizes, "dtype"))
            write_call(write, Call(f"self.{layer}_bias = tf.Variable", (zeros,)), 2)
    if network.dropouts:
        write("self.rng = tf.random.Generator.from_seed(0)  # a variable: it can be reset", 2)
    write("\ndef __call__(self, x, training=False):", 1)
    for node in network.nodes:
        _write_layer(write, node)
    write("return x\n\n", 2)


def _write_layer(write: SourceWriter, node: Node) -> None:
    name = node.name
    if isinstance(node.layer, Dropout):
        write("if training:", 2)
        arguments = ("x", repr(node.layer.rate), "self.rng.uniform")
        write_call(write, Call("x = tf.nn.experimental.general_dropout", arguments), 3, name)
        return
    calls = layer_calls(node, f"self.{name}_kernel", f"self.{name}_bias")
    has_name = isinstance(node.layer, Conv2D | Dense)
    for call in calls[:-1]:
        write_call(write, call, 2)
    write_call(write, calls[-1], 2, "" if has_name else _remark(node, str(calls[-1])))


def _remark(node: Node, call: str) -> str:
    """Return the layer's name, and what is worth saying about it if there is room."""
    remark = node.name
    if isinstance(node.layer, Flatten) and len(node.input_shape) == 3:
        remark += ": rows, columns, channels"
    elif isinstance(node.layer, ActivationLayer) and node.activation != node.layer.function:
        remark += ": its softmax is in the loss"
    return remark if len(f"        {call}  # {remark}") <= WIDTH else node.name


def write_loss(write: SourceWriter, spec: Spec) -> None:
    """Write `loss_fn`, the same in both dialects."""
    write("def loss_fn(outputs, targets):")
    if spec.training.loss == "cross_entropy":
        write("# From logits: the softmax is part of the loss. Mean over the batch.", 1)
        write("losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs)", 1)
        write("return tf.reduce_mean(losses)\n\n", 1)
    else:
        write("return tf.reduce_mean(tf.math.squared_difference(outputs, targets))\n\n", 1)


ADAM = '''class Adam(tf.Module):
    """Adam as in algorithm 1 of Kingma and Ba (2015), by TensorFlow's fused kernel.

    The kernel adds its epsilon before v's bias is corrected ("epsilon hat"). Multiplied by
    sqrt(1 - beta2^t) it means what the algorithm says, and what PyTorch and Optax do.
    """

    def __init__(self, parameters):
        super().__init__()
        self.step = tf.Variable(0, dtype=tf.int64)
        self.m = [tf.Variable(tf.zeros_like(p)) for p in parameters]
        self.v = [tf.Variable(tf.zeros_like(p)) for p in parameters]

    def apply(self, parameters, gradients, learning_rate):
        t = tf.cast(self.step.assign_add(1), learning_rate.dtype)
        beta1_power, beta2_power = {beta1!r}**t, {beta2!r}**t
        epsilon = {epsilon!r} * tf.sqrt(1 - beta2_power)
        for p, m, v, g in zip(parameters, self.m, self.v, gradients):
            tf.raw_ops.ResourceApplyAdam(
                var=p.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=beta1_power,
                beta2_power=beta2_power,
                lr=learning_rate,
                beta1={beta1!r},
                beta2={beta2!r},
                epsilon=epsilon,
                grad=g,
            )


def make_optimizer(model):
    return Adam(model.trainable_variables)

'''

MOMENTUM = '''class Momentum(tf.Module):
    """v <- {momentum} v + g, then p <- p - rate v; with Nesterov p <- p - rate (g + {momentum} v).

    The rate stays out of the velocity, as in PyTorch; Keras keeps it inside.
    """

    def __init__(self, parameters):
        super().__init__()
        self.v = [tf.Variable(tf.zeros_like(p)) for p in parameters]

    def apply(self, parameters, gradients, learning_rate):
        for p, v, g in zip(parameters, self.v, gradients):
            tf.raw_ops.ResourceApplyMomentum(
                var=p.handle,
                accum=v.handle,
                lr=learning_rate,
                grad=g,
                momentum={momentum!r},
                use_nesterov={nesterov!r},
            )


def make_optimizer(model):
    return Momentum(model.trainable_variables)

'''

SGD = '''class SGD(tf.Module):
    """p <- p - rate g."""

    def apply(self, parameters, gradients, learning_rate):
        for p, g in zip(parameters, gradients):
            p.assign_sub(learning_rate * g)


def make_optimizer(model):
    return SGD()

'''

TRAIN = '''def train_step(model, optimizer, images, targets, learning_rate):
    with tf.GradientTape() as tape:
        loss = loss_fn(model(images, training=True), targets)
    parameters = model.trainable_variables
    optimizer.apply(parameters, tape.gradient(loss, parameters), learning_rate)
    return loss


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
