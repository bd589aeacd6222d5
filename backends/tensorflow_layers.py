"""The statements of tf.nn that apply a layer, in both of TensorFlow's dialects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from backends.tensorflow_helpers import ACTIVATIONS
from harness.contract import SourceWriter
from harness.spec import (
    Activation,
    AvgPool,
    ChannelScale,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool,
    Network,
    Node,
    Spec,
)
from harness.spec.symbols import Symbol

WIDTH = 100  # columns of a generated line


@dataclass(frozen=True)
class Call:
    """`head(arguments)`, broken over lines where it must be, as ruff would break it."""

    head: str
    arguments: tuple[str | Call, ...]

    def __str__(self) -> str:
        return f"{self.head}({', '.join(map(str, self.arguments))})"

    def lines(self, indent: int, comment: str = "") -> Iterator[str]:
        """Yield the lines of a call at `indent` levels, relative to that indentation."""
        room = WIDTH - 4 * indent
        inside = ", ".join(map(str, self.arguments))
        if len(f"{self}{comment}") <= room:
            yield f"{self}{comment}"
            return
        yield f"{self.head}("
        if len(inside) <= room - 4:
            yield f"    {inside}"
        else:
            for argument in self.arguments:
                parts = [argument] if isinstance(argument, str) else [*argument.lines(indent + 1)]
                parts[-1] += "," if len(self.arguments) > 1 else ""
                yield from (f"    {part}" for part in parts)
        yield f"){comment}"


Statement = Call | str  # a call that can be broken over lines, or a line that stays as it is


def write_call(
    write: SourceWriter, call: Statement, indent: int, comment: str = "", end: str = ""
) -> None:
    """Write `call` as a statement, with what follows its parenthesis, and a comment."""
    end += f"  # {comment}" if comment else ""
    for line in [f"{call}{end}"] if isinstance(call, str) else call.lines(indent, end):
        write(line, indent)


def layer_calls(node: Node, prefix: str, target: str = "x", source: str = "x") -> list[Statement]:
    """Return the statements that apply a layer; dropout and norms are left to the dialects.

    The first takes `source`, the last assigns to `target`. The layer's variables are named
    `prefix` and their role.
    """
    x, value = source, Call("tf.identity", (source,))
    calls: list[Statement] = []
    match node.layer:
        case Conv2D() as layer:
            calls, value = _convolution(node, layer, f"{prefix}kernel", target, source)
        case Dense():
            value = Call("tf.matmul", (x, f"{prefix}kernel"))
        case MaxPool() | AvgPool() as layer:
            arguments = (x, _pair(layer.size), f"strides={_pair(layer.steps)}")
            if isinstance(layer, AvgPool) and _padding(node).endswith("]"):
                return [Call(f"{target} = avg_pool", (*arguments, f"pads={_pads(node)}"))]
            kind = "max_pool2d" if isinstance(layer, MaxPool) else "avg_pool2d"
            return [Call(f"{target} = tf.nn.{kind}", (*arguments, _padding(node)))]
        case GlobalAvgPool():
            return [Call(f"{target} = tf.reduce_mean", (x, "[1, 2]"))]
        case GlobalMaxPool():
            window = _pair((node.input_shape[0], node.input_shape[1]))
            pool = Call("tf.nn.max_pool2d", (x, window, "strides=1", 'padding="VALID"'))
            return [
                "# A pool gives a tie's gradient to the first; tf.reduce_max would share it.",
                _assigned(pool, target),
                Call(f"{target} = tf.squeeze", (target, "[1, 2]")),
            ]
        case ChannelScale():
            return [f"{target} = {x} * {prefix}scale"]
        case Flatten():
            return [Call(f"{target} = tf.reshape", (x, f"[-1, {node.output_shape[0]}]"))]
        case _ if node.activation != "linear":
            return [_assigned(activated(x, node.activation), target)]
    if any(parameter.role == "bias" for parameter in node.parameters):
        # Two statements where there is a bias, so that each stays short.
        calls.append(_assigned(value, target))
        value = Call("tf.nn.bias_add", (target, f"{prefix}bias"))
    return [*calls, _assigned(activated(value, node.activation), target)]


def _assigned(value: Statement, target: str) -> Statement:
    if isinstance(value, str):
        return f"{target} = {value}"
    return Call(f"{target} = {value.head}", value.arguments)


def activated(value: Statement, function: Activation) -> Statement:
    """Return the value after an activation."""
    if function == "linear":
        return value
    if function in ACTIVATIONS:
        return Call(function, (value,))
    return Call(f"tf.nn.{function}", (value,))


def _convolution(
    node: Node, layer: Conv2D, kernel: str, target: str, source: str
) -> tuple[list[Statement], Statement]:
    """Return the statements that come before a convolution, and the convolution."""
    x, strides, padding = source, f"strides={_pair(layer.stride)}", _padding(node)
    if layer.groups == 1 and layer.dilation == (1, 1):
        return [], Call("tf.nn.conv2d", (x, kernel, strides, padding))
    calls: list[Statement] = []
    is_dilated = layer.dilation != (1, 1)
    steps = (1, 1) if is_dilated else layer.stride
    if is_dilated:
        calls.append("# By space-to-batch: tf.nn.conv2d's own dilation has no gradient on the CPU.")
    is_depthwise = 1 < layer.groups == node.input_shape[2] and steps[0] == steps[1]
    takes_pads = is_depthwise and not is_dilated
    if steps != layer.stride or (padding.endswith("]") and not takes_pads):
        if any(map(any, node.pads)):
            calls.append(Call(f"{target} = tf.pad", (x, _pads(node))))
            x = target
        padding = 'padding="VALID"'
    rate = (f"dilations={_pair(layer.dilation)}",) if is_dilated else (strides,)
    value: Statement
    if layer.groups == 1:
        value = Call("tf.nn.convolution", (x, kernel, padding, *rate))
    elif is_depthwise:
        sizes = shape((*layer.kernel, *_depthwise_channels(layer, x)))
        rate = (f"dilations={shape(layer.dilation)}",) if is_dilated else ()
        options = (f"strides={shape((1, *steps, 1))}", padding, *rate)
        value = Call("tf.nn.depthwise_conv2d", (x, Call("tf.reshape", (kernel, sizes)), *options))
    else:
        value = Call("grouped_convolution", (x, kernel, f"groups={layer.groups}", padding, *rate))
    if steps != layer.stride:
        calls.append(_assigned(value, target))
        value = f"{target}[:, ::{layer.stride[0]}, ::{layer.stride[1]}]"
    return calls, value


def _depthwise_channels(layer: Conv2D, x: str) -> tuple[object, object]:
    """Return a depthwise kernel's channels and filters of each; with symbols, one is left open."""
    if layer.filters == layer.groups:
        return (-1 if isinstance(layer.groups, Symbol) else layer.groups), 1
    if isinstance(layer.groups, Symbol) or isinstance(layer.filters, Symbol):
        return f"{x}.shape[-1]", -1
    return layer.groups, layer.filters // layer.groups


