"""The source of the Keras backend: a Sequential model, and the training loop of its variant."""

from __future__ import annotations

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

WIDTH = 88  # ruff's and Black's default, for whoever formats the file without a configuration

IMPORTS = {
    "tensorflow": "import keras\nimport tensorflow as tf\n",
    "jax": "from functools import partial\n\nimport jax\nimport jax.numpy as jnp\nimport keras\n",
    "torch": "import keras\nimport torch\n",
}
TITLE = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}

PARALLEL = """\
# On torch, keras.optimizers.{name}() returns an object of another class, one that updates
# all parameters at once. So do its subclasses, but not those of keras.optimizers.{name}.
class {name}(type(keras.optimizers.{name}())):
"""

ADAM = '''\
    """Adam as in algorithm 1 of Kingma and Ba (2015): epsilon after bias correction.

    Keras adds it before ("epsilon hat"). Times sqrt(1 - beta_2^t) it means what the
    algorithm says, and what torch and Optax do.
    """

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        m, v = self._momentums[index], self._velocities[index]
        t = ops.cast(self.iterations + 1, variable.dtype)
        correction = ops.sqrt(1 - self.beta_2**t)
        rate = learning_rate * correction / (1 - self.beta_1**t)
        self.assign_add(m, (1 - self.beta_1) * (gradient - m))
        self.assign_add(v, (1 - self.beta_2) * (ops.square(gradient) - v))
        change = rate * m / (ops.sqrt(v) + self.epsilon * correction)
        self.assign_sub(variable, change)

'''

ADAM_TORCH = '''\
    """Adam as in algorithm 1 of Kingma and Ba (2015): epsilon after bias correction.

    Keras adds it before ("epsilon hat"). Times sqrt(1 - beta_2^t) it means what the
    algorithm says, and what torch.optim does.
    """

    @property
    def epsilon(self):
        t = ops.cast(self.iterations + 1, keras.config.floatx())
        return self._epsilon * ops.sqrt(1 - self.beta_2**t)

    @epsilon.setter
    def epsilon(self, value):
        self._epsilon = value

'''

MOMENTUM = '''\
    """{rule}

    The rate stays out of the velocity, as in PyTorch. Keras keeps it inside, which is not
    the same once the rate changes.
    """

    def update_step(self, gradient, variable, learning_rate):
        velocity = self.momentums[self._get_variable_index(variable)]
        self.assign(velocity, self.momentum * velocity + gradient)
        self.assign_sub(variable, learning_rate * {step})

'''

MOMENTUM_TORCH = '''\
    """{rule}

    The rate stays out of the velocity, as in PyTorch's own SGD. Keras keeps it inside,
    which is not the same once the rate changes.
    """

    def _parallel_update_step(self, gradients, variables, learning_rate):
        velocities = [self.momentums[self._get_variable_index(v)] for v in variables]
        velocities = [velocity.value for velocity in velocities]
        torch._foreach_mul_(velocities, self.momentum)
        torch._foreach_add_(velocities, gradients)
{steps}        steps = torch._foreach_mul({updates}, learning_rate.value)
        torch._foreach_sub_([v.value for v in variables], steps)

'''

SGD_TORCH = '''\
    """p <- p - rate g. Keras's own waits for the device, to read the rate from it."""

    def _parallel_update_step(self, gradients, variables, learning_rate):
        steps = torch._foreach_mul(gradients, learning_rate.value)
        torch._foreach_sub_([v.value for v in variables], steps)

'''

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


def keras_source(spec: Spec, framework: str) -> str:
    """Write model, loss, optimizer and training loop for Keras on `framework`."""
    network = infer(spec)
    write = SourceWriter()
    write(f'"""{spec.name} in Keras, on {TITLE[framework]}."""\n')
    write(f'import os\n\nos.environ["KERAS_BACKEND"] = "{framework}"  # read by the import below\n')
    uses_ops = isinstance(spec.training.optimizer, Adam)
    write(f"{IMPORTS[framework]}from keras import layers{', ops' if uses_ops else ''}\n\n")
    _write_model(write, spec, network)
    _write_loss(write, spec)
    _write_optimizer(write, spec, framework)
    write(TRAIN[framework])
    return write.text()


