"""From a spec to a network: shapes, parameters and FLOPs, inferred without any framework."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from harness.errors import SpecError
from harness.spec.layers import (
    Activation,
    AvgPool,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    Layer,
    LayerNorm,
    MaxPool,
    Norm,
    Padding,
    Pads,
    activation_of,
)
from harness.spec.model import Spec

Shape = tuple[int, ...]
Role = Literal["kernel", "bias", "scale", "offset", "mean", "variance"]
MAX_PARAMETERS = 10**10  # 40 GB of float32: beyond this a spec is a slip of the keyboard


@dataclass(frozen=True)
class Parameter:
    """One array in canonical layout; `path` is `layer.role`, for example `conv1.kernel`.

    Kernels, biases, scales and offsets are trained; a mean and a variance are running
    statistics of a batch_norm.
    """

    path: str
    shape: Shape
    role: Role
    fan_in: int
    fan_out: int

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Node:
    """A layer in its place: what goes in, what comes out, what it learns and costs.

    `activation` is what the network itself applies: a final softmax or sigmoid that is folded
    into the loss is `linear` here. `statistics` are kept, but not trained. `flops` counts a
    multiply-add as two operations, forward, per image; only convolutions and matrix products
    count, as in torch.utils.flop_counter. `pads` is `((top, bottom), (left, right))` for layers
    with windows.
    """

    layer: Layer
    input_shape: Shape
    output_shape: Shape
    activation: Activation
    parameters: tuple[Parameter, ...] = ()
    statistics: tuple[Parameter, ...] = ()
    flops: int = 0
    pads: Pads = ((0, 0), (0, 0))

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
    def statistics(self) -> tuple[Parameter, ...]:
        """All running statistics, in the order of the layers."""
        return tuple(p for node in self.nodes for p in node.statistics)

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


def window_output(size: int, window: int, stride: int, padding: Padding, pads: int = 0) -> int:
    """Pixels along one axis after sliding a window over it; `pads` is their sum if explicit."""
    return -(-size // stride) if padding == "same" else (size + pads - window) // stride + 1


def window_pads(size: int, window: int, stride: int, padding: Padding) -> tuple[int, int]:
    """Pixels padded before and after along one axis; an odd one goes after (TensorFlow's SAME)."""
    if padding == "valid":
        return 0, 0
    total = max((window_output(size, window, stride, "same") - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class Windows:
    """Where a sliding window goes: `[axis]` is 0 for rows, 1 for columns."""

    output: tuple[int, int]
    pads: Pads


def _windows(layer: Conv2D | MaxPool | AvgPool, shape: Shape) -> Windows:
    """Check and place a sliding window."""
    _needs_image(shape)
    if isinstance(layer, Conv2D):
        field, window, stride = "kernel", layer.kernel, layer.stride
        reach = [(k - 1) * d + 1 for k, d in zip(layer.kernel, layer.dilation, strict=True)]
    else:
        field, window, stride, reach = "size", layer.size, layer.steps, list(layer.size)
    if isinstance(layer.padding, str):
        rows_pads, columns_pads = (
            window_pads(shape[axis], reach[axis], stride[axis], layer.padding) for axis in (0, 1)
        )
        pads = (rows_pads, columns_pads)
    else:
        pads = layer.padding
    for axis in (0, 1):
        if layer.padding != "same" and reach[axis] > shape[axis] + sum(pads[axis]):
            dilated = f", dilated to {reach}," if reach != list(window) else ""
            raise ValueError(
                f"{field} = {list(window)}{dilated} is larger than its input of "
                f'{shape[0]}x{shape[1]} pixels; use a smaller one, or padding = "same"'
            )
        if not isinstance(layer, Conv2D) and max(pads[axis]) >= reach[axis]:
            raise ValueError(
                f"padding = {[list(pair) for pair in pads]} leaves windows of {list(window)} "
                "without a pixel; pad less than the window"
            )
    rows, columns = (
        window_output(shape[axis], reach[axis], stride[axis], layer.padding, sum(pads[axis]))
        for axis in (0, 1)
    )
    return Windows((rows, columns), pads)


def _needs_image(shape: Shape) -> None:
    if len(shape) != 3:
        raise ValueError(f"needs an image (height, width, channels), but its input is {shape}")


def _conv2d(layer: Conv2D, shape: Shape, activation: Activation) -> Node:
    windows = _windows(layer, shape)
    (height, width), (kh, kw) = windows.output, layer.kernel
    groups, filters = layer.groups, layer.filters
    if shape[2] % groups or filters % groups:
        raise ValueError(
            f"groups = {groups} must divide its input's {shape[2]} channels and its {filters} "
            "filters"
        )
    inside = shape[2] // groups
    fans = (kh * kw * inside, kh * kw * filters // groups)
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
        pads=windows.pads,
    )


def _dense(layer: Dense, shape: Shape, activation: Activation) -> Node:
    if len(shape) != 1:
        raise ValueError(
            f'needs a flat input, but its input is {shape}; put a "flatten" or a '
            '"global_avg_pool" before it'
        )
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


def _norm(layer: Norm, shape: Shape) -> Node:
    channels = shape[-1]
    if isinstance(layer, GroupNorm) and channels % layer.groups:
        raise ValueError(f"groups = {layer.groups} must divide its input's {channels} channels")
    wanted: tuple[tuple[Role, bool], ...] = (("scale", layer.scale), ("offset", layer.offset))
    roles = [role for role, is_wanted in wanted if is_wanted]
    statistics: tuple[Role, ...] = ("mean", "variance") if isinstance(layer, BatchNorm) else ()
    return Node(
        layer,
        shape,
        shape,
        "linear",
        tuple(_per_channel(layer, role, channels) for role in roles),
        tuple(_per_channel(layer, role, channels) for role in statistics),
    )


def _per_channel(layer: Norm, role: Role, channels: int) -> Parameter:
    return Parameter(f"{layer.name}.{role}", (channels,), role, channels, channels)


def _place(layer: Layer, shape: Shape, activation: Activation) -> Node:
    match layer:
        case Conv2D():
            return _conv2d(layer, shape, activation)
        case Dense():
            return _dense(layer, shape, activation)
        case MaxPool() | AvgPool():
            windows = _windows(layer, shape)
            output = (*windows.output, shape[2])
            return Node(layer, shape, output, activation, pads=windows.pads)
        case GlobalAvgPool() | GlobalMaxPool():
            _needs_image(shape)
            return Node(layer, shape, (shape[2],), activation)
        case BatchNorm() | LayerNorm() | GroupNorm():
            return _norm(layer, shape)
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
        activation = "linear" if is_last and spec.folds_activation else activation_of(layer)
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
