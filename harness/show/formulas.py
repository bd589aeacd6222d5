"""What each layer, loss and optimizer computes, and its derivatives, as lines of text.

In the formulas of a layer x is what goes in and y what comes out; δ is ∂L/∂y, which the layer
behind it has found. n counts images, i and j rows and columns, u and v those of a kernel or window,
c channels that go in and o those that come out.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.spec import (
    LEAKY_SLOPE,
    Adam,
    AdamW,
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
    Optimizer,
    RmsProp,
    Sgd,
    Training,
)

# The letters of the axes of pixels, those of a kernel's, and those of an output's where both occur.
AXES = {1: ("i", "u"), 2: ("ij", "uv"), 3: ("hij", "wuv")}

ACTIVATIONS = {  # the function of z, and the gradient of z
    "relu": ("max(z, 0)", "δ where z > 0, else 0"),
    "relu6": ("min(max(z, 0), 6)", "δ where 0 < z < 6, else 0"),
    "leaky_relu": (
        f"z where z > 0, else {LEAKY_SLOPE:g} z",
        f"δ · (1 where z > 0, else {LEAKY_SLOPE:g})",
    ),
    "elu": ("z where z > 0, else exp(z) - 1", "δ · (1 where z > 0, else exp(z))"),
    "gelu": ("z Φ(z), Φ of the normal distribution", "δ (Φ(z) + z exp(-z²/2) / √(2π))"),
    "gelu_tanh": (
        "z (1 + tanh t) / 2, t = √(2/π) (z + 0.044715 z³)",
        "δ (1 + tanh t + z (1 - tanh² t) √(2/π) (1 + 0.134145 z²)) / 2",
    ),
    "silu": ("z s, s = 1 / (1 + exp(-z))", "δ s (1 + z (1 - s))"),
    "tanh": ("tanh(z)", "δ (1 - y²)"),
    "sigmoid": ("1 / (1 + exp(-z))", "δ y (1 - y)"),
    "hard_swish": ("z min(max(z + 3, 0), 6) / 6", "δ · ((2z + 3)/6 where |z| < 3, else 0 or 1)"),
    "softmax": ("exp(z[c]) / Σ_k exp(z[k])", "y[c] (δ[c] - Σ_k δ[k] y[k])"),
}


def layer_formulas(node: Node) -> list[str]:
    """Return what a layer computes, then its gradients: of its parameters, and of its input."""
    lines = _layer(node)
    if node.activation == "linear":
        return lines
    function, derivative = ACTIVATIONS[node.activation]
    if node.layer.type == "activation":
        return [f"y = {function}".replace("z", "x"), f"∂L/∂x = {derivative}".replace("z", "x")]
    behind = [line.replace("δ", "∂L/∂z") for line in lines[1:]]
    return [lines[0].replace("y", "z", 1), f"y = {function}", f"∂L/∂z = {derivative}", *behind]


def _layer(node: Node) -> list[str]:
    match node.layer:
        case Conv() as layer:
            return _convolution(node, layer)
        case Conv2DTranspose() as layer:
            steps = zip("ij", "uv", layer.stride, node.pads, strict=True)
            at = ",".join(_minus(f"{_at(s, i)}+{u}", p) for i, u, s, (p, _) in steps)
            return [
                f"y[n,{at},o] = {'b[o] + ' * layer.bias}Σ x[n,i,j,c] k[u,v,c,o] that fall there",
                f"∂L/∂k[u,v,c,o] = Σ_nij x[n,i,j,c] δ[n,{at},o]",
                *["∂L/∂b[o] = Σ_nij δ[n,i,j,o]"] * layer.bias,
                f"∂L/∂x[n,i,j,c] = Σ_uvo δ[n,{at},o] k[u,v,c,o]",
            ]
        case Dense() as layer:
            return [
                f"y[n,o] = {'b[o] + ' * layer.bias}Σ_c x[n,c] k[c,o]",
                "∂L/∂k[c,o] = Σ_n x[n,c] δ[n,o]",
                *["∂L/∂b[o] = Σ_n δ[n,o]"] * layer.bias,
                "∂L/∂x[n,c] = Σ_o δ[n,o] k[c,o]",
            ]
        case MaxPool():
            return [
                f"y = the largest x of each window of {_by(node.layer.size)}",
                "∂L/∂x = Σ of the δ of all windows whose first maximum x is, else 0",
            ]
        case AvgPool():
            return [
                f"y = the mean of the image's m pixels in each window of {_by(node.layer.size)}",
                "∂L/∂x = Σ δ / m over the windows that x lies in",
            ]
        case GlobalAvgPool():
            return ["y[n,c] = the mean of x[n,:,:,c], of m pixels", "∂L/∂x[n,i,j,c] = δ[n,c] / m"]
        case GlobalMaxPool():
            return [
                "y[n,c] = the largest of x[n,:,:,c]",
                "∂L/∂x = δ[n,c] at the first maximum, else 0",
            ]
        case Flatten():
            return ["y[n] = x[n] in a row: rows, columns, channels", "∂L/∂x = δ in x's shape"]
        case Dropout() as layer:
            return [
                f"y = x m, where m is 0 with probability {layer.rate:g}, else 1/{1 - layer.rate:g}",
                "∂L/∂x = δ m",
            ]
        case ChannelScale():
            return [
                "y = g[c] x",
                "∂L/∂g[c] = Σ x δ over images and pixels",
                "∂L/∂x = g[c] δ",
            ]
        case BatchNorm() | LayerNorm() | GroupNorm():
            return _norm(node)
    return [] if node.activation != "linear" else ["y = x", "∂L/∂x = δ"]


def _convolution(node: Node, layer: Conv) -> list[str]:
    """Return the correlation of input and kernel, and of either with δ."""
    places, taps = AXES[len(layer.kernel)]
    pads = [before for before, _ in node.pads]
    steps = zip(places, taps, layer.stride, layer.dilation, pads, strict=True)
    read = [_minus(f"{_at(s, i)}+{_at(d, u)}", p) for i, u, s, d, p in steps]
    x, y, k = f"x[n,{','.join(read)},c]", f"[n,{','.join(places)},o]", f"k[{','.join(taps)},c,o]"
    plain = all(step == 1 for step in (*layer.stride, *layer.dilation))
    turned = [_minus(f"{i}-{u}", -p) for i, u, p in zip(places, taps, pads, strict=True)]
    if plain:
        back = f"Σ_{taps}o δ[n,{','.join(turned)},o] {k}"
    else:
        back = f"Σ δ[n,{','.join(q + chr(39) for q in places)},o] {k} where x is read"
    groups = [f"in each of {layer.groups} groups of channels, of these alone"]
    return [
        f"y{y} = {'b[o] + ' * layer.bias}Σ_{taps}c {x} {k}",
        *groups * (layer.groups > 1),
        f"∂L/∂{k} = Σ_n{places} {x} δ{y}",
        *[f"∂L/∂b[o] = Σ_n{places} δ{y}"] * layer.bias,
        f"∂L/∂x[n,{','.join(places)},c] = {back}",
    ]


def _norm(node: Node) -> list[str]:
    layer = node.layer
    over = {
        "batch_norm": "batch and pixels, for each channel",
        "layer_norm": "the channels of each pixel",
        "group_norm": "pixels and channels of each group",
    }[layer.type]
    assert isinstance(layer, BatchNorm | LayerNorm | GroupNorm)
    scale, offset = "g " * layer.scale, " + o" * layer.offset
    return [
        f"y = {scale}x̂{offset}, x̂ = (x - μ) / √(σ² + {layer.epsilon:g})",
        f"μ, σ²: mean and variance over {over}",
        *["∂L/∂g = Σ δ x̂"] * layer.scale,
        *["∂L/∂o = Σ δ"] * layer.offset,
        f"∂L/∂x = {scale}(δ - mean δ - x̂ mean(δ x̂)) / √(σ² + {layer.epsilon:g})"
        if isinstance(layer, BatchNorm)
        else f"∂L/∂x = (d - mean d - x̂ mean(d x̂)) / √(σ² + {layer.epsilon:g}), d = {scale}δ",
    ]


def loss_formulas(training: Training) -> list[str]:
    """Return the loss of logits z and targets t, and its gradient by z."""
    smoothing = training.label_smoothing
    match training.loss:
        case "cross_entropy" if smoothing:
            return [
                "L = 1/N Σ_n (log Σ_k exp z[n,k] - Σ_k q[n,k] z[n,k])",
                f"q = {1 - smoothing:g} at the class t[n], and {smoothing:g}/K more everywhere",
                "∂L/∂z[n,k] = (softmax(z[n])[k] - q[n,k]) / N",
            ]
        case "cross_entropy":
            return [
                "L = 1/N Σ_n (log Σ_k exp z[n,k] - z[n,t[n]])",
                "∂L/∂z[n,k] = (softmax(z[n])[k] - (1 if k = t[n] else 0)) / N",
            ]
        case "binary_cross_entropy":
            return [
                "L = 1/NK Σ_nk (log(1 + exp z[n,k]) - t[n,k] z[n,k])",
                "∂L/∂z[n,k] = (sigmoid(z[n,k]) - t[n,k]) / NK",
            ]
        case "mean_squared_error":
            return ["L = 1/NK Σ_nk (z - t)²", "∂L/∂z = 2 (z - t) / NK"]
        case "huber":
            return [
                "L = 1/NK Σ_nk ((z - t)²/2 where |z - t| < 1, else |z - t| - 1/2)",
                "∂L/∂z = (z - t, cut off at ±1) / NK",
            ]


def update_formulas(training: Training) -> list[str]:
    """Return what one step makes of a parameter p and its gradient g."""
    lines = _update(training.optimizer)
    if training.clip_norm is not None:
        limit = f"{training.clip_norm:g}"
        lines.insert(0, f"g ← g {limit} / max(|all gradients|, {limit})")
    return lines


def _update(optimizer: Optimizer) -> list[str]:
    match optimizer:
        case Adam() | AdamW() as o:
            decay = isinstance(o, AdamW) and o.weight_decay
            return [
                *[f"p ← p - rate · {decay:g} p{_of_kernels(o)}"] * bool(decay),
                f"m ← {o.beta1:g} m + {1 - o.beta1:.6g} g",
                f"v ← {o.beta2:g} v + {1 - o.beta2:.6g} g²",
                f"m̂ = m / (1 - {o.beta1:g}^t),   v̂ = v / (1 - {o.beta2:g}^t)   in step t",
                f"p ← p - rate · m̂ / (√v̂ + {o.epsilon:g})",
            ]
        case RmsProp() as o:
            step = f"g / (√s + {o.epsilon:g})"
            lines = [f"s ← {o.decay:g} s + {1 - o.decay:.6g} g²"]
            if o.momentum:
                return [*lines, f"v ← {o.momentum:g} v + {step}", "p ← p - rate · v"]
            return [*lines, f"p ← p - rate · {step}"]
        case Sgd() as o:
            lines = [f"g ← g + {o.l2:g} p{_of_kernels(o)}"] if o.l2 else []
            if not o.momentum:
                return [*lines, "p ← p - rate · g"]
            step = f"(g + {o.momentum:g} v)" if o.nesterov else "v"
            return [*lines, f"v ← {o.momentum:g} v + g", f"p ← p - rate · {step}"]


def _of_kernels(optimizer: AdamW | Sgd | Adam) -> str:
    return "" if getattr(optimizer, "decay_all", False) else "   (of kernels)"


def _at(step: int, letter: str) -> str:
    return letter if step == 1 else f"{step}{letter}"


def _minus(text: str, pad: int) -> str:
    return text if pad == 0 else f"{text}-{pad}" if pad > 0 else f"{text}+{-pad}"


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