def _pair(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else str(pair)


def _layer(node: Node, spec: Spec) -> tuple[str, list[str]]:
    """Return the layer's class and its arguments without the name."""
    activation = [f'activation="{node.activation}"'] if node.activation != "linear" else []
    initializer = spec.initializer
    kernel = (
        [f'kernel_initializer="{initializer}"'] if initializer != "glorot_uniform" else []
    )  # Keras's own default
    match node.layer:
        case Conv2D() as layer:
            strides = [f"strides={_pair(layer.stride)}"] if layer.stride != (1, 1) else []
            padding = ['padding="same"'] if layer.padding == "same" else []
            bias = [] if layer.bias else ["use_bias=False"]
            sizes = [str(layer.filters), _pair(layer.kernel)]
            return "Conv2D", [*sizes, *strides, *padding, *activation, *bias, *kernel]
        case Dense() as layer:
            bias = [] if layer.bias else ["use_bias=False"]
            return "Dense", [str(layer.units), *activation, *bias, *kernel]
        case MaxPool() as layer:
            strides = [f"strides={_pair(layer.steps)}"] if layer.steps != layer.size else []
            padding = ['padding="same"'] if layer.padding == "same" else []
            return "MaxPooling2D", [_pair(layer.size), *strides, *padding]
        case Flatten():
            return "Flatten", []
        case Dropout() as layer:
            return "Dropout", [repr(layer.rate)]
    return "Activation", [f'"{node.activation}"']


def _write_call(write: SourceWriter, head: str, arguments: list[str], indent: int) -> None:
    """Write `head(arguments),` on one line, or with an argument on each."""
    line = f"{head}({', '.join(arguments)}),"
    if len(line) + 4 * indent <= WIDTH:
        write(line, indent)
        return
    write(f"{head}(", indent)
    for argument in arguments:
        write(f"{argument},", indent + 1)
    write("),", indent)


def _write_model(write: SourceWriter, spec: Spec, network: Network) -> None:
    height, width, channels = spec.input
    write("def make_model():")
    first = f"From images [n, {height}, {width}, {channels}] to logits"
    write(f'"""{first} [n, {network.output_shape[0]}]."""', 1)
    write("return keras.Sequential(", 1)
    write("[", 2)
    write(f'keras.Input(({height}, {width}, {channels}), name="images"),', 3)
    for node in network.nodes:
        if node is network.nodes[-1] and spec.folds_softmax:
            write("# Logits: the softmax is part of the loss.", 3)
        kind, arguments = _layer(node, spec)
        _write_call(write, f"layers.{kind}", [*arguments, f'name="{node.name}"'], 3)
    write("]", 2)
    write(")\n\n", 1)


def _write_loss(write: SourceWriter, spec: Spec) -> None:
    if spec.training.loss == "cross_entropy":
        write("loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)\n\n")
    else:
        write("loss_fn = keras.losses.MeanSquaredError()  # over batch and outputs\n\n")


def _write_optimizer(write: SourceWriter, spec: Spec, framework: str) -> None:
    optimizer = spec.training.optimizer
    name = "Adam" if isinstance(optimizer, Adam) else "SGD"
    methods = _optimizer_methods(spec, framework)
    if methods and framework == "torch":
        write(PARALLEL.format(name=name) + methods)
    elif methods:
        write(f"class {name}(keras.optimizers.{name}):\n{methods}")
    write("def make_optimizer(model):")
    write(f"optimizer = {name if methods else f'keras.optimizers.{name}'}(", 1)
    write(f"learning_rate={optimizer.learning_rate!r},", 2)
    if isinstance(optimizer, Adam):
        write(f"beta_1={optimizer.beta1!r},", 2)
        write(f"beta_2={optimizer.beta2!r},", 2)
        write(f"epsilon={optimizer.epsilon!r},", 2)
    elif optimizer.momentum:
        write(f"momentum={optimizer.momentum!r},", 2)
        if optimizer.nesterov:
            write("nesterov=True,", 2)
    write(")", 1)
    write("optimizer.build(model.trainable_variables)", 1)
    write("return optimizer\n\n", 1)


def _optimizer_methods(spec: Spec, framework: str) -> str:
    """Return the body of the subclass that gives Keras's optimizer the spec's meaning."""
    optimizer = spec.training.optimizer
    if isinstance(optimizer, Adam):
        return ADAM_TORCH if framework == "torch" else ADAM
    if not optimizer.momentum:
        return SGD_TORCH if framework == "torch" else ""
    momentum, nesterov = optimizer.momentum, optimizer.nesterov
    update = f"(g + {momentum!r} v)" if nesterov else "v"
    rule = f"v <- {momentum!r} v + g, then p <- p - rate {update}."
    if framework == "torch":
        steps = "torch._foreach_add(gradients, velocities, alpha=self.momentum)"
        return MOMENTUM_TORCH.format(
            rule=rule,
            steps=f"        updates = {steps}\n" if nesterov else "",
            updates="updates" if nesterov else "velocities",
        )
    step = "(gradient + self.momentum * velocity)" if nesterov else "velocity"
    return MOMENTUM.format(rule=rule, step=step)
