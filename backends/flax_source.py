"""The source of a Flax model: an nnx.Module, optax, and a functional training loop."""

from __future__ import annotations

from textwrap import indent

from backends.flax_blocks import layout_of, write_model
from backends.flax_model import WIDTH, call, wrapped
from harness.contract import SourceWriter
from harness.spec import Adam, AdamW, Network, RmsProp, Sgd, Spec, Training, infer

IS_KERNEL = '''def is_kernel(params):
    """Mark what decays: kernels, but no biases, scales or offsets, which are vectors."""
    return jax.tree.map(lambda p: p.ndim > 1, params)

'''

STATE = '''class TrainState(NamedTuple):
    """All that a training step changes, as plain arrays.

    Passing them is several times cheaper, step by step, than to have nnx.jit traverse
    the modules; see "Functional training loop" in Flax's performance guide.
    """

    params: dict
{statistics_field}    opt_state: optax.OptState
{key_field}

def init(seed=0):
    """Return the model's structure, and its state before the first step."""
{init}


def init_state({variables}, seed):
    """Return the state before the first step, from {given} of one's own."""
    return TrainState({variables}, optimizer.init(params){key})

'''

INIT = """    graphdef, params = nnx.split(Model(rngs=nnx.Rngs(seed)), nnx.Param)
    return graphdef, init_state(nnx.to_pure_dict(params), seed)"""

INIT_STATISTICS = """    model = Model(rngs=nnx.Rngs(seed))
    graphdef, params, batch_stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graphdef, init_state(nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats), seed)"""

TRAIN = '''@functools.partial(jax.jit, donate_argnames="state")
def train_step(graphdef, state, images, targets, batch, learning_rate):
    """Train on the rows `batch` of the data; return the new state and the loss.

    The old state is donated: its memory becomes the new state's.
    """
{split}
{differentiate}
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = jax.tree.map(lambda p, u: p + learning_rate * u, state.params, updates)
    return TrainState({variables}, opt_state{key}), loss


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
def predict(graphdef, {variables}, images):
    """Return the logits of {given}, in evaluation mode."""
    return nnx.merge(graphdef, {variables})(images)'''

DIFFERENTIATE = """    def batch_loss(params):
        model = nnx.merge(graphdef, params)
        outputs = model({inputs})
        return loss_fn(outputs, targets[batch])

    loss, gradients = jax.value_and_grad(batch_loss)(state.params)"""

DIFFERENTIATE_STATISTICS = """    def batch_loss(params):
        model = nnx.merge(graphdef, params, state.batch_stats)
        outputs = model({inputs})
        batch_stats = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
        return loss_fn(outputs, targets[batch]), batch_stats

    differentiate = jax.value_and_grad(batch_loss, has_aux=True)
    (loss, batch_stats), gradients = differentiate(state.params)"""


def flax_source(spec: Spec, mixed: bool) -> str:
    """Write the module, the loss, the optimizer and the training loop; `mixed` with bfloat16."""
    network = infer(spec)
    write = SourceWriter()
    write(f'"""{spec.name} in Flax nnx, with optax{", in bfloat16" if mixed else ""}."""\n')
    write("import functools\nfrom typing import NamedTuple\n")
    write("import jax\nimport jax.numpy as jnp\nimport optax\nfrom flax import nnx\n")
    write_model(write, spec, network, mixed)
    _write_loss(write, spec.training)
    _write_optimizer(write, spec.training)
    _write_train(write, network)
    return write.text()


def _write_loss(write: SourceWriter, training: Training) -> None:
    write("def loss_fn(outputs, targets):")
    match training.loss:
        case "cross_entropy" if training.label_smoothing:
            write("# Softmax is part of this loss; optax returns one value for each image.", 1)
            write("one_hot = jax.nn.one_hot(targets, outputs.shape[-1])", 1)
            write(f"smooth = optax.smooth_labels(one_hot, {training.label_smoothing!r})", 1)
            write("return optax.softmax_cross_entropy(outputs, smooth).mean()\n\n", 1)
        case "cross_entropy":
            write("# Softmax is part of this loss; optax returns one value for each image.", 1)
            write("losses = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)", 1)
            write("return losses.mean()\n\n", 1)
        case "binary_cross_entropy":
            write("# Sigmoid is part of this loss; optax returns one value for each output.", 1)
            write("return optax.sigmoid_binary_cross_entropy(outputs, targets).mean()\n\n", 1)
        case "huber":
            write("return optax.huber_loss(outputs, targets, delta=1.0).mean()\n\n", 1)
        case "mean_squared_error":
            write("# Not optax.l2_loss, which is half of it.", 1)
            write("return optax.squared_error(outputs, targets).mean()\n\n", 1)


