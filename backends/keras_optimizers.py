"""The optimizer of the Keras backend's sources: Keras's own, made to mean what the spec says."""

from __future__ import annotations

from harness.contract import SourceWriter
from harness.spec import Adam, AdamW, RmsProp, Sgd, Training

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

ADAM_TENSORFLOW = '''\
    """Adam as in algorithm 1 of Kingma and Ba (2015), by TensorFlow's fused kernel.

    It adds epsilon before the bias correction ("epsilon hat"), as Keras does. Times
    sqrt(1 - beta_2^t) it means what the algorithm says, and what torch and Optax do.
    """

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        t = ops.cast(self.iterations + 1, variable.dtype)
        beta_1_power, beta_2_power = self.beta_1**t, self.beta_2**t
        # Goes through the memory once; a formula does so for each of its operations.
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta_1_power,
            beta2_power=beta_2_power,
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon * ops.sqrt(1 - beta_2_power),
            grad=gradient,
        )

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
{decay}        velocity = self.momentums[self._get_variable_index(variable)]
        self.assign(velocity, self.momentum * velocity + gradient)
        self.assign_sub(variable, learning_rate * {step})

'''

MOMENTUM_TENSORFLOW = '''\
    """{rule}

    The rate stays out of the velocity, as in PyTorch. Keras keeps it inside, which is not
    the same once the rate changes.
    """

    def update_step(self, gradient, variable, learning_rate):
{decay}        velocity = self.momentums[self._get_variable_index(variable)]
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=velocity.value.handle,
            lr=learning_rate,
            grad=gradient,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )

'''

MOMENTUM_TORCH = '''\
    """{rule}

    The rate stays out of the velocity, as in PyTorch's own SGD. Keras keeps it inside,
    which is not the same once the rate changes.
    """

    def _parallel_update_step(self, gradients, variables, learning_rate):
{decay}        velocities = [self.momentums[self._get_variable_index(v)] for v in variables]
        velocities = [velocity.value for velocity in velocities]
        torch._foreach_mul_(velocities, self.momentum)
        torch._foreach_add_(velocities, gradients)
{steps}        steps = torch._foreach_mul({updates}, learning_rate.value)
        torch._foreach_sub_([v.value for v in variables], steps)

'''

COUPLED = '''\
    """{rule}"""

    def update_step(self, gradient, variable, learning_rate):
{decay}        self.assign_sub(variable, learning_rate * gradient)

'''

SGD_TORCH = '''\
    """{rule} Keras's own waits for the device, to read the rate from it."""

    def _parallel_update_step(self, gradients, variables, learning_rate):
{decay}        steps = torch._foreach_mul(gradients, learning_rate.value)
        torch._foreach_sub_([v.value for v in variables], steps)

'''

DECAY_ALL = """\
        gradient = gradient + {l2!r} * variable
"""

DECAY_KERNELS = """\
        if self._use_weight_decay(variable):
            gradient = gradient + {l2!r} * variable
"""

DECAY_ALL_TORCH = """\
        weights = [v.value for v in variables]
        gradients = torch._foreach_add(gradients, weights, alpha={l2!r})
"""

DECAY_KERNELS_TORCH = """\
        gradients = [
            g + {l2!r} * v.value if self._use_weight_decay(v) else g
            for g, v in zip(gradients, variables)
        ]
"""

RMSPROP = '''\
    """s <- {decay!r} s + (1 - {decay!r}) g^2, {rule}.

    {dialect}
    """

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        squares = self._velocities[index]
        self.assign_add(squares, (1 - self.rho) * (ops.square(gradient) - squares))
        update = gradient / (ops.sqrt(squares) + self.epsilon)
{momentum}        self.assign_sub(variable, learning_rate * {step})

'''

RMSPROP_DIALECT_MOMENTUM = """\
As in PyTorch, epsilon is added to the root, and the rate stays out of the velocity.
    Keras adds epsilon under the root, and keeps the rate inside the velocity."""

RMSPROP_MOMENTUM = """\
        velocity = self._momentums[index]
        self.assign(velocity, self.momentum * velocity + update)
"""

RMSPROP_TORCH = '''\
    """s <- {decay!r} s + (1 - {decay!r}) g^2, {rule}.

    {dialect}
    """

    def _parallel_update_step(self, gradients, variables, learning_rate):
        indices = [self._get_variable_index(v) for v in variables]
        squares = [self._velocities[index].value for index in indices]
        torch._foreach_mul_(squares, self.rho)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - self.rho)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, self.epsilon)
        updates = torch._foreach_div(gradients, roots)
{momentum}        steps = torch._foreach_mul({step}, learning_rate.value)
        torch._foreach_sub_([v.value for v in variables], steps)

'''

RMSPROP_MOMENTUM_TORCH = """\
        velocities = [self._momentums[index].value for index in indices]
        torch._foreach_mul_(velocities, self.momentum)
        torch._foreach_add_(velocities, updates)
"""

EXCLUDE = """\
no_kernels = [v for v in model.trainable_variables if v.name != "kernel"]
optimizer.exclude_from_weight_decay(no_kernels)"""

NAMES = {Adam: "Adam", AdamW: "AdamW", RmsProp: "RMSprop", Sgd: "SGD"}


