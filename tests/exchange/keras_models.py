"""A script: small Keras models as .keras files, with images and what Keras predicts for them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers as L

SHAPE = (13, 12, 3)


def sequential() -> Any:
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            L.Conv2D(6, (3, 2), strides=(2, 1), padding="same", activation="relu"),
            L.MaxPooling2D(2),
            L.Conv2D(4, 3, groups=2, dilation_rate=2, padding="same", use_bias=False),
            L.BatchNormalization(momentum=0.8, epsilon=1e-2, center=False),
            L.LeakyReLU(negative_slope=0.01),
            L.AveragePooling2D(3, strides=1, padding="same"),
            L.GroupNormalization(2, epsilon=1e-2),
            L.Flatten(),
            L.Dropout(0.3),
            L.Dense(7, activation="gelu"),
            L.LayerNormalization(),
            L.Dense(5, activation="silu", use_bias=False),
            L.BatchNormalization(scale=False),
            L.Activation("hard_silu"),
            L.Dense(3, activation="softmax"),
        ]
    )


def unnamed_input() -> Any:
    model = keras.Sequential([L.Conv2D(2, 3), L.ELU(), L.GlobalMaxPooling2D(), L.Dense(2)])
    model.build((None, *SHAPE))
    return model


def residual() -> Any:
    def unit(x: Any, filters: int, stride: int = 1) -> Any:
        y = L.ZeroPadding2D(1)(x)
        y = L.Conv2D(filters, 3, stride, use_bias=False)(y)
        y = L.BatchNormalization()(y)
        y = L.ReLU()(y)
        y = L.SeparableConv2D(filters, 3, padding="same", depth_multiplier=2)(y)
        if stride > 1:
            x = L.BatchNormalization()(L.Conv2D(filters, 1, stride, name=f"project{filters}")(x))
        return L.Activation("relu")(L.Add()([x, y]))

    first = keras.Input(SHAPE)
    x = L.Conv2D(4, 3, padding="same", activation="relu")(first)
    x = L.ZeroPadding2D(((1, 0), (0, 1)))(x)
    x = L.MaxPooling2D(3, strides=2)(x)
    x = unit(unit(x, 4), 6, 2)
    return keras.Model(first, L.Dense(4)(L.GlobalAveragePooling2D()(x)))


def mobile() -> Any:
    def gate(x: Any, units: int, by_reshape: bool) -> Any:
        channels = x.shape[-1]
        y = L.GlobalAveragePooling2D(keepdims=not by_reshape)(x)
        if by_reshape:
            y = L.Reshape((1, 1, channels))(y)
            y = L.Conv2D(units, 1, activation="swish")(y)
            y = L.Conv2D(channels, 1, activation="sigmoid")(y)
        else:
            y = L.Dense(units, activation="relu")(y)
            y = L.Dense(channels, activation="sigmoid", use_bias=False)(y)
        return L.Multiply()([x, y])

    first = keras.Input(SHAPE)
    x = L.Conv2D(4, 3, 2, activation=keras.activations.relu6)(first)
    for by_reshape in (True, False):
        y = L.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
        y = L.ReLU(max_value=6)(y)
        y = gate(y, 3, by_reshape)
        x = L.Add()([L.Conv2D(4, 1)(y), x])
    x = L.Multiply()([x, L.Activation("sigmoid")(x)])
    return keras.Model(first, L.Dense(1, activation="sigmoid")(L.Flatten()(x)))


def branches() -> Any:
    first = keras.Input(SHAPE)
    x = first
    for filters in (2, 3):
        a = L.Conv2D(filters, 1, activation="tanh")(x)
        b = L.Conv2D(filters, 3, padding="same")(L.Conv2D(2, 1, activation="elu")(x))
        c = L.MaxPooling2D(3, 1, padding="same")(x)
        x = L.Concatenate()([a, b, c])
    x = L.Dense(5, activation="relu")(x)  # of every pixel
    return keras.Model(first, L.Dense(2)(L.GlobalAveragePooling2D()(x)))


def signal() -> Any:
    first = keras.Input((31, 3))
    x = L.Conv1D(6, 5, strides=2, padding="same", activation="relu")(first)
    x = L.ZeroPadding1D((2, 1))(x)
    x = L.Conv1D(4, 3, dilation_rate=2, groups=2, use_bias=False)(x)
    x = L.BatchNormalization()(x)
    x = L.MaxPooling1D(2)(x)
    x = L.DepthwiseConv1D(3, depth_multiplier=2, padding="same")(x)
    x = L.SeparableConv1D(5, 3, activation="tanh")(x)
    gate = L.GlobalAveragePooling1D(keepdims=True)(x)
    gate = L.Conv1D(5, 1, activation="sigmoid")(L.Conv1D(2, 1, activation="relu")(gate))
    x = L.AveragePooling1D(2, 1, padding="same")(L.Multiply()([x, gate]))
    return keras.Model(first, L.Dense(3)(L.Flatten()(L.Dense(4, activation="elu")(x))))


def volume() -> Any:
    return keras.Sequential(
        [
            keras.Input((6, 8, 7, 2)),
            L.ZeroPadding3D(((1, 0), (0, 0), (2, 1))),
            L.Conv3D(4, (3, 2, 3), strides=(1, 2, 1), activation="relu"),
            L.MaxPooling3D((1, 2, 2), padding="same"),
            L.BatchNormalization(),
            L.Conv3D(3, 2, padding="same", use_bias=False),
            L.AveragePooling3D((2, 1, 2), strides=1),
            L.GlobalMaxPooling3D(),
            L.Dense(3),
        ]
    )


def upsampled() -> Any:
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            L.Conv2D(4, 3, strides=2, activation="relu"),
            L.Conv2DTranspose(5, 3, strides=2, padding="same", activation="relu"),
            L.Conv2DTranspose(3, (4, 2), strides=(2, 1)),
            L.Conv2D(4, 3, strides=3),
            L.Conv2DTranspose(3, 2, strides=3, use_bias=False),
            L.Conv2DTranspose(2, (1, 2), strides=2, padding="same"),
            L.Flatten(),
            L.Dense(3),
        ]
    )


def refused() -> Any:
    """What no spec can say: three layers, each of another reason."""
    first = keras.Input(SHAPE)
    a = L.Conv2D(2, 3)(L.Rescaling(1 / 255, name="rescale")(first))
    b = L.LeakyReLU(0.3, name="leaky")(L.Conv2D(2, 3)(first))
    x = L.SpatialDropout2D(0.1, name="spatial")(L.Add()([a, b]))
    return keras.Model(first, L.Dense(2)(L.Flatten()(x)))


MODELS: list[Callable[[], Any]] = [
    sequential, unnamed_input, residual, mobile, branches, signal, volume, upsampled, refused,
]  # fmt: skip


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    for make in MODELS:
        model = make()
        for layer in model.layers:  # gives statistics, scales and biases values of their own
            own = layer.get_weights()
            layer.set_weights([w + random.uniform(0.1, 0.5, w.shape) for w in own])
        x = random.normal(size=(4, *model.input_shape[1:])).astype(np.float32)
        model.save(folder / f"{make.__name__}.keras")
        np.savez(folder / f"{make.__name__}.npz", x=x, y=model.predict(x, verbose=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
