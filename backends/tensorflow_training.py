"""Losses in both of TensorFlow's dialects, and the optimizers of the raw one."""

from __future__ import annotations

from typing import Any

from harness.contract import SourceWriter
from harness.spec import Adam, AdamW, RmsProp, Sgd, Spec, infer


def write_loss(write: SourceWriter, spec: Spec, softmax_cross_entropy: str) -> None:
    """Write `loss_fn`; the dialects differ in the name of the cross-entropy of full targets."""
    training = spec.training
    outputs, smoothing = infer(spec).output_shape[0], training.label_smoothing
    write("def loss_fn(outputs, targets):")
    match training.loss:
        case "cross_entropy" if smoothing:
            write("# Smoothed: each target is mixed with the uniform distribution.", 1)
            write(f"targets = tf.one_hot(targets, {outputs}, dtype=outputs.dtype)", 1)
            write(f"targets = (1 - {smoothing!r}) * targets + {smoothing!r} / {outputs}", 1)
            write("# From logits: the softmax is part of the loss. Mean over the batch.", 1)
            write(f"losses = {softmax_cross_entropy}(labels=targets, logits=outputs)", 1)
            write("return tf.reduce_mean(losses)", 1)
        case "cross_entropy":
            write("# From logits: the softmax is part of the loss. Mean over the batch.", 1)
            write("losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs)", 1)
            write("return tf.reduce_mean(losses)", 1)
        case "binary_cross_entropy":
            write("# From logits: the sigmoid is part of the loss. Mean over batch and outputs.", 1)
            write("losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, outputs)", 1)
            write("return tf.reduce_mean(losses)", 1)
        case "mean_squared_error":
            write("return tf.reduce_mean(tf.math.squared_difference(outputs, targets))", 1)
        case "huber":
            write("error = tf.abs(outputs - targets)", 1)
            write("losses = tf.where(error <= 1, 0.5 * tf.square(error), error - 0.5)", 1)
            write("return tf.reduce_mean(losses)", 1)
    write("\n")


def write_optimizer(write: SourceWriter, spec: Spec) -> None:
    """Write a class of the optimizer's slots and its update, and `make_optimizer`."""
    optimizer = spec.training.optimizer
    values: dict[str, Any] = optimizer.model_dump()
    match optimizer:
        case AdamW() as o:
            decay = _decay(f"p.assign_sub(learning_rate * {o.weight_decay!r} * p)", o.decay_all)
            text, values["decay"] = ADAM, decay if o.weight_decay else ""
            values |= {"name": "AdamW", "more": ADAMW_MORE}
        case Adam():
            text, values = ADAM, {**values, "decay": "", "name": "Adam", "more": ""}
        case RmsProp():
            text = RMSPROP_MOMENTUM if optimizer.momentum else RMSPROP
        case Sgd() as o:
            text = MOMENTUM if o.momentum else SGD
            values["l2_term"] = _decay(f"g = g + {o.l2!r} * p", o.decay_all) if o.l2 else ""
    write(text.format(**values))


def _decay(statement: str, decay_all: bool) -> str:
    """Return the statement for all parameters in a loop, or for the kernels among them."""
    indent = 12 * " "
    if decay_all:
        return f"{indent}{statement}\n"
    condition = "if p.shape.rank > 1:  # kernels decay; biases, scales and offsets do not"
    return f"{indent}{condition}\n{indent}    {statement}\n"


ADAM = '''class {name}(tf.Module):
    """Adam as in algorithm 1 of Kingma and Ba (2015), by TensorFlow's fused kernel.

    The kernel adds its epsilon before v's bias is corrected ("epsilon hat"). Multiplied by
    sqrt(1 - beta2^t) it means what the algorithm says, and what PyTorch and Optax do.{more}
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
{decay}            tf.raw_ops.ResourceApplyAdam(
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
    return {name}(model.trainable_variables)

'''

ADAMW_MORE = """
    Before it, parameters shrink by rate times decay (Loshchilov and Hutter 2019)."""

MOMENTUM = '''class Momentum(tf.Module):
    """v <- {momentum} v + g, then p <- p - rate v; with Nesterov p <- p - rate (g + {momentum} v).

    The rate stays out of the velocity, as in PyTorch; Keras keeps it inside.
    """

    def __init__(self, parameters):
        super().__init__()
        self.v = [tf.Variable(tf.zeros_like(p)) for p in parameters]

    def apply(self, parameters, gradients, learning_rate):
        for p, v, g in zip(parameters, self.v, gradients):
{l2_term}            tf.raw_ops.ResourceApplyMomentum(
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
{l2_term}            p.assign_sub(learning_rate * g)


def make_optimizer(model):
    return SGD()

'''

RMSPROP = '''class RMSprop(tf.Module):
    """s <- {decay} s + (1 - {decay}) g^2, then p <- p - rate g / (sqrt(s) + {epsilon}).

    As in PyTorch; TensorFlow's fused kernel has its epsilon inside of the root.
    """

    def __init__(self, parameters):
        super().__init__()
        self.s = [tf.Variable(tf.zeros_like(p)) for p in parameters]

    def apply(self, parameters, gradients, learning_rate):
        for p, s, g in zip(parameters, self.s, gradients):
            s.assign({decay!r} * s + (1 - {decay!r}) * tf.square(g))
            p.assign_sub(learning_rate * g / (tf.sqrt(s) + {epsilon!r}))


def make_optimizer(model):
    return RMSprop(model.trainable_variables)

'''

RMSPROP_MOMENTUM = '''class RMSprop(tf.Module):
    """v <- {momentum} v + g / (sqrt(s) + {epsilon}), then p <- p - rate v.

    s is the running mean of g^2. As in PyTorch; TensorFlow's fused kernel has its epsilon inside
    of the root, and the rate inside of the velocity.
    """

    def __init__(self, parameters):
        super().__init__()
        self.s = [tf.Variable(tf.zeros_like(p)) for p in parameters]
        self.v = [tf.Variable(tf.zeros_like(p)) for p in parameters]

    def apply(self, parameters, gradients, learning_rate):
        for p, s, v, g in zip(parameters, self.s, self.v, gradients):
            s.assign({decay!r} * s + (1 - {decay!r}) * tf.square(g))
            v.assign({momentum!r} * v + g / (tf.sqrt(s) + {epsilon!r}))
            p.assign_sub(learning_rate * v)


def make_optimizer(model):
    return RMSprop(model.trainable_variables)

'''
