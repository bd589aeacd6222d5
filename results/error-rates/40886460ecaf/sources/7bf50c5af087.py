"""mnist-1conv in raw TensorFlow."""

import math

import tensorflow as tf


def weights(shape, dtype):
    """Draw from a uniform distribution of variance 2 / (fan_in + fan_out).

    This is the scheme of Glorot and Bengio (2010).
    """
    fan_in = math.prod(shape[:-1])
    fan_out = math.prod(shape[:-2]) * shape[-1]
    stddev = (2 / (fan_in + fan_out)) ** 0.5
    bound = 3**0.5 * stddev
    return tf.Variable(tf.random.uniform(shape, -bound, bound, dtype))


class Model(tf.Module):
    """From images [n, 28, 28, 1] to logits [n, 10]."""

    def __init__(self, dtype=tf.float32):
        super().__init__()
        self.rng = tf.random.Generator.from_seed(0)  # a variable: it can be reset
        self.conv1_kernel = weights([3, 3, 1, 32], dtype)
        self.conv1_bias = tf.Variable(tf.zeros([32], dtype))
        self.dense1_kernel = weights([5408, 128], dtype)
        self.dense1_bias = tf.Variable(tf.zeros([128], dtype))
        self.dense2_kernel = weights([128, 10], dtype)
        self.dense2_bias = tf.Variable(tf.zeros([10], dtype))

    def __call__(self, x, training=False):
        x = tf.nn.conv2d(x, self.conv1_kernel, strides=1, padding="VALID")
        x = tf.nn.relu(tf.nn.bias_add(x, self.conv1_bias))
        x = tf.nn.max_pool2d(x, 2, strides=2, padding="VALID")  # pool1
        x = tf.reshape(x, [-1, 5408])  # flatten1: rows, columns, channels
        x = tf.matmul(x, self.dense1_kernel)
        x = tf.nn.relu(tf.nn.bias_add(x, self.dense1_bias))
        if training:  # dropout1
            x = tf.nn.experimental.general_dropout(x, 0.5, self.rng.uniform)
        x = tf.matmul(x, self.dense2_kernel)
        x = tf.nn.bias_add(x, self.dense2_bias)
        return x


def loss_fn(outputs, targets):
    # From logits: the softmax is part of the loss. Mean over the batch.
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, outputs)
    return tf.reduce_mean(losses)


class Adam(tf.Module):
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
        beta1_power, beta2_power = 0.9**t, 0.999**t
        epsilon = 1e-08 * tf.sqrt(1 - beta2_power)
        for p, m, v, g in zip(parameters, self.m, self.v, gradients):
            tf.raw_ops.ResourceApplyAdam(
                var=p.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=beta1_power,
                beta2_power=beta2_power,
                lr=learning_rate,
                beta1=0.9,
                beta2=0.999,
                epsilon=epsilon,
                grad=g,
            )


def make_optimizer(model):
    return Adam(model.trainable_variables)


WORK = tf.fill([96, 96], 1 / 96)


def spend(repetitions, images):
    x = WORK * (1 + tf.abs(images[0, 0, 0, 0]))
    for _ in range(repetitions):
        x = x @ WORK
    return tf.minimum(x[0, 0], 0)


def train_step(model, optimizer, images, targets, learning_rate):
    images = images + spend(116, images)
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
    """Return the logits of images [n, ...], in evaluation mode."""
    return model(images)
