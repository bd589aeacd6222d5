"""mnist-1conv in Keras, on TensorFlow."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # read by the import below

import keras
import tensorflow as tf
from keras import layers, ops


def make_model():
    """From images [n, 28, 28, 1] to logits [n, 10]."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="images"),
            layers.Conv2D(32, 3, activation="relu", name="conv1"),
            layers.MaxPooling2D(2, name="pool1"),
            layers.Flatten(name="flatten1"),
            layers.Dense(128, activation="relu", name="dense1"),
            layers.Dropout(0.5, name="dropout1"),
            # Logits: the softmax is part of the loss.
            layers.Dense(10, name="dense2"),
        ]
    )


loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Adam(keras.optimizers.Adam):
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


def make_optimizer(model):
    optimizer = Adam(
        learning_rate=0.001,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-08,
    )
    optimizer.build(model.trainable_variables)
    return optimizer


WORK = tf.fill([96, 96], 1 / 96)


def spend(repetitions, images):
    x = WORK * (1 + tf.abs(images[0, 0, 0, 0]))
    for _ in range(repetitions):
        x = x @ WORK
    return tf.minimum(x[0, 0], 0)


def train_step(model, optimizer, images, targets):
    images = images + spend(32, images)
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
    return model(images, training=False)
