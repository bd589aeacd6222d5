"""The layers of a PyTorch source: modules, and functions for those that have no state."""

from __future__ import annotations

from collections.abc import Sequence

from harness.contract import SourceWriter
from harness.spec import (
    LEAKY_SLOPE,
    Activation,
    ActivationLayer,
    AvgPool,
    BatchNorm,
    ChannelScale,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    GlobalMaxPool,
    GroupNorm,
    LayerNorm,
    MaxPool,
    Network,
    Node,
    Part,
)

WIDTH = 100  # columns of a generated line

AVG_POOL = '''class AvgPool(nn.AvgPool2d):
    """nn.AvgPool2d for what it does not pad: sides that differ, more than half of a window.

    As with its count_include_pad=False, padded pixels count neither in the sum nor in the number.
    """

    def __init__(self, image, size, stride, pads):
        super().__init__(size, stride)
        self.pads = pads
        is_real = F.pad(torch.ones(1, 1, *image), pads)
        self.register_buffer("real_share", super().forward(is_real), persistent=False)

    def forward(self, x):
        return super().forward(F.pad(x, self.pads)) / self.real_share'''

BATCH_NORM = '''class BatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d for images and flat values, but for its running variance.

    Here that is gathered from the biased variance, by which a batch is normalised; in torch, from
    the unbiased one. `momentum` is torch's: the share of the new batch.
    """

    def forward(self, x):
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        # Its second and third results are the batch's mean and 1 / sqrt(biased variance + eps).
        y, mean, rsqrt = torch.native_batch_norm(
            x, self.weight, self.bias, None, None, True, self.momentum, self.eps
        )
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(rsqrt**-2 - self.eps, self.momentum)
        return y'''

LAYER_NORM = '''class LayerNorm2d(nn.LayerNorm):
    """nn.LayerNorm over the channels of each pixel; in channels-last memory they lie together."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)'''

ACTIVATIONS: dict[str, tuple[str, ...]] = {  # the function, and what follows its input
    "relu": ("F.relu",),
    "relu6": ("F.relu6",),
    "leaky_relu": ("F.leaky_relu", repr(LEAKY_SLOPE)),
    "elu": ("F.elu",),
    "gelu": ("F.gelu",),
    "gelu_tanh": ("F.gelu", 'approximate="tanh"'),
    "silu": ("F.silu",),
    "tanh": ("torch.tanh",),
    "sigmoid": ("torch.sigmoid",),
    "hard_swish": ("F.hardswish",),
}


def write_own_layers(write: SourceWriter, network: Network) -> None:
    """Write the classes of the layers that torch has otherwise, where the network has them."""
    pools = [node for node in network.nodes if isinstance(node.layer, AvgPool)]
    norms = [node for node in network.nodes if isinstance(node.layer, LayerNorm)]
    if not all(_is_padded_by_module(node) for node in pools):
        write(AVG_POOL + "\n\n")
    if any(isinstance(node.layer, BatchNorm) for node in network.nodes):
        write(BATCH_NORM + "\n\n")
    if any(len(node.input_shape) == 3 for node in norms):
        write(LAYER_NORM + "\n\n")


def write_constructor(write: SourceWriter, node: Node) -> None:
    """Write the lines of `__init__` that make the layer."""
    if isinstance(node.layer, ChannelScale):
        initial = [f"({node.input_shape[-1]},)", repr(node.layer.initial)]
        write(f"self.{node.name} = nn.Parameter(torch.full({', '.join(initial)}))", 2)
        return
    if made := _constructor(node):
        write_call(write, f"self.{node.name} = {made[0]}", made[1], 2)
    layer = node.layer
    if isinstance(layer, BatchNorm | LayerNorm | GroupNorm) and layer.scale != layer.offset:
        lacking = "bias" if layer.scale else "weight"
        write_call(write, f"self.{node.name}.register_parameter", [f'"{lacking}"', "None"], 2)


def write_forward(write: SourceWriter, node: Node, target: str = "x", source: str = "x") -> None:
    """Write the lines of `forward` that apply the layer to `source` and leave it as `target`."""
    name, start = node.name, f"{target} ="
    match node.layer:
        case Flatten() if len(node.input_shape) == 3:
            call = f"{start} {source}.permute(0, 2, 3, 1).flatten(1)"
            line = f"{call}  # {name}: rows, columns, channels"
            if len(line) <= WIDTH - 8:
                write(line, 2)
            else:
                write(f"{start} {source}.permute(0, 2, 3, 1)  # to rows, columns, channels", 2)
                write(f"{start} {target}.flatten(1)  # {name}", 2)
        case Flatten():
            write(f"{start} {source}.flatten(1)  # {name}", 2)
        case GlobalAvgPool() | GlobalMaxPool():
            write(f"{start} self.{name}({source}).flatten(1)", 2)
        case ChannelScale():
            shape = "[:, None, None]" if len(node.input_shape) == 3 else ""
            write(f"{start} {source} * self.{name}{shape}", 2)
        case ActivationLayer() as layer if node.activation == "linear":
            folded = f"  # its {layer.function} is in the loss"
            is_noted = layer.function != "linear" and len(name + folded) <= WIDTH - 20
            write(f"{start} self.{name}({source}){folded if is_noted else ''}", 2)
        case ActivationLayer():
            function, arguments = activation(node.activation, source, node)
            write_call(write, f"{start} {function}", arguments, 2, comment=name)
        case layer:
            if not _is_padded_by_module(node) and not isinstance(layer, AvgPool):
                fill = ', value=float("-inf")' if isinstance(layer, MaxPool) else ""
                write(f"{start} F.pad({source}, {_pads(node)}{fill})", 2)
                source = target
            if node.activation == "linear":
                write(f"{start} self.{name}({source})", 2)
            else:
                function, arguments = activation(node.activation, f"self.{name}({source})", node)
                write_call(write, f"{start} {function}", arguments, 2)


