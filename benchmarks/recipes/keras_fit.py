"""Keras: `compile` and `fit` on arrays."""

from time import perf_counter

import keras
from keras import layers


def mnist_1conv():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


def mnist_2conv():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(1024, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


def residual_block(x, filters, strides=1):
    shortcut = x
    if strides > 1:
        shortcut = layers.Conv2D(filters, 1, strides, use_bias=False)(x)
        shortcut = layers.BatchNormalization()(shortcut)
    x = layers.Conv2D(filters, 3, strides, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(layers.Add()([x, shortcut]))


def resnet_20():
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            x = residual_block(x, filters, strides=2 if stage and not block else 1)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(x))


MODELS = {"mnist-1conv": mnist_1conv, "mnist-2conv": mnist_2conv, "resnet-20": resnet_20}
OPTIMIZERS = {"resnet-20": lambda: keras.optimizers.SGD(0.01, momentum=0.9)}


class Epoch(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            self.started = perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = perf_counter() - self.started


class Training:
    def __init__(self, model, images, labels):
        optimizer = OPTIMIZERS.get(model, keras.optimizers.Adam)()
        self.model = MODELS[model]()
        self.model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        self.images, self.labels = images, labels

    def train(self, batches):
        """One epoch of `fit` on the first images, as many as the batches have; it shuffles them.

        Its `seconds` are from the first batch to the end of the epoch. What `fit` does before is
        done once, and in tutorials for many epochs; after it, `fit` often waits for the thread by
        which tf.data tunes itself, up to as long again as the epoch took.
        """
        count, size = batches.size, batches.shape[1]
        epoch = Epoch()
        self.model.fit(self.images[:count], self.labels[:count], size, verbose=0, callbacks=[epoch])
        self.seconds = epoch.seconds


start = Training
