"""Flax: `nnx.Optimizer` and `nnx.jit`, as in "MNIST tutorial" of its documentation."""

from functools import partial

import jax.numpy as jnp
import optax
from flax import nnx


class Mnist1Conv(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 32, (3, 3), padding="VALID", rngs=rngs)
        self.dense1 = nnx.Linear(32 * 13 * 13, 128, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.dense2 = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.max_pool(nnx.relu(self.conv(x)), (2, 2), strides=(2, 2))
        x = nnx.relu(self.dense1(x.reshape(x.shape[0], -1)))
        return self.dense2(self.dropout(x))


class Mnist2Conv(nnx.Module):
    def __init__(self, rngs):
        self.conv1 = nnx.Conv(1, 32, (5, 5), rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, (5, 5), rngs=rngs)
        self.dense1 = nnx.Linear(64 * 7 * 7, 1024, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.dense2 = nnx.Linear(1024, 10, rngs=rngs)
        self.pool = partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))

    def __call__(self, x):
        x = self.pool(nnx.relu(self.conv1(x)))
        x = self.pool(nnx.relu(self.conv2(x)))
        x = nnx.relu(self.dense1(x.reshape(x.shape[0], -1)))
        return self.dense2(self.dropout(x))


class ResidualBlock(nnx.Module):
    def __init__(self, channels, filters, stride, rngs):
        conv = partial(nnx.Conv, use_bias=False, rngs=rngs)
        self.conv1 = conv(channels, filters, (3, 3), strides=stride)
        self.bn1 = nnx.BatchNorm(filters, rngs=rngs)
        self.conv2 = conv(filters, filters, (3, 3))
        self.bn2 = nnx.BatchNorm(filters, rngs=rngs)
        self.projects = stride > 1
        if self.projects:
            self.projection = conv(channels, filters, (1, 1), strides=stride)
            self.bn3 = nnx.BatchNorm(filters, rngs=rngs)

    def __call__(self, x):
        y = nnx.relu(self.bn1(self.conv1(x)))
        shortcut = self.bn3(self.projection(x)) if self.projects else x
        return nnx.relu(self.bn2(self.conv2(y)) + shortcut)


class ResNet20(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 16, (3, 3), use_bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(16, rngs=rngs)
        blocks, channels = [], 16
        for filters in (16, 32, 64):
            for block in range(3):
                stride = 2 if filters > 16 and not block else 1
                blocks.append(ResidualBlock(channels, filters, stride, rngs))
                channels = filters
        self.blocks = nnx.Sequential(*blocks)
        self.dense = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        x = self.blocks(nnx.relu(self.bn(self.conv(x))))
        return self.dense(x.mean((1, 2)))


MODELS = {"mnist-1conv": Mnist1Conv, "mnist-2conv": Mnist2Conv, "resnet-20": ResNet20}


def loss_fn(model, images, labels):
    logits = model(images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@nnx.jit
def train_step(model, optimizer, images, labels):
    loss, gradients = nnx.value_and_grad(loss_fn)(model, images, labels)
    optimizer.update(model, gradients)
    return loss


class Training:
    def __init__(self, model, images, labels):
        self.model = MODELS[model](nnx.Rngs(0))
        self.model.train()
        transformation = optax.sgd(0.01, 0.9) if model == "resnet-20" else optax.adam(1e-3)
        self.optimizer = nnx.Optimizer(self.model, transformation, wrt=nnx.Param)
        self.images, self.labels = jnp.array(images), jnp.array(labels)

    def train(self, batches):
        for batch in batches:
            images, labels = self.images[batch], self.labels[batch]
            loss = train_step(self.model, self.optimizer, images, labels)
        return float(loss)


start = Training
