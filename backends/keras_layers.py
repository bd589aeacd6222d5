"""The layers of the Keras backend's sources, and the helpers that some of them need."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from harness.spec import (
    LEAKY_SLOPE,
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
    LayerNorm,
    MaxPool,
    Node,
    Spec,
    infer,
)

Pads = tuple[tuple[int, int], tuple[int, int]]

# Functions and classes by name, each written where a source uses it; on some frameworks alone.
LEAKY_RELU = f"""\
def leaky_relu(x):
    return keras.activations.leaky_relu(x, negative_slope={LEAKY_SLOPE!r})
"""

GELU_TANH = """\
def gelu_tanh(x):
    return keras.activations.gelu(x, approximate=True)
"""

LEAKY_RELU_TENSORFLOW = f'''\
def leaky_relu(x):
    """As keras.activations.leaky_relu, but without rounding the slope to float32."""
    return ops.where(x > 0, x, {LEAKY_SLOPE!r} * x)
'''

GELU_TENSORFLOW = '''\
def gelu(x):
    """As keras.activations.gelu, but without rounding its constant to float32."""
    return 0.5 * x * (1 + ops.erf(0.7071067811865476 * x))  # 1 / sqrt(2)
'''

GELU_TANH_TENSORFLOW = '''\
def gelu_tanh(x):
    """As keras.activations.gelu(approximate=True), without rounding to float32."""
    inner = 0.7978845608028654 * (x + 0.044715 * x * x * x)  # sqrt(2 / pi)
    return 0.5 * x * (1 + ops.tanh(inner))
'''

LEAKY_RELU_JAX = f'''\
def leaky_relu(x):
    """As keras.activations.leaky_relu; on JAX, that one's gradient at zero is 1."""
    return ops.where(x > 0, x, {LEAKY_SLOPE!r} * x)
'''

RELU6_JAX = '''\
def relu6(x):
    """As keras.activations.relu6; on JAX, that one's gradient at zero is 1/2."""
    return ops.where(x < 6, ops.relu(x), 6.0)
'''

# Activations that Keras has not under the spec's name, or not with its meaning.
FUNCTIONS: dict[str, dict[str, str]] = {
    "tensorflow": {
        "leaky_relu": LEAKY_RELU_TENSORFLOW,
        "gelu": GELU_TENSORFLOW,
        "gelu_tanh": GELU_TANH_TENSORFLOW,
    },
    "jax": {"leaky_relu": LEAKY_RELU_JAX, "relu6": RELU6_JAX, "gelu_tanh": GELU_TANH},
    "torch": {"leaky_relu": LEAKY_RELU, "gelu_tanh": GELU_TANH},
}

INFINITY_PADDING = '''\
class InfinityPadding2D(layers.ZeroPadding2D):
    """Pads by minus infinity, which is never the maximum."""

    def call(self, inputs):
        pads = ((0, 0), *self.padding, (0, 0))
        return ops.pad(inputs, pads, constant_values=-float("inf"))
'''

AVERAGE_POOLING = '''\
class PaddedAveragePooling2D(layers.Layer):
    """Means over windows; the padding counts neither in the sum nor in the number.

    {why}
    """

    def __init__(self, pool_size, strides, padding, **kwargs):
        super().__init__(**kwargs)
        self.pool_size = pool_size
        self.strides = strides
        self.pads = ((0, 0), *padding, (0, 0))  # rows (above, below), then columns

    def call(self, inputs):
        share_of_pixels = self.mean(ops.ones_like(inputs[:1, :, :, :1]))
        return self.mean(inputs) / share_of_pixels

    def mean(self, x):
        return ops.average_pool(ops.pad(x, self.pads), self.pool_size, self.strides)
'''
KERAS_PADS = 'Keras knows "valid" and "same" only.'
TORCH_PADS = 'On torch, Keras repeats the border where "same" pads it unevenly.'

BATCH_NORM_TORCH = '''\
class BatchNormalization(layers.BatchNormalization):
    """Takes the variance about the mean; on torch, Keras takes E[x^2] - E[x]^2."""

    def _moments(self, inputs, mask):
        variance, mean = torch.var_mean(inputs, self._reduction_axes, correction=0)
        return mean, variance