def write_optimizer(write: SourceWriter, training: Training, framework: str) -> None:
    """Write `make_optimizer`, and before it the subclass that gives it the spec's meaning."""
    optimizer = training.optimizer
    name = NAMES[type(optimizer)]
    methods = _methods(optimizer, framework)
    if methods and framework == "torch":
        write(PARALLEL.format(name=name) + methods)
    elif methods:
        write(f"class {name}(keras.optimizers.{name}):\n{methods}")
    write("def make_optimizer(model):")
    write(f"optimizer = {name if methods else f'keras.optimizers.{name}'}(", 1)
    for argument in _arguments(optimizer):
        write(f"{argument},", 2)
    if training.clip_norm:
        write(f"global_clipnorm={training.clip_norm!r},", 2)
    write(")", 1)
    if _decays(optimizer) and not getattr(optimizer, "decay_all", True):
        write(EXCLUDE, 1)
    write("optimizer.build(model.trainable_variables)", 1)
    write("return optimizer\n\n", 1)


def _decays(optimizer: Sgd | Adam | AdamW | RmsProp) -> bool:
    return bool(getattr(optimizer, "l2", 0.0) or getattr(optimizer, "weight_decay", 0.0))


def _arguments(optimizer: Sgd | Adam | AdamW | RmsProp) -> list[str]:
    arguments = [f"learning_rate={optimizer.learning_rate!r}"]
    match optimizer:
        case Adam() | AdamW():
            if isinstance(optimizer, AdamW):
                arguments.append(f"weight_decay={optimizer.weight_decay!r}")
            arguments += [f"beta_1={optimizer.beta1!r}", f"beta_2={optimizer.beta2!r}"]
            arguments.append(f"epsilon={optimizer.epsilon!r}")
        case RmsProp():
            arguments.append(f"rho={optimizer.decay!r}")
            if optimizer.momentum:
                arguments.append(f"momentum={optimizer.momentum!r}")
            arguments.append(f"epsilon={optimizer.epsilon!r}")
        case Sgd() if optimizer.momentum:
            arguments.append(f"momentum={optimizer.momentum!r}")
            if optimizer.nesterov:
                arguments.append("nesterov=True")
    return arguments


def _methods(optimizer: Sgd | Adam | AdamW | RmsProp, framework: str) -> str:
    """Return the body of the subclass that gives Keras's optimizer the spec's meaning."""
    match optimizer:
        case Adam() | AdamW():
            return {"torch": ADAM_TORCH, "tensorflow": ADAM_TENSORFLOW}.get(framework, ADAM)
        case RmsProp():
            return _rmsprop(optimizer, framework == "torch")
        case Sgd():
            return _sgd(optimizer, framework)


def _rmsprop(optimizer: RmsProp, is_torch: bool) -> str:
    momentum = optimizer.momentum
    if momentum:
        rule = f"v <- {momentum!r} v + g / (sqrt(s) + epsilon), p <- p - rate v"
        pieces = {
            "dialect": RMSPROP_DIALECT_MOMENTUM,
            "momentum": RMSPROP_MOMENTUM_TORCH if is_torch else RMSPROP_MOMENTUM,
            "step": "velocities" if is_torch else "velocity",
        }
    else:
        rule = "p <- p - rate g / (sqrt(s) + epsilon)"
        pieces = {
            "dialect": "As in PyTorch, epsilon is added to the root. Keras adds it under the root.",
            "momentum": "",
            "step": "updates" if is_torch else "update",
        }
    template = RMSPROP_TORCH if is_torch else RMSPROP
    return template.format(decay=optimizer.decay, rule=rule, **pieces)


def _sgd(optimizer: Sgd, framework: str) -> str:
    is_torch = framework == "torch"
    momentum, nesterov, l2 = optimizer.momentum, optimizer.nesterov, optimizer.l2
    decay, before = "", ""
    if l2:
        whose = "" if optimizer.decay_all else " for kernels"
        before = f"g <- g + {l2!r} p{whose}, "
        if is_torch:
            decay = DECAY_ALL_TORCH if optimizer.decay_all else DECAY_KERNELS_TORCH
        else:
            decay = DECAY_ALL if optimizer.decay_all else DECAY_KERNELS
        decay = decay.format(l2=l2)
    if not momentum:
        rule = f"{before}p <- p - rate g."
        if is_torch:
            return SGD_TORCH.format(rule=rule, decay=decay)
        return COUPLED.format(rule=rule, decay=decay) if l2 else ""
    update = f"(g + {momentum!r} v)" if nesterov else "v"
    rule = f"{before}v <- {momentum!r} v + g, then p <- p - rate {update}."
    if is_torch:
        steps = "torch._foreach_add(gradients, velocities, alpha=self.momentum)"
        return MOMENTUM_TORCH.format(
            rule=rule,
            decay=decay,
            steps=f"        updates = {steps}\n" if nesterov else "",
            updates="updates" if nesterov else "velocities",
        )
    if framework == "tensorflow":
        return MOMENTUM_TENSORFLOW.format(rule=rule, decay=decay)
    step = "(gradient + self.momentum * velocity)" if nesterov else "velocity"
    return MOMENTUM.format(rule=rule, decay=decay, step=step)
