"""TensorFlow: a `GradientTape` in a `tf.function`, as in its quickstart for experts.

The models are those of the Keras recipe: TensorFlow's own tutorials take their layers from Keras.
"""

import tensorflow as tf

from benchmarks.recipes.keras_fit import MODELS, OPTIMIZERS


class Training:
    def __init__(self, model, images, labels):
        self.model = MODELS[model]()
        self.loss = tf.keras.losses.SparseCategoricalCrossentropy()
        self.optimizer = OPTIMIZERS.get(model, tf.keras.optimizers.Adam)()
        self.images, self.labels = tf.constant(images), tf.constant(labels)

    @tf.function(reduce_retracing=True)
    def train_step(self, images, labels):
        with tf.GradientTape() as tape:
            predictions = self.model(images, training=True)
            loss = self.loss(labels, predictions)
        gradients = tape.gradient(loss, self.model.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.model.trainable_variables, strict=True))
        return loss

    def train(self, batches):
        for batch in batches:
            images, labels = tf.gather(self.images, batch), tf.gather(self.labels, batch)
            loss = self.train_step(images, labels)
        return float(loss)


start = Training
