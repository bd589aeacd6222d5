"""The source of the Keras backend: model, loss, optimizer, and the training loop of its variant."""

from __future__ import annotations

import re

from backends.keras_blocks import write_model
from backends.keras_optimizers import write_optimizer
from harness.contract import SourceWriter
from harness.spec import ActivationLayer, Block, Dropout, Flatten, Part, Spec, infer

IMPORTS = {
    "tensorflow": "import keras\nimport tensorflow as tf\n",
    "jax": "from functools import partial\n\nimport jax\nimport jax.numpy as jnp\nimport keras\n",
    "torch": "import keras\nimport torch\n",
}
TITLE = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}

LOSSES = {
    "cross_entropy": "loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)",
    "binary_cross_entropy": (
        "loss_fn = keras.losses.BinaryCrossentropy(from_logits=True)  # over batch and outputs"
    ),
    "mean_squared_error": "loss_fn = keras.losses.MeanSquaredError()  # over batch and outputs",
    "huber": "loss_fn = keras.losses.Huber(delta=1.0)  # over batch and outputs",
}

TRAIN = {
    "tensorflow": '''def train_step(model, optimizer, images, targets):
    with tf.GradientTape() as tape:
        loss = loss_fn(targets, model(images, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply(gradients, model.trainable_variables)
    return loss


@tf.function(reduce_retracing=True)
def train(model, optimizer, images, targets, order, learning_rates):
    """Train on one batch of row numbers after another; return the loss of each step.

    AutoGraph makes the loop a tf.while_loop: all steps are one call into the runtime.
    """
    steps = tf.shape(order)[0]
    losses = tf.TensorArray(learning_rates.dtype, steps)
    for step in tf.range(steps):
        optimizer.learning_rate = learning_rates[step]  # assigns to its variable
        batch_images = tf.gather(images, order[step])
        batch_targets = tf.gather(targets, order[step])
        loss = train_step(model, optimizer, batch_images, batch_targets)
        losses = losses.write(step, loss)
    return losses.stack()


@tf.function(reduce_retracing=True)
def predict(model, images):
    """Return the logits of images [n, h, w, c], in evaluation mode."""
    return model(images, training=False)''',
    "jax": '''@partial(jax.jit, static_argnames=("model", "optimizer"), donate_argnames="state")
def train_step(model, optimizer, state, images, targets, batch, learning_rate):
    """Train on the rows `batch` of the data; return the new state and the loss.

    The old state is donated: its memory becomes the new state's.
    """
    trainable, non_trainable, optimizer_variables = state
    # The variables of an optimizer begin with its step count and its learning rate.
    step_count, _, *moments = optimizer_variables

    def batch_loss(trainable, non_trainable):
        outputs, non_trainable = model.stateless_call(
            trainable, non_trainable, images[batch], training=True
        )
        return loss_fn(targets[batch], outputs), non_trainable

    differentiate = jax.value_and_grad(batch_loss, has_aux=True)
    (loss, non_trainable), gradients = differentiate(trainable, non_trainable)
    trainable, optimizer_variables = optimizer.stateless_apply(
        [step_count, learning_rate, *moments], gradients, trainable
    )
    return (trainable, non_trainable, optimizer_variables), loss


def train(model, optimizer, images, targets, order, learning_rates):
    """Train on one batch of row numbers after another; return the loss of each step.

    The steps are dispatched without waiting for the device. Model and optimizer get
    their new values at the end; until then the steps own the memory.
    """
    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        optimizer.variables,
    )
    state = jax.tree.map(lambda variable: variable.value, variables)
    losses = []
    for batch, rate in zip(order, learning_rates):
        state, loss = train_step(model, optimizer, state, images, targets, batch, rate)
        losses.append(loss)
    jax.tree.map(lambda variable, value: variable.assign(value), variables, state)
    return jnp.stack(losses)


@partial(jax.jit, static_argnames="model")
def evaluate(model, trainable, non_trainable, images):
    return model.stateless_call(trainable, non_trainable, images, training=False)[0]


def predict(model, images):
    """Return the logits of images [n, h, w, c], in evaluation mode."""
    trainable = [variable.value for variable in model.trainable_variables]
    non_trainable = [variable.value for variable in model.non_trainable_variables]
    return evaluate(model, trainable, non_trainable, images)''',
    "torch": '''def train_step(model, optimizer, images, targets):
    loss = loss_fn(targets, model(images, training=True))
    model.zero_grad()
    loss.backward()
    parameters = model.trainable_variables
    gradients = [parameter.value.grad for parameter in parameters]
    with torch.no_grad():
        optimizer.apply(gradients, parameters)
    return loss.detach()


def train(model, optimizer, images, targets, order, learning_rates):
    """Train on one batch of row numbers after another; return the loss of each step."""
    losses = []
    for batch, learning_rate in zip(order, learning_rates):
        optimizer.learning_rate = learning_rate
        losses.append(train_step(model, optimizer, images[batch], targets[batch]))
    return torch.stack(losses)


def predict(model, images):
    """Return the logits of images [n, h, w, c], in evaluation mode."""
    with torch.no_grad():
        return model(images, training=False)''',
}


