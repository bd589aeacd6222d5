"""The source of the nnx.Module: its layers, its forward pass, and the pools that nnx lacks."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import indent

from harness.contract import SourceWriter
from harness.spec import (
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
    Network,
    Node,
)

WIDTH = 100  # columns of a generated line

FIRST_MAX = '''@jax.custom_vjp
def first_max(windows):
    """Return the maximum over axis 3; of tied values, the first takes the gradient."""
    return windows.max(axis=3)


def first_max_forward(windows):
    position = jnp.arange(windows.shape[3])[:, None]
    is_first = position == windows.argmax(axis=3, keepdims=True)
    return windows.max(axis=3), is_first


def first_max_backward(is_first, gradient):
    return (jnp.where(is_first, gradient[:, :, :, None], 0),)


first_max.defvjp(first_max_forward, first_max_backward)

'''

BLOCK_MAX_POOL = '''def block_max_pool(x, window):
    """Max-pool x [n, h, w, c] over windows that neither overlap nor need padding.

    The gradient of nnx.max_pool is XLA's select-and-scatter, on the CPU by far the
    slowest part of a training step. Where the stride is the window, pooling is just a
    reshape and a maximum; and jnp.max alone would split the gradient of tied values.
    """
    n, h, w, c = x.shape
    kh, kw = window
    x = x[:, : h // kh * kh, : w // kw * kw]  # whole windows only
    x = x.reshape(n, h // kh, kh, w // kw, kw, c).swapaxes(2, 3)
    return first_max(x.reshape(n, h // kh, w // kw, kh * kw, c))

'''

GLOBAL_MAX_POOL = '''def global_max_pool(x):
    """Return the maximum over height and width of x [n, h, w, c], as [n, c].

    Not jnp.max, which splits the gradient of tied values.
    """
    n, h, w, c = x.shape
    return first_max(x.reshape(n, 1, 1, h * w, c))[:, 0, 0]

'''

# Where nnx has another name, or needs an argument.
ACTIVATIONS = {
    "linear": ("nnx.identity",),
    "gelu": ("nnx.gelu", "approximate=False"),
    "gelu_tanh": ("nnx.gelu", "approximate=True"),
}


def write_model(write: SourceWriter, network: Network) -> None:
    """Write the class, after the functions that it pools by."""
    blocks = any(_is_blocks(node) for node in network.nodes)
    global_max = any(isinstance(node.layer, GlobalMaxPool) for node in network.nodes)
    if blocks or global_max:
        write(FIRST_MAX)
    if blocks:
        write(BLOCK_MAX_POOL)
    if global_max:
        write(GLOBAL_MAX_POOL)
    write("class Model(nnx.Module):")
    _write_docstring(write, network)
    write("def __init__(self, *, rngs):", 1)
    constructors = [text for node in network.nodes if (text := _constructor(node))]
    for text in constructors or ["pass"]:
        write(text, 2)
    write()
    _write_signature(write, network)
    for node in network.nodes:
        write(_forward(node), 2)
    write("return x\n\n", 2)


def _write_docstring(write: SourceWriter, network: Network) -> None:
    height, width, channels = network.input_shape
    outputs = network.output_shape[0]
    layers = [node.layer for node in network.nodes]
    grouped = any(isinstance(layer, Conv2D) and layer.groups > 1 for layer in layers)
    inside = "in / groups" if grouped else "in"
    write(f'"""From images [n, {height}, {width}, {channels}] to logits [n, {outputs}].\n', 1)
    write(f"Images are NHWC and kernels [kh, kw, {inside}, out] throughout, so that flattening", 1)
    write('needs no transpose; padding "SAME" is TensorFlow\'s.', 1)
    if any(isinstance(layer, BatchNorm | LayerNorm | GroupNorm) for layer in layers):
        write("Variances are taken in two passes: nnx's fast one, E[x^2] - E[x]^2, cancels.", 1)
    if network.statistics:
        write("Running variances are as biased as the batch's; momentum is their decay.", 1)
    write('"""\n', 1)


def _write_signature(write: SourceWriter, network: Network) -> None:
    """Write the head of `__call__`: batch norm and dropout have to know what they are for."""
    if network.statistics and network.dropouts:
        write("def __call__(self, x, *, training=False, rngs=None):", 1)
        write('"""In training, use and gather statistics of the batch; drop out by `rngs`."""', 2)
    elif network.statistics:
        write("def __call__(self, x, *, training=False):", 1)
        write('"""In training, use and gather statistics of the batch; else the gathered."""', 2)
    elif network.dropouts:
        write("def __call__(self, x, *, rngs=None):", 1)
        write('"""Drop out with random numbers from `rngs`; without them, evaluate."""', 2)
    else:
        write("def __call__(self, x):", 1)


