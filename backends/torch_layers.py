"""The layers of a PyTorch source: modules, and functions for those that have no state."""

from __future__ import annotations

from collections.abc import Sequence

from backends.torch_processor import mkl_is_slow
from backends.wording import ORDERS, axes_of
from harness.contract import SourceWriter
from harness.spec import (
    LEAKY_SLOPE,
    Activation,
    ActivationLayer,
    AvgPool,
    BatchNorm,
    ChannelScale,
    Conv,
    Conv2DTranspose,
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

AVG_POOL = '''class AvgPool(nn.AvgPool{axes}d):
    """nn.AvgPool{axes}d for what it does not pad: sides that differ, more than half of a window.

    As with its count_include_pad=False, padded pixels count neither in the sum nor in the number.
    """

    def __init__(self, image, size, stride, pads):
        super().__init__(size, stride)
        self.pads = pads
        is_real = F.pad(torch.ones(1, 1, *image), pads)
        self.register_buffer("real_share", super().forward(is_real), persistent=False)

    def forward(self, x):
        return {share}'''
SHARE = "super().forward(F.pad(x, self.pads)) / self.real_share"
MIXED_SHARE = "(super().forward(F.pad(x, self.pads)) / self.real_share).to(x.dtype)"

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

LAYER_NORM = '''class LayerNorm{axes}d(nn.LayerNorm):
    """nn.LayerNorm over the channels of each pixel; in channels-last memory they lie together."""

    def forward(self, x):
        return super().forward(x.permute({last})).permute({first})'''

LINEAR = '''class Linear(nn.Linear):
    """A dense layer by oneDNN, as convolutions are, where it is float32 on a CPU.

    PyTorch gives products of matrices to MKL, which on AMD's processors takes twice as long.
    """

    def forward(self, x):
        if x.is_cpu and x.dtype == torch.float32 and not torch.compiler.is_compiling():
            return super().forward(x.to_mkldnn()).to_dense()
        return super().forward(x)'''
# Layers whose backward pass does not need their output.
OVERWRITTEN = (Conv, Conv2DTranspose, Dense, BatchNorm, GroupNorm)
LARGE = 2**16  # weights; below, to take oneDNN's layout and back costs more than it saves

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
IN_PLACE = ("relu", "relu6")  # whose gradient is known from their result


def write_own_layers(write: SourceWriter, network: Network, mixed: bool) -> None:
    """Write the classes of the layers that torch has otherwise, where the network has them."""
    pools = [node for node in network.nodes if isinstance(node.layer, AvgPool)]
    norms = [node for node in network.nodes if isinstance(node.layer, LayerNorm)]
    if not all(_is_padded_by_module(node) for node in pools):
        share = MIXED_SHARE if mixed else SHARE
        write(AVG_POOL.format(axes=axes_of(pools[0]), share=share) + "\n\n")
    if any(isinstance(node.layer, BatchNorm) for node in network.nodes):
        write(BATCH_NORM + "\n\n")
    if any(_takes_onednn(node, mixed) for node in network.nodes):
        write(LINEAR + "\n\n")
    if spatial := [node for node in norms if axes_of(node)]:
        axes = axes_of(spatial[0])
        orders = {"last": channels_last(axes), "first": channels_first(axes)}
        write(LAYER_NORM.format(axes=axes, **orders) + "\n\n")


def write_constructor(write: SourceWriter, node: Node, mixed: bool) -> None:
    """Write the lines of `__init__` that make the layer."""
    if isinstance(node.layer, ChannelScale):
        initial = [f"({node.input_shape[-1]},)", repr(node.layer.initial)]
        write(f"self.{node.name} = nn.Parameter(torch.full({', '.join(initial)}))", 2)
        return
    if made := _constructor(node, mixed):
        write_call(write, f"self.{node.name} = {made[0]}", made[1], 2)
    layer = node.layer
    if not isinstance(layer, BatchNorm | LayerNorm | GroupNorm):
        return
    if constant := _constant_weight(layer, mixed):
        write(f"del self.{node.name}.weight  # a constant one: {constant}", 2)
        ones = f"torch.ones({node.input_shape[-1]})"
        write_call(write, f"self.{node.name}.register_buffer", ['"weight"', ones], 2)
    elif layer.scale != layer.offset:
        lacking = "bias" if layer.scale else "weight"
        write_call(write, f"self.{node.name}.register_parameter", [f'"{lacking}"', "None"], 2)


def _constant_weight(layer: BatchNorm | LayerNorm | GroupNorm, mixed: bool) -> str:
    """Return why a norm without a scale is given one of ones; empty where it needs none."""
    if layer.scale:
        return ""
    # torch 2.13 fails in the backward pass of a group norm with a bias and no weight.
    if layer.offset and isinstance(layer, GroupNorm):
        return "torch fails without"
    if mixed and isinstance(layer, BatchNorm):
        return "without, torch computes in bfloat16"
    return ""


def write_forward(
    write: SourceWriter,
    node: Node,
    mixed: bool,
    target: str = "x",
    source: str = "x",
    before: Part | None = None,
) -> None:
    """Write the lines of `forward` that apply the layer to `source` and leave it as `target`.

    `before` is the part whose output `source` is, where that serves for nothing else.
    """
    name, start = node.name, f"{target} ="
    narrow = ".bfloat16()" if mixed and _is_widened(node) else ""
    match node.layer:
        case Flatten() if axes := axes_of(node):
            permuted = f"{start} {source}.permute({channels_last(axes)})"
            line = f"{permuted}.flatten(1)  # {name}: {ORDERS[axes]}"
            if len(line) <= WIDTH - 8:
                write(line, 2)
            else:
                write(f"{permuted}  # to {ORDERS[axes]}", 2)
                write(f"{start} {target}.flatten(1)  # {name}", 2)
        case Flatten():
            write(f"{start} {source}.flatten(1)  # {name}", 2)
        case GlobalAvgPool() | GlobalMaxPool():
            write(f"{start} self.{name}({source}).flatten(1){narrow}", 2)
        case ChannelScale():
            shape = f"[:{', None' * axes_of(node)}]" if axes_of(node) else ""
            factor = f"self.{name}{shape}"
            write(f"{start} {source} * {f'{factor}.bfloat16()' if mixed else factor}", 2)
        case ActivationLayer() as layer if node.activation == "linear":
            folded = f"  # its {layer.function} is in the loss"
            is_noted = layer.function != "linear" and len(name + folded) <= WIDTH - 20
            write(f"{start} self.{name}({source}){folded if is_noted else ''}", 2)
        case ActivationLayer():
            may_overwrite = (
                isinstance(before, Node)
                and before.activation == "linear"
                and _is_overwritable(before)
            )
            function, arguments = activation(node.activation, source, node, may_overwrite)
            write_call(write, f"{start} {function}", arguments, 2, comment=name, end=narrow)
        case layer:
            if not _is_padded_by_module(node) and not isinstance(layer, AvgPool):
                fill = ', value=float("-inf")' if isinstance(layer, MaxPool) else ""
                write(f"{start} F.pad({source}, {_pads(node)}{fill})", 2)
                source = target
            wide = ".float()" if mixed and isinstance(layer, LayerNorm | GroupNorm) else ""
            value = f"self.{name}({source}{wide}){_cut(node)}"
            if node.activation == "linear":
                write(f"{start} {value}{narrow}", 2)
            else:
                may_overwrite = _is_overwritable(node)
                function, arguments = activation(node.activation, value, node, may_overwrite)
                write_call(write, f"{start} {function}", arguments, 2, end=narrow)


def _is_overwritable(node: Node) -> bool:
    """Whether the layer's output may be overwritten: a tensor of its own, no view of another."""
    return isinstance(node.layer, OVERWRITTEN) and not _cut(node)


def _is_widened(node: Node) -> bool:
    """Whether autocast computes the layer in float32, on the CPU or on the GPU."""
    is_pool = isinstance(node.layer, MaxPool | AvgPool | GlobalAvgPool | GlobalMaxPool)
    is_volume_pool = is_pool and axes_of(node) == 3
    is_norm = isinstance(node.layer, LayerNorm | GroupNorm)
    return is_volume_pool or is_norm or node.activation == "softmax"


def activation(
    kind: Activation, value: str, part: Part, may_overwrite: bool = False
) -> tuple[str, list[str]]:
    """Return the function, and its arguments; where it may, it overwrites `value`.

    That saves a tensor, and a way through the memory.
    """
    if kind == "softmax":
        # NHWC's last axis is axis 1 of the NCHW shape that torch sees.
        return "F.softmax", [value, f"dim={1 if len(part.output_shape) > 1 else -1}"]
    function, *options = ACTIVATIONS[kind]
    if may_overwrite and kind in IN_PLACE:
        options = [*options, "inplace=True"]
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


def _tuple(sizes: Sequence[int]) -> str:
    return str(sizes[0]) if all(size == sizes[0] for size in sizes) else str(tuple(sizes))


def channels_first(axes: int) -> str:
    """Return what permutes NHWC into NCHW, or the same for other axes."""
    return ", ".join(map(str, (0, axes + 1, *range(1, axes + 1))))


def channels_last(axes: int) -> str:
    """Return what permutes NCHW into NHWC, or the same for other axes."""
    return ", ".join(map(str, (0, *range(2, axes + 2), 1)))


def _cut(node: Node) -> str:
    """Return what cuts rows off a transposed convolution, where its padding does not."""
    if not isinstance(node.layer, Conv2DTranspose):
        return ""
    ends = [(b, a) if b != a and int(a) >= 0 else (0, 0) for b, a in node.pads]
    if not any(map(any, ends)):
        return ""
    slices = [f"{before or ''}:{f'-{after}' if after else ''}" for before, after in ends]
    return f"[:, :, {', '.join(slices)}]"


def _is_padded_by_module(node: Node) -> bool:
    """Whether torch's module takes these pads: the same on both sides, in pools half a window."""
    if isinstance(node.layer, Conv2DTranspose):
        return True  # which pads nothing, and is cut
    if any(before != after for before, after in node.pads):
        return False
    if isinstance(node.layer, MaxPool | AvgPool):
        sizes = zip(node.pads, node.layer.size, strict=True)
        return all(2 * before <= size for (before, _), size in sizes)
    return True


def _pads(node: Node) -> str:
    """Return the pads in the order of F.pad: the last axis first."""
    return str(sum(reversed(node.pads), ()))


def _padding(node: Node) -> list[str]:
    padding = [before for before, _ in node.pads]
    is_needed = any(padding) and _is_padded_by_module(node)
    return [f"padding={_tuple(padding)}"] if is_needed else []


def _takes_onednn(node: Node, mixed: bool) -> bool:
    """Whether a dense layer is worth a class of its own; in bfloat16 torch itself asks oneDNN."""
    # By its operations, two for each weight: in a block, sizes may be names of arguments.
    is_large = isinstance(node.layer, Dense) and node.flops >= 2 * LARGE
    return is_large and not mixed and mkl_is_slow()


def _constructor(node: Node, mixed: bool) -> tuple[str, list[str]] | None:
    """Return the class and arguments of the layer's module; None where it has none."""
    axes = axes_of(node)
    match node.layer:
        case Conv() as layer:
            arguments = [str(node.input_shape[-1]), str(layer.filters), _tuple(layer.kernel)]
            if any(step != 1 for step in layer.stride):
                arguments.append(f"stride={_tuple(layer.stride)}")
            arguments += _padding(node)
            if any(step != 1 for step in layer.dilation):
                arguments.append(f"dilation={_tuple(layer.dilation)}")
            if layer.groups != 1:
                arguments.append(f"groups={layer.groups}")
            return f"nn.Conv{axes}d", arguments if layer.bias else [*arguments, "bias=False"]
        case Conv2DTranspose() as layer:
            arguments = [str(node.input_shape[-1]), str(layer.filters), _tuple(layer.kernel)]
            if any(step != 1 for step in layer.stride):
                arguments.append(f"stride={_tuple(layer.stride)}")
            padding = [before if before == after else 0 for before, after in node.pads]
            added = [-after if int(after) < 0 else 0 for _, after in node.pads]
            arguments += [f"padding={_tuple(padding)}"] if any(padding) else []
            arguments += [f"output_padding={_tuple(added)}"] if any(added) else []
            return "nn.ConvTranspose2d", arguments if layer.bias else [*arguments, "bias=False"]
        case AvgPool() as layer if not _is_padded_by_module(node):
            size, stride = _tuple(layer.size), _tuple(layer.steps)
            image = str(node.input_shape[:-1])
            return "AvgPool", [image, size, f"stride={stride}", f"pads={_pads(node)}"]
        case MaxPool() | AvgPool() as layer:
            stride = [f"stride={_tuple(layer.steps)}"] if layer.steps != layer.size else []
            arguments = [_tuple(layer.size), *stride, *_padding(node)]
            if isinstance(layer, MaxPool):
                return f"nn.MaxPool{axes}d", arguments
            return f"nn.AvgPool{axes}d", arguments + ["count_include_pad=False"] * bool(
                _padding(node)
            )
        case GlobalAvgPool():
            return f"nn.AdaptiveAvgPool{axes}d", ["1"]
        case GlobalMaxPool():
            return f"nn.AdaptiveMaxPool{axes}d", ["1"]
        case BatchNorm() | LayerNorm() | GroupNorm():
            return _norm_constructor(node)
        case Dense() as layer:
            arguments = [str(node.input_shape[0]), str(layer.units)]
            name = "Linear" if _takes_onednn(node, mixed) else "nn.Linear"
            return name, arguments if layer.bias else [*arguments, "bias=False"]
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
            axes = axes_of(node)
            name = f"LayerNorm{axes}d" if axes else "nn.LayerNorm"
            affine = [] if is_affine else ["elementwise_affine=False"]
            return name, [channels, epsilon, *affine]