def kernel_shape(node: Node) -> str:
    """Return the shape of a kernel, of which a convolution by groups sees a part of the input."""
    [kernel] = [parameter for parameter in node.parameters if parameter.role == "kernel"]
    layer, sizes = node.layer, [*map(str, kernel.shape)]
    if isinstance(layer, Conv2D) and isinstance(kernel.shape[2], Symbol) and layer.groups != 1:
        sizes[2] = f"{node.input_shape[2]} // {layer.groups}"
    return shape(sizes)


def _padding(node: Node) -> str:
    assert isinstance(node.layer, Conv2D | MaxPool | AvgPool)
    if isinstance(node.layer.padding, str):
        return f'padding="{node.layer.padding.upper()}"'
    return f"padding={_pads(node)}" if any(map(any, node.pads)) else 'padding="VALID"'


def _pads(node: Node) -> str:
    (top, bottom), (left, right) = node.pads
    return f"[[0, 0], [{top}, {bottom}], [{left}, {right}], [0, 0]]"


def _pair(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"[{pair[0]}, {pair[1]}]"


def shape(sizes: Iterable[object]) -> str:
    """Return the shape as TensorFlow's users write it: `[5, 5, 1, 32]`."""
    return f"[{', '.join(map(str, sizes))}]"


def model_docstring(spec: Spec, network: Network, more: str = "") -> str:
    """Return the docstring of the forward pass, with what the dialect means by its padding."""
    first = f"From images {shape(('n', *spec.input))} to logits [n, {network.output_shape[0]}]"
    padded = [node for node in network.nodes if any(map(any, node.pads))]
    if not any(getattr(node.layer, "padding", None) == "same" for node in padded):
        return f'"""{first}.{more}"""'
    pooling = "pooling" if any(isinstance(n.layer, AvgPool) for n in padded) else "max-pooling"
    return (
        f'"""{first}.{more}\n\n'
        '"SAME" pads as little as it can; of an odd number of pixels, the larger half goes\n'
        f'below and to the right. The convolutions see zeros there, {pooling} nothing.\n"""'
    )