def _constructor(node: Node) -> str:
    """Return the line of `__init__` that makes the layer; empty where it has no state."""
    target, channels = f"self.{node.name}", str(node.input_shape[-1])
    match node.layer:
        case Conv2D() as layer:
            arguments = [channels, str(layer.filters), str(layer.kernel)]
            arguments += [f"strides={layer.stride}"] if layer.stride != (1, 1) else []
            arguments += [f"padding={_padding(layer)}"]
            arguments += [f"kernel_dilation={layer.dilation}"] if layer.dilation != (1, 1) else []
            arguments += [f"feature_group_count={layer.groups}"] if layer.groups > 1 else []
            arguments += [] if layer.bias else ["use_bias=False"]
            return call(target, "nnx.Conv", [*arguments, "rngs=rngs"])
        case Dense() as layer:
            bias = [] if layer.bias else ["use_bias=False"]
            return call(target, "nnx.Linear", [channels, str(layer.units), *bias, "rngs=rngs"])
        case BatchNorm() as layer:
            arguments = [channels, f"momentum={layer.decay!r}", *_norm_arguments(layer)]
            return call(target, "nnx.BatchNorm", arguments)
        case LayerNorm() as layer:
            return call(target, "nnx.LayerNorm", [channels, *_norm_arguments(layer)])
        case GroupNorm() as layer:
            arguments = [channels, f"num_groups={layer.groups}", *_norm_arguments(layer)]
            return call(target, "nnx.GroupNorm", arguments)
        case Dropout() as layer:
            return call(target, "nnx.Dropout", [str(layer.rate)])
    return ""


def _norm_arguments(layer: BatchNorm | LayerNorm | GroupNorm) -> list[str]:
    """Return what all norms take: nnx's `bias` is the offset."""
    return [
        f"epsilon={layer.epsilon!r}",
        *([] if layer.scale else ["use_scale=False"]),
        *([] if layer.offset else ["use_bias=False"]),
        "use_fast_variance=False",
        "rngs=rngs",
    ]


def _forward(node: Node) -> str:
    """Return the statement of `__call__` that applies the layer."""
    name = node.name
    match node.layer:
        case Conv2D() | Dense():
            if node.activation == "linear":
                return call("x", f"self.{name}", ["x"])
            return _activate(node.activation, f"self.{name}(x)")
        case BatchNorm():
            return call("x", f"self.{name}", ["x", "use_running_average=not training"])
        case LayerNorm() | GroupNorm():
            return call("x", f"self.{name}", ["x"])
        case Dropout():
            return call("x", f"self.{name}", ["x", "deterministic=rngs is None", "rngs=rngs"])
        case MaxPool() as layer if _is_blocks(node):
            return call("x", "block_max_pool", ["x", str(layer.size)], name)
        case MaxPool() as layer:
            return call("x", "nnx.max_pool", _window(layer), name)
        case AvgPool() as layer:
            # By default the border's zeros would count as pixels.
            count = ["count_include_pad=False"] if any(sum(node.pads, ())) else []
            return call("x", "nnx.avg_pool", [*_window(layer), *count], name)
        case GlobalAvgPool():
            return call("x", "x.mean", ["axis=(1, 2)"], name)
        case GlobalMaxPool():
            return call("x", "global_max_pool", ["x"], name)
        case Flatten():
            return call("x", "x.reshape", ["x.shape[0]", "-1"], name)
    return _activate(node.activation, "x", name)


def _activate(activation: Activation, argument: str, comment: str = "") -> str:
    function, *options = ACTIVATIONS.get(activation, (f"nnx.{activation}",))
    return call("x", function, [argument, *options], comment)


def _window(layer: MaxPool | AvgPool) -> list[str]:
    """Return a pool's arguments; strides are always written, as nnx's default is 1."""
    return ["x", str(layer.size), f"strides={layer.steps}", f"padding={_padding(layer)}"]


def _padding(layer: Conv2D | MaxPool | AvgPool) -> str:
    padding = layer.padding
    return f'"{padding.upper()}"' if isinstance(padding, str) else str(padding)


def _is_blocks(node: Node) -> bool:
    """Whether the node max-pools windows that neither overlap nor need padding."""
    layer = node.layer
    return isinstance(layer, MaxPool) and layer.steps == layer.size and not any(sum(node.pads, ()))


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
