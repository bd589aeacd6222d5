"""The source of a Flax model: an nnx.Module, optax, and a functional training loop."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent

from harness.contract import SourceWriter
from harness.spec import (
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

MAX_POOL = '''@jax.custom_vjp
def first_max(windows):
    """Return the maximum over axis 3; of tied values, the first takes the gradient."""
    return windows.max(axis=3)


def first_max_forward(windows):
    position = jnp.arange(windows.shape[3])[:, None]
    is_first = position == windows.argmax(axis=3, keepdims=True)
    return windows.max(axis=3), is_first


def first_max_backward(is_first, gradient):
    return (jnp.where(is_first, gradient[:, :, :, None], 0),)


first_max.defvjp(first_max_forward, first_max_backward)


def block_max_pool(x, window):
    """Max-pool x [n, h, w, c] over windows that neither overlap nor need padding.

    The gradient of nnx.max_pool is XLA's select-and-scatter, on the CPU by far the
    slowest part of a training step. Where the stride is the window, pooling is just a
    reshape and a maximum; and jnp.max alone would split the gradient of tied values.
    """
    n, h, w, c = x.shape
    kh, kw = window
    x = x[:, : h // kh * kh, : w // kw * kw]  # whole windows only
    x = x.reshape(n, h // kh, kh, w // kw, kw, c).swapaxes(2, 3)
    return first_max(x.reshape(n, h // kh, w // kw, kh * kw, c))

'''

STATE = '''class TrainState(NamedTuple):
    """All that a training step changes, as plain arrays.

    Passing them is several times cheaper, step by step, than to have nnx.jit traverse
    the modules; see "Functional training loop" in Flax's performance guide.
    """

    params: dict
    opt_state: optax.OptState
{key_field}

def init(seed=0):
    """Return the model's structure, and its state before the first step."""
    graphdef, params = nnx.split(Model(rngs=nnx.Rngs(seed)), nnx.Param)
    return graphdef, init_state(nnx.to_pure_dict(params), seed)


def init_state(params, seed):
    """Return the state before the first step, from parameters of one's own."""
    return TrainState(params, optimizer.init(params){key_value})

'''

TRAIN = '''@functools.partial(jax.jit, donate_argnames="state")
def train_step(graphdef, state, images, targets, batch, learning_rate):
    """Train on the rows `batch` of the data; return the new state and the loss.

    The old state is donated: its memory becomes the new state's.
    """
{split}
    def batch_loss(params):
        model = nnx.merge(graphdef, params)
        outputs = model({inputs})
        return loss_fn(outputs, targets[batch])

    loss, gradients = jax.value_and_grad(batch_loss)(state.params)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = jax.tree.map(lambda p, u: p + learning_rate * u, state.params, updates)
    return TrainState(params, opt_state{key}), loss


def train(graphdef, state, images, targets, order, learning_rates):
    """Train on one batch of row numbers after another.

    Return the new state and the loss of each step. The steps are dispatched without
    waiting for the device; a Python loop, as lax.scan is slower on the CPU.
    """
    losses = []
    for batch, learning_rate in zip(order, learning_rates):
        state, loss = train_step(graphdef, state, images, targets, batch, learning_rate)
        losses.append(loss)
    return state, jnp.stack(losses)