def activation(kind: Activation, value: str, part: Part) -> tuple[str, list[str]]:
    """Return the function, and its arguments."""
    if kind == "softmax":
        # NHWC's last axis is axis 1 of the NCHW shape that torch sees.
        return "F.softmax", [value, f"dim={1 if len(part.output_shape) == 3 else -1}"]
    function, *options = ACTIVATIONS[kind]
    return function, [value, *options]


def write_call(
    write: SourceWriter,
    start: str,
    arguments: Sequence[str],
    indent: int,
    comment: str = "",
    end: str = "",
) -> None:
    """Write a call on one line, or as ruff splits it where that is too long."""
    text, end = ", ".join(arguments), f"){end}  # {comment}" if comment else f"){end}"
    room = WIDTH - 4 * indent
    if len(f"{start}({text}{end}") <= room:
        write(f"{start}({text}{end}", indent)
        return
    if len(arguments) == 1:  # there is nothing to split
        target, _, function = start.partition(" = ")
        write(f"{target} = (", indent)
        write(f"{function}({text})", indent + 1)
        write(end, indent)
        return
    write(f"{start}(", indent)
    if len(text) <= room - 4:
        write(text, indent + 1)
    else:
        for argument in arguments:
            write(f"{argument},", indent + 1)
    write(end, indent)


def _tuple(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"({pair[0]}, {pair[1]})"


def _is_padded_by_module(node: Node) -> bool:
    """Whether torch's module takes these pads: the same on both sides, in pools half a window."""
    if any(before != after for before, after in node.pads):
        return False
    if isinstance(node.layer, MaxPool | AvgPool):
        sizes = zip(node.pads, node.layer.size, strict=True)
        return all(2 * before <= size for (before, _), size in sizes)
    return True


def _pads(node: Node) -> str:
    """Return the pads in the order of F.pad: the last axis first."""
    (top, bottom), (left, right) = node.pads
    return f"({left}, {right}, {top}, {bottom})"


def _padding(node: Node) -> list[str]:
    padding = (node.pads[0][0], node.pads[1][0])
    is_needed = any(padding) and _is_padded_by_module(node)
    return [f"padding={_tuple(padding)}"] if is_needed else []


def _constructor(node: Node) -> tuple[str, list[str]] | None:
    """Return the class and arguments of the layer's module; None where it has none."""
    match node.layer:
        case Conv2D() as layer:
            arguments = [str(node.input_shape[2]), str(layer.filters), _tuple(layer.kernel)]
            if layer.stride != (1, 1):
                arguments.append(f"stride={_tuple(layer.stride)}")
            arguments += _padding(node)
            if layer.dilation != (1, 1):
                arguments.append(f"dilation={_tuple(layer.dilation)}")
            if layer.groups != 1:
                arguments.append(f"groups={layer.groups}")
            return "nn.Conv2d", arguments if layer.bias else [*arguments, "bias=False"]
        case AvgPool() as layer if not _is_padded_by_module(node):
            size, stride = _tuple(layer.size), _tuple(layer.steps)
            image = f"({node.input_shape[0]}, {node.input_shape[1]})"
            return "AvgPool", [image, size, f"stride={stride}", f"pads={_pads(node)}"]
        case MaxPool() | AvgPool() as layer:
            stride = [f"stride={_tuple(layer.steps)}"] if layer.steps != layer.size else []
            arguments = [_tuple(layer.size), *stride, *_padding(node)]
            if isinstance(layer, MaxPool):
                return "nn.MaxPool2d", arguments
            return "nn.AvgPool2d", arguments + ["count_include_pad=False"] * bool(_padding(node))
        case GlobalAvgPool():
            return "nn.AdaptiveAvgPool2d", ["1"]
        case GlobalMaxPool():
            return "nn.AdaptiveMaxPool2d", ["1"]
        case BatchNorm() | LayerNorm() | GroupNorm():
            return _norm_constructor(node)
        case Dense() as layer:
            arguments = [str(node.input_shape[0]), str(layer.units)]
            return "nn.Linear", arguments if layer.bias else [*arguments, "bias=False"]
        case Dropout() as layer:
            return "nn.Dropout", [repr(layer.rate)]
        case ActivationLayer() if node.activation == "linear":
            return "nn.Identity", []
    return None


def _norm_constructor(node: Node) -> tuple[str, list[str]]:
    channels, layer = str(node.input_shape[-1]), node.layer
    assert isinstance(layer, BatchNorm | LayerNorm | GroupNorm)
    is_affine = layer.scale or layer.offset
    epsilon = f"eps={layer.epsilon!r}"
    affine = [] if is_affine else ["affine=False"]
    match layer:
        case BatchNorm():
            momentum = round(1 - layer.decay, 15)  # 0.1, not 0.09999999999999998
            return "BatchNorm", [channels, epsilon, f"momentum={momentum!r}", *affine]
        case GroupNorm():
            return "nn.GroupNorm", [str(layer.groups), channels, epsilon, *affine]
        case LayerNorm():
            name = "LayerNorm2d" if len(node.input_shape) == 3 else "nn.LayerNorm"
            affine = [] if is_affine else ["elementwise_affine=False"]
            return name, [channels, epsilon, *affine]
