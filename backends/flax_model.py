"""The layers of a Flax source: nnx's modules, functions, and the pools that nnx lacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import indent

from harness.spec import (
    Activation,
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
    Node,
)
from harness.spec.layers import Norm

WIDTH = 100  # columns of a generated line
SHAPES = {1: "[n, length, c]", 2: "[n, h, w, c]", 3: "[n, d, h, w, c]"}  # by axes
MAX_TAPS = 25  # of a kernel that is written out as a sum; XLA takes 2 s to compile one of 49

FIRST_MAX = '''@jax.custom_vjp
def first_max(windows):
    """Return the maximum over axis -2; of tied values, the first takes the gradient."""
    return windows.max(axis=-2)


def first_max_forward(windows):
    position = jnp.arange(windows.shape[-2])[:, None]
    is_first = position == windows.argmax(axis=-2, keepdims=True)
    return windows.max(axis=-2), is_first


def first_max_backward(is_first, gradient):
    return (jnp.where(is_first, gradient[..., None, :], 0),)


first_max.defvjp(first_max_forward, first_max_backward)

'''

BLOCK_MAX_POOL = '''def block_max_pool(x, window):
    """Max-pool x {shape} over windows that neither overlap nor need padding.

    The gradient of nnx.max_pool is XLA's select-and-scatter, on the CPU by far the
    slowest part of a training step. Where the stride is the window, pooling is just a
    reshape and a maximum; and jnp.max alone would split the gradient of tied values.
    """
{body}

'''

BLOCKS = {  # by axes
    1: """    n, length, c = x.shape
    (k,) = window
    x = x[:, : length // k * k]  # whole windows only
    return first_max(x.reshape(n, length // k, k, c))""",
    2: """    n, h, w, c = x.shape
    kh, kw = window
    x = x[:, : h // kh * kh, : w // kw * kw]  # whole windows only
    x = x.reshape(n, h // kh, kh, w // kw, kw, c).swapaxes(2, 3)
    return first_max(x.reshape(n, h // kh, w // kw, kh * kw, c))""",
    3: """    n, d, h, w, c = x.shape
    kd, kh, kw = window
    x = x[:, : d // kd * kd, : h // kh * kh, : w // kw * kw]  # whole windows only
    x = x.reshape(n, d // kd, kd, h // kh, kh, w // kw, kw, c)
    x = x.transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return first_max(x.reshape(n, d // kd, h // kh, w // kw, kd * kh * kw, c))""",
}

GLOBAL_MAX_POOL = '''def global_max_pool(x):
    """Return the maximum over all pixels of x {shape}, as [n, c].

    Not jnp.max, which splits the gradient of tied values.
    """
    return first_max(x.reshape(x.shape[0], -1, x.shape[-1]))

'''

DEPTHWISE_CONV = '''class DepthwiseConv(nnx.Conv):
    """nnx.Conv with a group for each channel; on the CPU, as a sum over the kernel's taps.

    There XLA's convolution in groups takes many times as long, forward and backward, as
    these products of shifted images, which it fuses into one loop.
    """

    def __init__(self, channels, kernel_size, *, strides=(1, 1), kernel_dilation=(1, 1), **options):
        options |= {"strides": strides, "kernel_dilation": kernel_dilation}
        super().__init__(channels, channels, kernel_size, feature_group_count=channels, **options)

    def __call__(self, x):
        if jax.default_backend() != "cpu":
            return super().__call__(x)
        (kh, kw), (sh, sw), (dh, dw) = self.kernel_size, self.strides, self.kernel_dilation
        window = (dh * (kh - 1) + 1, dw * (kw - 1) + 1)
        pads = self.padding
        if isinstance(pads, str):
            pads = jax.lax.padtype_to_pads(x.shape[1:3], window, self.strides, pads)
        # The barrier keeps XLA from computing whatever makes x anew for each tap.
        x = jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), *pads, (0, 0))))
        h, w = x.shape[1] - window[0] + 1, x.shape[2] - window[1] + 1  # windows, for strides of 1
        y = sum(
            x[:, i * dh : i * dh + h : sh, j * dw : j * dw + w : sw] * self.kernel[i, j, 0]
            for i in range(kh)
            for j in range(kw)
        )
        return y + self.bias if self.use_bias else y

'''

# In mixed precision: what stands for a line of that.
DEPTHWISE_MIXED = {
    """        y = sum(
""": """        # Products of bfloat16 numbers, summed up in float32.
        arrays = (x, self.kernel[...], self.bias[...] if self.use_bias else None)
        x, kernel, bias = self.promote_dtype(arrays, dtype=self.dtype)
        x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)
        y = sum(
""",
    "self.kernel[i, j, 0]": "kernel[i, j, 0]",
    "        return y + self.bias if self.use_bias else y\n": (
        "        return y + bias if self.use_bias else y.astype(self.dtype)\n"
    ),
}

WIDE_BIAS = '''def wide_bias(arrays, dtype):
    """Round what a layer multiplies to `dtype`; its bias too, which is then added in float32.

    XLA on the CPU sums the gradient of what was broadcast in the type it was broadcast in, and
    in bfloat16 256 + 1 is 256. So the layer returns float32, to be rounded after it.
    """
    x, kernel, bias = nnx.nn.dtypes.promote_dtype(arrays, dtype=dtype)
    return x, kernel, bias.astype(jnp.float32)

'''
SCALED = '''def scaled(x, factor):
    """Return x * factor, rounded once: a factor that is broadcast is to be so in float32.

    XLA on the CPU sums its gradient in the type it was broadcast in.
    """
    return (x.astype(jnp.float32) * factor.astype(jnp.float32)).astype(jnp.bfloat16)

'''

# Where nnx has another name, or needs an argument.
ACTIVATIONS = {
    "linear": ("nnx.identity",),
    "gelu": ("nnx.gelu", "approximate=False"),
    "gelu_tanh": ("nnx.gelu", "approximate=True"),
}


# What is written where a class calls it: by function, with what it is made of.
OWN_LAYERS = {
    "block_max_pool(": (FIRST_MAX, BLOCK_MAX_POOL),
    "global_max_pool(": (FIRST_MAX, GLOBAL_MAX_POOL),
    "DepthwiseConv(": (DEPTHWISE_CONV,),
    "wide_bias": (WIDE_BIAS,),
    "scaled(": (SCALED,),
}


def own_layers(classes: str, axes: int, mixed: bool) -> list[str]:
    """Return the texts of the layers that nnx lacks, of those that the classes' text calls.

    `axes` is how many axes the model's inputs have, besides the channels.
    """
    texts = [text for call, texts in OWN_LAYERS.items() if call in classes for text in texts]
    written = [text.replace("{shape}", SHAPES[axes]) for text in dict.fromkeys(texts)]
    for old, new in DEPTHWISE_MIXED.items() if mixed else ():
        written = [text.replace(old, new) for text in written]
    return [text.replace("{body}", BLOCKS[axes]) for text in written]


def constructor(node: Node, mixed: bool, initializers: list[str]) -> str:
    """Return the line of `__init__` that makes the layer; empty where it has no state.

    `initializers` are the arguments about its initial weights.
    """
    target, channels = f"self.{node.name}", str(node.input_shape[-1])
    dtype = "jnp.float32" if isinstance(node.layer, Norm) else "jnp.bfloat16"
    rest = [f"dtype={dtype}", "rngs=rngs"] if mixed else ["rngs=rngs"]
    if mixed and any(parameter.role == "bias" for parameter in node.parameters):
        rest.insert(1, "promote_dtype=wide_bias")
    drawn = [*initializers, *rest]
    match node.layer:
        case Conv() as layer:
            is_depthwise = _is_depthwise(node)
            filters = [] if is_depthwise else [str(layer.filters)]
            arguments = [channels, *filters, str(layer.kernel)]
            arguments += [f"strides={layer.stride}"] if _is_wide(layer.stride) else []
            arguments += [f"padding={_padding(layer)}"]
            arguments += (
                [f"kernel_dilation={layer.dilation}"] if any(d != 1 for d in layer.dilation) else []
            )
            if layer.groups != 1 and not is_depthwise:
                arguments += [f"feature_group_count={layer.groups}"]
            arguments += [] if layer.bias else ["use_bias=False"]
            kind = "DepthwiseConv" if is_depthwise else "nnx.Conv"
            return call(target, kind, [*arguments, *drawn])
        case Conv2DTranspose() as layer:
            arguments = [channels, str(layer.filters), str(layer.kernel)]
            arguments += [f"strides={layer.stride}"] if _is_wide(layer.stride) else []
            arguments += [f"padding={_transposed_padding(node)}"]
            arguments += [] if layer.bias else ["use_bias=False"]
            return call(target, "nnx.ConvTranspose", [*arguments, *drawn])
        case Dense() as layer:
            bias = [] if layer.bias else ["use_bias=False"]
            return call(target, "nnx.Linear", [channels, str(layer.units), *bias, *drawn])
        case BatchNorm() as layer:
            arguments = [channels, f"momentum={layer.decay!r}", *_norm_arguments(layer), *rest]
            return call(target, "nnx.BatchNorm", arguments)
        case LayerNorm() as layer:
            return call(target, "nnx.LayerNorm", [channels, *_norm_arguments(layer), *rest])
        case GroupNorm() as layer:
            arguments = [channels, f"num_groups={layer.groups}", *_norm_arguments(layer), *rest]
            return call(target, "nnx.GroupNorm", arguments)
        case ChannelScale() as layer:
            return call(target, "nnx.Param", [f"jnp.full(({channels},), {layer.initial!r})"])
        case Dropout() as layer:
            return call(target, "nnx.Dropout", [str(layer.rate)])
    return ""


def _norm_arguments(layer: BatchNorm | LayerNorm | GroupNorm) -> list[str]:
    """Return what all norms take and nothing else does: nnx's `bias` is the offset."""
    return [
        f"epsilon={layer.epsilon!r}",
        *([] if layer.scale else ["use_scale=False"]),
        *([] if layer.offset else ["use_bias=False"]),
        "use_fast_variance=False",
    ]


def forward(node: Node, mixed: bool, target: str = "x", source: str = "x") -> list[str]:
    """Return the statements of `__call__` that send `source` through the layer to `target`."""
    if isinstance(node.layer, AvgPool) and mixed and any(sum(node.pads, ())):
        pooled = call(target, "nnx.avg_pool", _average(node, node.layer, source))
        return [pooled, f"{target} = {target}.astype(jnp.bfloat16)  # {node.name}"]
    if isinstance(node.layer, ChannelScale) and mixed:
        factor = f"self.{node.name}.astype(jnp.bfloat16)"
        return [call(target, "scaled", [source, factor])]
    if mixed and any(parameter.role == "bias" for parameter in node.parameters):
        rounded = f"self.{node.name}({source}).astype"
        if node.activation == "linear":
            return [call(target, rounded, ["jnp.bfloat16"])]
        return [_activate(node.activation, target, f"{rounded}(jnp.bfloat16)")]
    if mixed and isinstance(node.layer, Norm):  # of float32, or its scale would be rounded, too
        mode = ", use_running_average=not training" if isinstance(node.layer, BatchNorm) else ""
        return [call(target, f"self.{node.name}({source}{mode}).astype", ["jnp.bfloat16"])]
    return [_statement(node, target, source)]


def _statement(node: Node, target: str, source: str) -> str:
    name = node.name
    match node.layer:
        case Conv() | Conv2DTranspose() | Dense():
            if node.activation == "linear":
                return call(target, f"self.{name}", [source])
            return _activate(node.activation, target, f"self.{name}({source})")
        case BatchNorm():
            return call(target, f"self.{name}", [source, "use_running_average=not training"])
        case LayerNorm() | GroupNorm():
            return call(target, f"self.{name}", [source])
        case ChannelScale():
            return f"{target} = {source} * self.{name}"
        case Dropout():
            return call(target, f"self.{name}", [source, "deterministic=rngs is None", "rngs=rngs"])
        case MaxPool() as layer if _is_blocks(node):
            return call(target, "block_max_pool", [source, str(layer.size)], name)
        case MaxPool() as layer:
            return call(target, "nnx.max_pool", _window(layer, source), name)
        case AvgPool() as layer:
            return call(target, "nnx.avg_pool", _average(node, layer, source), name)
        case GlobalAvgPool():
            pixels = tuple(range(1, len(node.input_shape)))
            axis = f"axis={pixels if len(pixels) > 1 else 1}"
            return call(target, f"{source}.mean", [axis], name)
        case GlobalMaxPool():
            return call(target, "global_max_pool", [source], name)
        case Flatten():
            return call(target, f"{source}.reshape", [f"{source}.shape[0]", "-1"], name)
    return _activate(node.activation, target, source, name)


def _activate(activation: Activation, target: str, value: str, comment: str = "") -> str:
    function, arguments = activated(activation, value)
    return call(target, function, arguments, comment)


def activated(activation: Activation, value: str) -> tuple[str, list[str]]:
    """Return the function, and its arguments."""
    function, *options = ACTIVATIONS.get(activation, (f"nnx.{activation}",))
    return function, [value, *options]


def _is_wide(steps: tuple[int, ...]) -> bool:
    """Whether a stride or dilation is to be written: not by its size, as it may be a symbol."""
    return any(step != 1 for step in steps)


def _window(layer: MaxPool | AvgPool, source: str) -> list[str]:
    """Return a pool's arguments; strides are always written, as nnx's default is 1."""
    return [source, str(layer.size), f"strides={layer.steps}", f"padding={_padding(layer)}"]


def _average(node: Node, layer: AvgPool, source: str) -> list[str]:
    """Return an average pool's arguments: by default the border's zeros would count as pixels."""
    count = ["count_include_pad=False"] if any(sum(node.pads, ())) else []
    return [*_window(layer, source), *count]


def _padding(layer: Conv | MaxPool | AvgPool) -> str:
    padding = layer.padding
    return f'"{padding.upper()}"' if isinstance(padding, str) else str(padding)


def _transposed_padding(node: Node) -> str:
    """Return what nnx.ConvTranspose pads: where nothing is to be cut off, a kernel less one.

    Its "VALID" adds zeros where a stride is larger than the kernel.
    """
    layer = node.layer
    assert isinstance(layer, Conv2DTranspose)
    sizes = zip(layer.kernel, layer.stride, strict=True)
    if layer.padding == "same" or (
        layer.padding == "valid" and all(int(k) >= int(s) for k, s in sizes)
    ):
        return f'"{layer.padding.upper()}"'
    cuts = zip(layer.kernel, node.pads, strict=True)
    return str(tuple((k - 1 - before, k - 1 - after) for k, (before, after) in cuts))


def _is_blocks(node: Node) -> bool:
    """Whether the node max-pools windows that neither overlap nor need padding."""
    layer = node.layer
    return isinstance(layer, MaxPool) and layer.steps == layer.size and not any(sum(node.pads, ()))


def _is_depthwise(node: Node) -> bool:
    """Whether a convolution is one of each channel alone, with a kernel small enough to unroll."""
    layer = node.layer
    assert isinstance(layer, Conv)
    is_alone = len(layer.kernel) == 2 and layer.groups == layer.filters == node.input_shape[-1]
    return is_alone and layer.groups != 1 and math.prod(map(int, layer.kernel)) <= MAX_TAPS


def call(
    target: str, function: str, arguments: Sequence[str], comment: str = "", depth: int = 2
) -> str:
    """Return `target = function(arguments)  # comment`, wrapped as ruff does at a depth."""
    tail = f"  # {comment}" if comment else ""
    room = WIDTH - 4 * depth
    if len(line := f"{target} = {function}({', '.join(arguments)}){tail}") <= room:
        return line
    if len(f"{target} = {function}(") <= room:
        return f"{target} = {wrapped(function, arguments, room, fits=False)}{tail}"
    inner = wrapped(function, arguments, room - 4, fits=True)
    return f"{target} = (\n{indent(inner, '    ')}\n){tail}"


def wrapped(function: str, arguments: Sequence[str], room: int, fits: bool) -> str:
    """Return the call on one line if it `fits`, else its arguments on one line, else on many."""
    inside = ", ".join(arguments)
    if fits and len(function) + len(inside) + 2 <= room:
        return f"{function}({inside})"
    if len(inside) + 4 > room:
        inside = ",\n    ".join(arguments) + ","
    return f"{function}(\n    {inside}\n)"