'''

GROUP_NORM_TORCH = '''\
class GroupNormalization(layers.GroupNormalization):
    """Takes the variance about the mean; on torch, Keras takes E[x^2] - E[x]^2."""

    def call(self, inputs):
        x = torch.movedim(inputs, -1, 1)
        weights = (self.gamma, self.beta)
        x = torch.nn.functional.group_norm(x, self.groups, *weights, self.epsilon)
        return torch.movedim(x, 1, -1)
'''

FIRST_MAXIMUM = "Equal maxima: the first gets the gradient. GlobalMaxPooling2D would share it out."

UNTRUNCATED = {
    "glorot_normal": '1.0, "fan_avg"',
    "he_normal": '2.0, "fan_in"',
    "lecun_normal": '1.0, "fan_in"',
}


class Call(NamedTuple):
    """A layer of the source: its constructor with all arguments."""

    kind: str
    arguments: list[str]
    comment: str = ""


@dataclass
class ModelWriter:
    """Turns nodes into calls, and notes the helpers that these need."""

    spec: Spec
    framework: str
    helpers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = {node.name for node in infer(self.spec).nodes}

    def calls(self, node: Node) -> list[Call]:
        """Return the constructors and arguments of the layers that `node` becomes.

        The last of them has its name; what comes before it, such as padding, has a name of its own.
        """
        before, kind, arguments = self._layer(node)
        owner = "" if kind in self.helpers else "layers."
        return [*before, Call(owner + kind, [*arguments, f'name="{node.name}"'])]

    def _layer(self, node: Node) -> tuple[list[Call], str, list[str]]:
        """Return the layers before, and the class and arguments of the layer without its name."""
        match node.layer:
            case Conv2D() as layer:
                return self._conv(node, layer)
            case Dense() as layer:
                sizes = [str(layer.units)]
                return [], "Dense", [*sizes, *self._activation(node), *self._weights(layer.bias)]
            case MaxPool() as layer:
                before, padding = self._padding(node, layer.padding, "InfinityPadding2D")
                return before, "MaxPooling2D", [*_window(layer), *padding]
            case AvgPool() as layer:
                return [], *self._average(node, layer)
            case GlobalAvgPool():
                return [], "GlobalAveragePooling2D", []
            case GlobalMaxPool():
                height, width, _ = node.input_shape
                arguments = [_pair((height, width)), self._extra_name(node, "window")]
                windows = Call("layers.MaxPooling2D", arguments, FIRST_MAXIMUM)
                return [windows], "Flatten", []
            case BatchNorm() as layer:
                if self.framework == "torch":
                    self.helpers["BatchNormalization"] = BATCH_NORM_TORCH
                momentum = f"momentum={layer.decay!r}"
                return [], "BatchNormalization", [momentum, *_norm(layer)]
            case LayerNorm() as layer:
                return [], "LayerNormalization", _norm(layer)
            case GroupNorm() as layer:
                if self.framework == "torch":
                    self.helpers["GroupNormalization"] = GROUP_NORM_TORCH
                return [], "GroupNormalization", [f"groups={layer.groups}", *_norm(layer)]
            case Flatten():
                return [], "Flatten", []
            case Dropout() as layer:
                return [], "Dropout", [repr(layer.rate)]
        return [], "Activation", [self._function(node.activation)]

    def _conv(self, node: Node, layer: Conv2D) -> tuple[list[Call], str, list[str]]:
        if max(layer.stride) > 1 and max(layer.dilation) > 1:
            raise NotImplementedError(
                f"layers {layer.name!r}: Keras has no convolution with both a stride and a "
                f"dilation above 1; here stride = {list(layer.stride)}, "
                f"dilation = {list(layer.dilation)}"
            )
        before, padding = self._padding(node, layer.padding, "layers.ZeroPadding2D")
        arguments = [
            str(layer.filters),
            _pair(layer.kernel),
            *([f"strides={_pair(layer.stride)}"] if layer.stride != (1, 1) else []),
            *padding,
            *([f"dilation_rate={_pair(layer.dilation)}"] if layer.dilation != (1, 1) else []),
            *([f"groups={layer.groups}"] if layer.groups > 1 else []),
            *self._activation(node),
            *self._weights(layer.bias),
        ]
        return before, "Conv2D", arguments

    def _average(self, node: Node, layer: AvgPool) -> tuple[str, list[str]]:
        uneven = any(before != after for before, after in node.pads)
        if layer.padding in ("same", "valid") and not (self.framework == "torch" and uneven):
            padding = ['padding="same"'] if layer.padding == "same" else []
            return "AveragePooling2D", [*_window(layer), *padding]
        if not any(map(any, node.pads)):
            return "AveragePooling2D", _window(layer)
        is_same = layer.padding == "same"
        kind = "PaddedAveragePooling2D"
        # A source has one helper for both, and says why it has it.
        if kind not in self.helpers or not is_same:
            why = TORCH_PADS if is_same else KERAS_PADS
            self.helpers[kind] = AVERAGE_POOLING.format(why=why)
        return kind, [_pair(layer.size), f"strides={_pair(layer.steps)}", f"padding={node.pads}"]

    def _padding(self, node: Node, padding: str | Pads, kind: str) -> tuple[list[Call], list[str]]:
        """Return the layer that pads, and the argument of the layer that comes after it."""
        if padding == "same":
            return [], ['padding="same"']
        if not any(map(any, node.pads)):
            return [], []
        if kind == "InfinityPadding2D":
            self.helpers[kind] = INFINITY_PADDING
        return [Call(kind, [_pads(node.pads), self._extra_name(node, "pad")])], []

    def _extra_name(self, node: Node, suffix: str) -> str:
        name = f"{node.name}_{suffix}"
        while name in self.names:
            name += "_"
        self.names.add(name)
        return f'name="{name}"'

    def _activation(self, node: Node) -> list[str]:
        is_linear = node.activation == "linear"
        return [] if is_linear else [f"activation={self._function(node.activation)}"]

    def _function(self, activation: Activation) -> str:
        """Return what Keras takes for the activation: a name, or a function of the source's own."""
        own = FUNCTIONS[self.framework].get(activation)
        if own is None:
            return f'"{activation}"'
        self.helpers[activation] = own
        return activation

    def _weights(self, bias: bool) -> list[str]:
        """Return the arguments about bias and initializer: only what is not Keras's default.

        Keras's own `_normal` initializers are truncated.
        """
        arguments = [] if bias else ["use_bias=False"]
        initializer = self.spec.initializer
        if initializer in UNTRUNCATED:
            scaling = f'{UNTRUNCATED[initializer]}, "untruncated_normal"'
            arguments.append(f"kernel_initializer=keras.initializers.VarianceScaling({scaling})")
        elif initializer != "glorot_uniform":
            own = initializer.replace("truncated", "normal")
            arguments.append(f'kernel_initializer="{own}"')
        return arguments


def _pair(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else str(pair)


def _pads(pads: Pads) -> str:
    rows, columns = pads
    if rows[0] == rows[1] and columns[0] == columns[1]:
        return _pair((rows[0], columns[0]))
    return str(pads)


def _window(layer: MaxPool | AvgPool) -> list[str]:
    strides = [f"strides={_pair(layer.steps)}"] if layer.steps != layer.size else []
    return [_pair(layer.size), *strides]


def _norm(layer: BatchNorm | LayerNorm | GroupNorm) -> list[str]:
    return [
        f"epsilon={layer.epsilon!r}",
        *([] if layer.offset else ["center=False"]),
        *([] if layer.scale else ["scale=False"]),
    ]