def _write_optimizer(write: SourceWriter, training: Training) -> None:
    """Write the gradient transformation: clipping first, then coupled decay, then the rule."""
    optimizer = training.optimizer
    transformations = []
    if training.clip_norm is not None:
        transformations.append(("optax.clip_by_global_norm", [repr(training.clip_norm)]))
    mask = ["mask=is_kernel"] if _decays_kernels(optimizer) else []
    if mask:
        write(IS_KERNEL)
    write("# For a learning rate of 1: the rate is an argument of train_step, which scales the")
    write("# updates, so that it can vary without a new compilation, and stays outside of any")
    write(f"# momentum. The rate of this training is {optimizer.learning_rate!r}.")
    match optimizer:
        case Adam() | AdamW() as o:
            write("# Adam's eps is added after the bias correction.")
            arguments = [f"b1={o.beta1!r}", f"b2={o.beta2!r}", f"eps={o.epsilon!r}"]
            if isinstance(o, AdamW):
                write("# The decay is apart from the moments, and scaled by the rate as they are.")
                arguments += [f"weight_decay={o.weight_decay!r}", *mask]
            transformations.append((f"optax.{o.type}", ["1.0", *arguments]))
        case RmsProp() as o:
            write("# RMSprop's eps is added to the root, which in optax is not the default.")
            arguments = [f"decay={o.decay!r}", f"eps={o.epsilon!r}", "eps_in_sqrt=False"]
            arguments += [f"momentum={o.momentum!r}"] if o.momentum else []
            transformations.append(("optax.rmsprop", ["1.0", *arguments]))
        case Sgd() as o:
            if o.l2:
                write("# The decay is part of the gradient: it enters the momentum.")
                transformations.append(("optax.add_decayed_weights", [repr(o.l2), *mask]))
            arguments = [f"momentum={o.momentum!r}"] if o.momentum else []
            arguments += ["nesterov=True"] if o.nesterov else []
            transformations.append(("optax.sgd", ["1.0", *arguments]))
    if len(transformations) == 1:
        write(call("optimizer", *transformations[0], depth=0) + "\n\n")
        return
    write("optimizer = optax.chain(")
    for function, arguments in transformations:
        write(indent(wrapped(function, arguments, WIDTH - 5, fits=True), "    ") + ",")
    write(")\n\n")


def _decays_kernels(optimizer: Sgd | Adam | AdamW | RmsProp) -> bool:
    """Whether there is a decay, of either kind, for kernels only."""
    match optimizer:
        case AdamW():
            return optimizer.weight_decay > 0 and not optimizer.decay_all
        case Sgd():
            return optimizer.l2 > 0 and not optimizer.decay_all
    return False


def _write_train(write: SourceWriter, network: Network) -> None:
    """Write state, step and loop; statistics and a random key only where the model has them."""
    gathers, draws = bool(network.statistics), bool(network.dropouts)
    variables = "params, batch_stats" if gathers else "params"
    inputs = ["images[batch]"]
    inputs += ["training=True"] if gathers else []
    inputs += ["rngs=nnx.Rngs(dropout=dropout_key)"] if draws else []
    differentiate = DIFFERENTIATE_STATISTICS if gathers else DIFFERENTIATE
    state = STATE.format(
        statistics_field="    batch_stats: dict  # running mean and variance\n" if gathers else "",
        key_field="    key: jax.Array\n" if draws else "",
        init=INIT_STATISTICS if gathers else INIT,
        variables=variables,
        given="parameters and statistics" if gathers else "parameters",
        key=", jax.random.key(seed)" if draws else "",
    )
    write(state)
    step = TRAIN.format(
        split="    key, dropout_key = jax.random.split(state.key)\n" if draws else "",
        differentiate=differentiate.format(inputs=", ".join(inputs)),
        variables=variables,
        given=" ".join(layout_of(network)),
        key=", key" if draws else "",
    )
    write(step)
