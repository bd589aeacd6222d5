"""The statements of tf.nn that apply a layer, in both of TensorFlow's dialects."""

from __future__ import annotations

from backends.tensorflow_calls import (
    Call,
    Statement,
    assigned,
    padding_of,
    pads_of,
    shape,
    sizes_of,
)
from backends.tensorflow_convolutions import convolution, transposed
from backends.tensorflow_helpers import ACTIVATIONS
from backends.wording import axes_of
from harness.spec import (
    Activation,
    ActivationLayer,
    AvgPool,
    ChannelScale,
    Conv,
    Conv2DTranspose,
    Dense,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool,
    Network,
    Node,
    Spec,
)


def layer_calls(
    node: Node, prefix: str, target: str = "x", source: str = "x", mixed: bool = False
) -> list[Statement]:
    """Return the statements that apply a layer; dropout and norms are left to the dialects.

    The first takes `source`, the last assigns to `target`. The layer's variables are named
    `prefix` and their role; `mixed`, they are rounded to bfloat16.

    Raises:
        NotImplementedError: the layer is of a kind that is not written here.

    """
    x, kernel, bias, scale = source, f"{prefix}kernel", f"{prefix}bias", f"{prefix}scale"
    if mixed:
        kernel, bias, scale = (f"bfloat16({name})" for name in (kernel, bias, scale))
    calls: list[Statement] = []
    value: Statement
    match node.layer:
        case Conv() as layer:
            calls, value = convolution(node, layer, kernel, target, source)
        case Conv2DTranspose() as layer:
            value = transposed(node, layer, kernel, source)
        case Dense():
            value = Call("tf.matmul", (x, kernel))
        case MaxPool() | AvgPool() as layer:
            return _pool(node, layer, target, source)
        case GlobalAvgPool():
            return [Call(f"{target} = tf.reduce_mean", (x, _pixels(node)))]
        case GlobalMaxPool():
            window = node.input_shape[:-1]
            steps = (1,) * len(window)
            return [
                "# A pool gives a tie's gradient to the first; tf.reduce_max would share it.",
                _pooled("max", x, window, steps, 'padding="VALID"', target),
                Call(f"{target} = tf.squeeze", (target, _pixels(node))),
            ]
        case ChannelScale():
            return [f"{target} = {x} * {scale}"]
        case Flatten():
            return [Call(f"{target} = tf.reshape", (x, f"[-1, {node.output_shape[0]}]"))]
        case ActivationLayer() if node.activation == "linear":
            value = Call("tf.identity", (x,))
        case ActivationLayer():
            value = x
        case layer:
            raise NotImplementedError(f"layers {node.path!r}: no statement for {layer.type!r}")
    if any(parameter.role == "bias" for parameter in node.parameters):
        # Two statements where there is a bias, so that each stays short.
        calls.append(assigned(value, target))
        # The gradient of tf.nn.bias_add sums bfloat16 up in bfloat16; that of a sum does not.
        value = f"{target} + {bias}" if mixed else Call("tf.nn.bias_add", (target, bias))
    return [*calls, assigned(activated(value, node.activation), target)]


def _pixels(node: Node) -> str:
    """Return the axes besides those of images and channels."""
    return shape(range(1, axes_of(node) + 1))


def _pool(node: Node, layer: MaxPool | AvgPool, target: str, source: str) -> list[Statement]:
    size, steps, padding = layer.size, layer.steps, padding_of(layer.padding, node.pads)
    if not padding.endswith("]"):
        kind = "max" if isinstance(layer, MaxPool) else "avg"
        return [_pooled(kind, source, size, steps, padding, target)]
    pads = pads_of(node.pads)
    if isinstance(layer, AvgPool):
        spelled = _windows(size, steps)
        return [Call(f"{target} = avg_pool", (source, *spelled, f"pads={pads}"))]
    if len(size) < 3:
        return [_pooled("max", source, size, steps, padding, target)]
    infinity = 'constant_values=-float("inf")'
    return [
        Call(f"{target} = tf.pad", (source, pads, infinity)),
        _pooled("max", target, size, steps, 'padding="VALID"', target),
    ]


def _windows(size: tuple[int, ...], steps: tuple[int, ...]) -> tuple[str, str]:
    spelled = shape if len(size) == 3 else sizes_of  # the function for volumes wants all three
    return spelled(size), f"strides={spelled(steps)}"


def _pooled(
    kind: str,
    source: str,
    size: tuple[int, ...],
    steps: tuple[int, ...],
    padding: str,
    target: str,
) -> Call:
    """Return the statement that pools, by a function of the source's own where there are volumes.

    That gives the first of equal maxima the gradient, as those of signals and images do.
    """
    arguments = (source, *_windows(size, steps), padding)
    if len(size) == 3:
        return Call(f"{target} = pool_volumes", (f"tf.nn.{kind}_pool2d", *arguments))
    return Call(f"{target} = tf.nn.{kind}_pool{len(size)}d", arguments)


def activated(value: Statement, function: Activation) -> Statement:
    """Return the value after an activation."""
    if function == "linear":
        return value
    if function in ACTIVATIONS:
        return Call(function, (value,))
    return Call(f"tf.nn.{function}", (value,))


INPUTS = {0: "inputs", 1: "signals", 2: "images", 3: "volumes"}


def model_docstring(spec: Spec, network: Network, more: str = "") -> str:
    """Return the docstring of the forward pass, with what the dialect means by its padding."""
    images = INPUTS[len(spec.input) - 1]
    first = f"From {images} {shape(('n', *spec.input))} to logits [n, {network.output_shape[0]}]"
    padded = [node for node in network.nodes if any(map(any, node.pads))]
    if not any(getattr(node.layer, "padding", None) == "same" for node in padded):
        return f'"""{first}.{more}"""'
    pooling = "pooling" if any(isinstance(n.layer, AvgPool) for n in padded) else "max-pooling"
    where = {1: "at the end", 2: "below and to the right", 3: "behind, below and to the right"}
    return (
        f'"""{first}.{more}\n\n'
        '"SAME" pads as little as it can; of an odd number of pixels, the larger half goes\n'
        f'{where[len(spec.input) - 1]}. The convolutions see zeros there, {pooling} nothing.\n"""'
    )