@jax.jit
def predict(graphdef, params, images):
    """Return the logits of images [n, h, w, c], in evaluation mode."""
    return nnx.merge(graphdef, params)(images)'''


def flax_source(spec: Spec) -> str:
    """Write the module, the loss, the optimizer and the training loop of `spec`."""
    network = infer(spec)
    write = SourceWriter()
    write(f'"""{spec.name} in Flax nnx, with optax."""\n')
    write("import functools\nfrom typing import NamedTuple\n")
    write("import jax\nimport jax.numpy as jnp\nimport optax\nfrom flax import nnx\n\n")
    if any(_is_blocks(node) for node in network.nodes):
        write(MAX_POOL)
    _write_model(write, network)
    _write_loss(write, spec)
    _write_optimizer(write, spec)
    _write_train(write, network)
    return write.text()


def _is_blocks(node: Node) -> bool:
    """Whether the node pools windows that neither overlap nor need padding."""
    layer = node.layer
    return isinstance(layer, MaxPool) and layer.steps == layer.size and not any(sum(node.pads, ()))


def _call(target: str, function: str, arguments: Sequence[str], comment: str = "") -> str:
    """Return `target = function(arguments)  # comment`, wrapped as ruff does within a method."""
    tail = f"  # {comment}" if comment else ""
    room = WIDTH - 8
    if len(line := f"{target} = {function}({', '.join(arguments)}){tail}") <= room:
        return line
    if len(f"{target} = {function}(") <= room:
        return f"{target} = {_wrapped(function, arguments, room, fits=False)}{tail}"
    inner = _wrapped(function, arguments, room - 4, fits=True)
    return f"{target} = (\n{indent(inner, '    ')}\n){tail}"


def _wrapped(function: str, arguments: Sequence[str], room: int, fits: bool) -> str:
    """Return the call on one line if it `fits`, else its arguments on one line, else on many."""
    inside = ", ".join(arguments)
    if fits and len(function) + len(inside) + 2 <= room:
        return f"{function}({inside})"
    if len(inside) + 4 > room:
        inside = ",\n    ".join(arguments) + ","
    return f"{function}(\n    {inside}\n)"


def _constructor(node: Node) -> str:
    """Return the line of `__init__` that makes the layer; empty where it has no state."""
    target = f"self.{node.name}"
    match node.layer:
        case Conv2D() as layer:
            sizes = [str(node.input_shape[2]), str(layer.filters), str(layer.kernel)]
            strides = [f"strides={layer.stride}"] if layer.stride != (1, 1) else []
            padding = f'padding="{layer.padding.upper()}"'
            bias = [] if layer.bias else ["use_bias=False"]
            return _call(target, "nnx.Conv", [*sizes, *strides, padding, *bias, "rngs=rngs"])
        case Dense() as layer:
            sizes = [str(node.input_shape[0]), str(layer.units)]
            bias = [] if layer.bias else ["use_bias=False"]
            return _call(target, "nnx.Linear", [*sizes, *bias, "rngs=rngs"])
        case Dropout() as layer:
            return _call(target, "nnx.Dropout", [str(layer.rate)])
    return ""


def _forward(node: Node) -> str:
    """Return the statement of `__call__` that applies the layer."""
    name = node.name
    match node.layer:
        case Conv2D() | Dense():
            if node.activation == "linear":
                return _call("x", f"self.{name}", ["x"])
            return _call("x", f"nnx.{node.activation}", [f"self.{name}(x)"])
        case Dropout():
            return _call("x", f"self.{name}", ["x", "deterministic=rngs is None", "rngs=rngs"])
        case MaxPool() as layer if _is_blocks(node):
            return _call("x", "block_max_pool", ["x", str(layer.size)], name)
        case MaxPool() as layer:
            # The strides are always written: nnx's default is 1, not the window.
            window = [f"strides={layer.steps}", f'padding="{layer.padding.upper()}"']
            return _call("x", "nnx.max_pool", ["x", str(layer.size), *window], name)
        case Flatten():
            return _call("x", "x.reshape", ["x.shape[0]", "-1"], name)
    function = "identity" if node.activation == "linear" else node.activation
    return _call("x", f"nnx.{function}", ["x"], name)


def _write_model(write: SourceWriter, network: Network) -> None:
    height, width, channels = network.input_shape
    outputs = network.output_shape[0]
    write("class Model(nnx.Module):")
    write(f'"""From images [n, {height}, {width}, {channels}] to logits [n, {outputs}].\n', 1)
    write("Images are NHWC and kernels [kh, kw, in, out] throughout, so that flattening", 1)
    write('needs no transpose; padding "SAME" is TensorFlow\'s.\n"""\n', 1)
    write("def __init__(self, *, rngs):", 1)
    constructors = [text for node in network.nodes if (text := _constructor(node))]
    for text in constructors or ["pass"]:
        write(text, 2)
    write()
    if network.dropouts:
        write("def __call__(self, x, *, rngs=None):", 1)
        write('"""Drop out with random numbers from `rngs`; without them, evaluate."""', 2)
    else:
        write("def __call__(self, x):", 1)
    for node in network.nodes:
        write(_forward(node), 2)
    write("return x\n\n", 2)


def _write_loss(write: SourceWriter, spec: Spec) -> None:
    write("def loss_fn(outputs, targets):")
    if spec.training.loss == "cross_entropy":
        write("# Softmax is part of this loss; optax returns one value for each image.", 1)
        write("losses = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)", 1)
        write("return losses.mean()\n\n", 1)
    else:
        write("# Not optax.l2_loss, which is half of it.", 1)
        write("return optax.squared_error(outputs, targets).mean()\n\n", 1)


def _write_optimizer(write: SourceWriter, spec: Spec) -> None:
    optimizer = spec.training.optimizer
    write("# For a learning rate of 1: the rate is an argument of train_step, which scales the")
    write("# updates, so that it can vary without a new compilation, and stays outside of any")
    write(f"# momentum. The rate of this training is {optimizer.learning_rate!r}.")
    if isinstance(optimizer, Adam):
        betas = f"b1={optimizer.beta1!r}, b2={optimizer.beta2!r}"
        write("# Adam's eps is added after the bias correction.")
        write(f"optimizer = optax.adam(1.0, {betas}, eps={optimizer.epsilon!r})\n\n")
    else:
        momentum = f", momentum={optimizer.momentum!r}" if optimizer.momentum else ""
        nesterov = ", nesterov=True" if optimizer.nesterov else ""
        write(f"optimizer = optax.sgd(1.0{momentum}{nesterov})\n\n")


def _write_train(write: SourceWriter, network: Network) -> None:
    """Write state, step and loop; only a model with dropout carries a random key."""
    if network.dropouts:
        write(STATE.format(key_field="    key: jax.Array\n", key_value=", jax.random.key(seed)"))
        split = "    key, dropout_key = jax.random.split(state.key)\n"
        inputs = "images[batch], rngs=nnx.Rngs(dropout=dropout_key)"
        write(TRAIN.format(split=split, inputs=inputs, key=", key"))
    else:
        write(STATE.format(key_field="", key_value=""))
        write(TRAIN.format(split="", inputs="images[batch]", key=""))