POLICY = """
# Layers compute in bfloat16, their variables are float32.
keras.config.set_dtype_policy("mixed_bfloat16")
"""


def keras_source(spec: Spec, framework: str, mixed: bool) -> str:
    """Write model, loss, optimizer and training loop for Keras on `framework`.

    They are `mixed` with bfloat16.

    Raises:
        NotImplementedError: Keras would call two layers by one name; the message has both.

    """
    body = SourceWriter()
    write_model(body, spec, framework, mixed)
    _write_loss(body, spec, framework)
    write_optimizer(body, spec.training, framework)
    body(TRAIN[framework])
    uses_ops = any(re.search(r"\bops\.", line) for line in body.lines)
    write = SourceWriter()
    how = ", in bfloat16" if mixed else ""
    write(f'"""{spec.name} in Keras, on {TITLE[framework]}{how}."""\n')
    write(f'import os\n\nos.environ["KERAS_BACKEND"] = "{framework}"  # read by the import below\n')
    write(f"{IMPORTS[framework]}from keras import layers{', ops' if uses_ops else ''}")
    write(POLICY + "\n" if mixed else "\n")
    write(body.text())
    return write.text()


def _write_loss(write: SourceWriter, spec: Spec, framework: str) -> None:
    smoothing, network = spec.training.label_smoothing, infer(spec)
    loss, targets, logits = LOSSES[spec.training.loss], "targets", "logits"
    if smoothing:
        options = f"from_logits=True, label_smoothing={smoothing!r}"
        loss = f"loss_fn = keras.losses.CategoricalCrossentropy({options})"
        targets = f"ops.one_hot(targets, {network.output_shape[0]})"
    if framework == "tensorflow" and "from_logits" in loss and _ends_in_shares(network.parts):
        logits = "tf.identity(logits)"
    if (targets, logits) == ("targets", "logits"):
        write(f"{loss}\n\n")
        return
    write(f"cross_entropy = {loss.partition(' = ')[2]}\n\n")
    write("def loss_fn(targets, logits):")
    if logits != "logits":
        write("# Of an activation's own output Keras would take what went into the activation.", 1)
    write(f"return cross_entropy({targets}, {logits})\n\n", 1)


def _ends_in_shares(parts: tuple[Part, ...]) -> bool:
    """Whether the last tensor may be that which a sigmoid or a softmax returned."""
    for part in reversed(parts):
        if isinstance(part, Block):
            if part.kind == "sequence":
                return _ends_in_shares(part.branches[0])
            return part.activation in ("sigmoid", "softmax")
        if part.activation != "linear":
            return part.activation in ("sigmoid", "softmax")
        if not isinstance(part.layer, Dropout | ActivationLayer | Flatten):
            return False  # those may return what they are given
    return False
