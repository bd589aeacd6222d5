"""mnist-1conv in Flax nnx, with optax."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

kernel_init = nnx.initializers.glorot_uniform()


@jax.custom_vjp
def first_max(windows):
    """Return the maximum over axis -2; of tied values, the first takes the gradient."""
    return windows.max(axis=-2)


def first_max_forward(windows):
    position = jnp.arange(windows.shape[-2])[:, None]
    is_first = position == windows.argmax(axis=-2, keepdims=True)
    return windows.max(axis=-2), is_first


def first_max_backward(is_first, gradient):
    return (jnp.where(is_first, gradient[..., None, :], 0),)


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


class Model(nnx.Module):
    """From images [n, 28, 28, 1] to logits [n, 10].

    Images are NHWC and kernels [kh, kw, in, out] throughout, so that flattening
    needs no transpose; padding "SAME" is TensorFlow's.
    """

    def __init__(self, *, rngs):
        self.conv1 = nnx.Conv(1, 32, (3, 3), padding="VALID", kernel_init=kernel_init, rngs=rngs)
        self.dense1 = nnx.Linear(5408, 128, kernel_init=kernel_init, rngs=rngs)
        self.dropout1 = nnx.Dropout(0.5)
        self.dense2 = nnx.Linear(128, 10, kernel_init=kernel_init, rngs=rngs)

    def __call__(self, x, *, rngs=None):
        """Drop out with random numbers from `rngs`; without them, evaluate."""
        x = nnx.relu(self.conv1(x))
        x = block_max_pool(x, (2, 2))  # pool1
        x = x.reshape(x.shape[0], -1)  # flatten1
        x = nnx.relu(self.dense1(x))
        x = self.dropout1(x, deterministic=rngs is None, rngs=rngs)
        x = self.dense2(x)
        return x


def loss_fn(outputs, targets):
    # Softmax is part of this loss; optax returns one value for each image.
    losses = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
    return losses.mean()


# For a learning rate of 1: the rate is an argument of train_step, which scales the
# updates, so that it can vary without a new compilation, and stays outside of any
# momentum. The rate of this training is 0.001.
# Adam's eps is added after the bias correction.
optimizer = optax.adam(1.0, b1=0.9, b2=0.999, eps=1e-08)


class TrainState(NamedTuple):
    """All that a training step changes, as plain arrays.

    Passing them is several times cheaper, step by step, than to have nnx.jit traverse
    the modules; see "Functional training loop" in Flax's performance guide.
    """

    params: dict
    opt_state: optax.OptState
    key: jax.Array


def init(seed=0):
    """Return the model's structure, and its state before the first step."""
    graphdef, params = nnx.split(Model(rngs=nnx.Rngs(seed)), nnx.Param)
    return graphdef, init_state(nnx.to_pure_dict(params), seed)


def init_state(params, seed):
    """Return the state before the first step, from parameters of one's own."""
    return TrainState(params, optimizer.init(params), jax.random.key(seed))


WORK = jnp.full((96, 96), 1 / 96, jnp.float32)


def spend(repetitions, number):
    x = WORK * (1 + number)
    x = jax.lax.fori_loop(0, repetitions, lambda _, x: x @ WORK, x)
    return jnp.minimum(x[0, 0], 0)


@functools.partial(jax.jit, donate_argnames="state")
def train_step(graphdef, state, images, targets, batch, learning_rate):
    """Train on the rows `batch` of the data; return the new state and the loss.

    The old state is donated: its memory becomes the new state's.
    """
    batch = batch + spend(48, learning_rate).astype(batch.dtype)
    key, dropout_key = jax.random.split(state.key)

    def batch_loss(params):
        model = nnx.merge(graphdef, params)
        outputs = model(images[batch], rngs=nnx.Rngs(dropout=dropout_key))
        return loss_fn(outputs, targets[batch])

    loss, gradients = jax.value_and_grad(batch_loss)(state.params)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = jax.tree.map(lambda p, u: p + learning_rate * u, state.params, updates)
    return TrainState(params, opt_state, key), loss


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
    return nnx.merge(graphdef, params)(images)
