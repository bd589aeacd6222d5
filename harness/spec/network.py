"""From a spec to a network: shapes, parameters and FLOPs, inferred without any framework."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from harness.errors import SpecError
from harness.spec.layers import (
    Activation,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool,
    Padding,
    activation_of,
)
from harness.spec.model import Spec

Shape = tuple[int, ...]
MAX_PARAMETERS = 10**10  # 40 GB of float32: beyond this a spec is a slip of the keyboard


@dataclass(frozen=True)
class Parameter:
    """One trainable array in canonical layout; `path` is `layer.kernel` or `layer.bias`."""

    path: str
    shape: Shape
    role: Literal["kernel", "bias"]
    fan_in: int
    fan_out: int

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Node:
    """A layer in its place: what goes in, what comes out, what it learns and costs.

    `activation` is what the network itself applies: a final softmax that is folded into the
    loss is `linear` here. `flops` counts a multiply-add as two operations, forward, per image;
    only convolutions and matrix products count, as in torch.utils.flop_counter.
    `pads` is `((top, bottom), (left, right))` for layers with windows.
    """

    layer: Layer
    input_shape: Shape
    output_shape: Shape
    activation: Activation
    parameters: tuple[Parameter, ...] = ()
    flops: int = 0
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))

    @property
    def name(self) -> str:
        """The layer's name, unique in the network."""
        return self.layer.name


@dataclass(frozen=True)
class Network:
    """The nodes of a spec in the order in which they run."""

    input_shape: Shape
    nodes: tuple[Node, ...]

    @property
    def output_shape(self) -> Shape:
        """Shape of one image's output, without the batch dimension."""
        return self.nodes[-1].output_shape

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All trainable arrays, in the order of the layers."""
        return tuple(p for node in self.nodes for p in node.parameters)

    @property
    def parameter_count(self) -> int:
        """Number of trainable values."""
        return sum(p.size for p in self.parameters)

    @property
    def flops_per_image(self) -> int:
        """Operations of one forward pass over one image; see `Node.flops`."""
        return sum(node.flops for node in self.nodes)

    @property
    def dropouts(self) -> tuple[Node, ...]:
        """The nodes that take a mask in training."""
        return tuple(node for node in self.nodes if isinstance(node.layer, Dropout))


def window_output(size: int, window: int, stride: int, padding: Padding) -> int:
    """Pixels along one axis after sliding a window over it."""
    return -(-size // stride) if padding == "same" else (size - window) // stride + 1


def window_pads(size: int, window: int, stride: int, padding: Padding) -> tuple[int, int]:
    """Pixels padded before and after along one axis; an odd one goes after (TensorFlow's SAME)."""
    if padding == "valid":
        return 0, 0
    total = max((window_output(size, window, stride, padding) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def _windows(layer: Conv2D | MaxPool, shape: Shape) -> tuple[tuple[int, int], Node]:
    """Check and place a sliding window; return the output's height and width, and a bare node."""
    if len(shape) != 3:
        raise ValueError(f"needs an image (height, width, channels), but its input is {shape}")
    window, stride = (
        (layer.kernel, layer.stride) if isinstance(layer, Conv2D) else (layer.size, layer.steps)
    )
    field = "kernel" if isinstance(layer, Conv2D) else "size"
    if layer.padding == "valid" and (window[0] > shape[0] or window[1] > shape[1]):
        raise ValueError(
            f"{field} = {list(window)} is larger than its input of {shape[0]}x{shape[1]} pixels; "
            'use a smaller one, or padding = "same"'
        )
    height = window_output(shape[0], window[0], stride[0], layer.padding)
    width = window_output(shape[1], window[1], stride[1], layer.padding)
    pads = (
        window_pads(shape[0], window[0], stride[0], layer.padding),
        window_pads(shape[1], window[1], stride[1], layer.padding),
    )
    return (height, width), Node(layer, shape, shape, "linear", pads=pads)


def _conv2d(layer: Conv2D, shape: Shape, activation: Activation) -> Node:
    (height, width), placed = _windows(layer, shape)
    kh, kw = layer.kernel
    inside, filters = shape[2], layer.filters
    fans = (kh * kw * inside, kh * kw * filters)
    parameters = [Parameter(f"{layer.name}.kernel", (kh, kw, inside, filters), "kernel", *fans)]
    if layer.bias:
        parameters.append(Parameter(f"{layer.name}.bias", (filters,), "bias", *fans))
    return Node(
        layer,
        shape,
        (height, width, filters),
        activation,
        tuple(parameters),
        flops=2 * height * width * kh * kw * inside * filters,
        pads=placed.pads,
    )


def _dense(layer: Dense, shape: Shape, activation: Activation) -> Node:
    if len(shape) != 1:
        raise ValueError(f'needs a flat input, but its input is {shape}; put a "flatten" before it')
    fans = (shape[0], layer.units)
    parameters = [Parameter(f"{layer.name}.kernel", fans, "kernel", *fans)]
    if layer.bias:
        parameters.append(Parameter(f"{layer.name}.bias", (layer.units,), "bias", *fans))
    return Node(
        layer,
        shape,
        (layer.units,),
        activation,
        tuple(parameters),
        flops=2 * shape[0] * layer.units,
    )


def _place(layer: Layer, shape: Shape, activation: Activation) -> Node:
    match layer:
        case Conv2D():
            return _conv2d(layer, shape, activation)
        case Dense():
            return _dense(layer, shape, activation)
        case MaxPool():
            (height, width), placed = _windows(layer, shape)
            return Node(layer, shape, (height, width, shape[2]), activation, pads=placed.pads)
        case Flatten():
            return Node(layer, shape, (math.prod(shape),), activation)
        case _:
            return Node(layer, shape, shape, activation)


@lru_cache(maxsize=64)
def infer(spec: Spec) -> Network:
    """Return the network that `spec` describes.

    Raises:
        SpecError: a layer cannot take its input's shape, the output is not flat, or the network
            has more than 10^10 parameters; the message names the layer.

    """
    shape: Shape = spec.input
    nodes: list[Node] = []
    parameters = 0
    for index, layer in enumerate(spec.layers):
        is_last = index == len(spec.layers) - 1
        activation = "linear" if is_last and spec.folds_softmax else activation_of(layer)
        try:
            node = _place(layer, shape, activation)
        except ValueError as error:
            raise SpecError(spec.name, [f"layers[{index}] {layer.name!r}: {error}"]) from None
        parameters += sum(p.size for p in node.parameters)
        if parameters > MAX_PARAMETERS:
            problem = f"layers[{index}] {layer.name!r}: more than {MAX_PARAMETERS:.0e} parameters"
            raise SpecError(spec.name, [f"{problem} by this layer; make it smaller"])
        nodes.append(node)
        shape = node.output_shape
    if len(shape) != 1:
        problem = f'layers: the last output is {shape}, not flat; add a "flatten" and a "dense"'
        raise SpecError(spec.name, [problem])
    return Network(spec.input, tuple(nodes))
