"""Layers drawn for the shape that they get: each fits, so that nothing drawn is thrown away.

What is drawn are the fields of a TOML file, those with a default only where they have another
value. Choices that come first are the simplest: Hypothesis shrinks towards them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeVar, get_args

from hypothesis import strategies as st

from harness.spec import Spec, infer
from harness.spec.layers import Activation

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[Any]], Any]
Fields = dict[str, Any]
Shape = tuple[int, ...]

ACTIVATIONS: tuple[str, ...] = get_args(Activation)
INNER_ACTIVATIONS = tuple(name for name in ACTIVATIONS if name != "softmax")
EPSILONS = (1e-3, 1e-5, 1e-6, 0.1)
MOST_FILTERS, MOST_UNITS, MOST_KERNEL, MOST_STEP, MOST_PAD = 6, 6, 4, 3, 2
MOST_PIXELS = 16  # a side, of what a transposed convolution makes

ANYWHERE = ("activation", "batch_norm", "layer_norm", "group_norm", "channel_scale", "dropout")
OF_VECTORS = ("dense", *ANYWHERE, "flatten")
OF_PIXELS = ("conv", "max_pool", "avg_pool", "conv", *ANYWHERE, "conv")  # most of a CNN is those
REDUCING = ("flatten", "global_avg_pool", "global_max_pool")


def one_of(draw: Draw, *values: T) -> T:
    """Draw one of `values`; the first is the simplest."""
    chosen: T = draw(st.sampled_from(values))
    return chosen


def up_to(draw: Draw, most: int, least: int = 1) -> int:
    """Draw an integer from `least` to `most`."""
    return int(draw(st.integers(least, max(least, most))))


def rarely(draw: Draw) -> bool:
    """Draw true one time in five."""
    return int(draw(st.integers(0, 4))) == 4


def drawn_layer(draw: Draw, shape: Shape, activations: Sequence[str], reduces: bool) -> Fields:
    """Draw a layer for an input of `shape`, `(..., channels)` or `(units,)`.

    `reduces`: whether its output may be a vector where its input is not.
    """
    if len(shape) == 1:
        kinds: tuple[str, ...] = OF_VECTORS
    else:
        transposed = ("conv2d_transpose",) * 2 if len(shape) == 3 else ()
        kinds = (*OF_PIXELS, *transposed, *(REDUCING if reduces else ()))
    if shape[-1] == 1:  # a norm of one value at a time, which a spec refuses
        kinds = tuple(kind for kind in kinds if kind != "layer_norm")
    if prod(shape) == 1:
        kinds = tuple(kind for kind in kinds if kind != "group_norm")
    kind = one_of(draw, *kinds)
    if kind == "conv":
        return conv(draw, shape, activations)
    if kind == "conv2d_transpose":
        return transposed_conv(draw, shape, activations)
    if kind.endswith("pool") and not kind.startswith("global"):
        return pool(draw, kind, shape)
    return {"type": kind, **_options(draw, kind, shape, activations)}


def _options(draw: Draw, kind: str, shape: Shape, activations: Sequence[str]) -> Fields:
    """Draw the fields of a layer without windows."""
    match kind:
        case "dense":
            return {"units": up_to(draw, MOST_UNITS), **bias_and_activation(draw, activations)}
        case "activation":
            return {"function": one_of(draw, *activations)}
        case "dropout":
            return {"rate": one_of(draw, 0.25, 0.5, 0.0, 0.9)}
        case "channel_scale":
            return {} if rarely(draw) else {"initial": one_of(draw, 0.5, 0.1, 2.0)}
        case "batch_norm":
            return {"decay": one_of(draw, 0.9, 0.5, 0.99, 0.0), **_norm(draw)}
        case "layer_norm":
            return _norm(draw)
        case "group_norm":
            groups = [count for count in divisors(shape[-1]) if count < prod(shape)]
            return {"groups": one_of(draw, *groups), **_norm(draw)}
    return {}


def _norm(draw: Draw) -> Fields:
    learnt = {name: False for name in ("scale", "offset") if rarely(draw)}
    return {"epsilon": one_of(draw, *EPSILONS), **learnt}


def bias_and_activation(draw: Draw, activations: Sequence[str]) -> Fields:
    """Draw what dense layers and convolutions end with."""
    fields: Fields = {"bias": False} if rarely(draw) else {}
    activation = one_of(draw, *activations)
    return fields if activation == "linear" else {**fields, "activation": activation}


def divisors(number: int) -> tuple[int, ...]:
    """All that divide `number`, from 1."""
    return tuple(n for n in range(1, number + 1) if number % n == 0)


def conv(draw: Draw, shape: Shape, activations: Sequence[str]) -> Fields:
    """Draw a convolution, along as many axes as there are."""
    pixels, channels = shape[:-1], shape[-1]
    padding, pads = _padding(draw, pixels)
    # Both at once are as rare as in the networks that people train.
    steps = one_of(draw, *("plain", "strided", "dilated") * 3, "both")
    kernel, dilation, stride = [], [], []
    for n, pad in zip(pixels, pads, strict=True):
        room = n + sum(pad) if padding != "same" else MOST_KERNEL * MOST_STEP
        kernel.append(up_to(draw, min(MOST_KERNEL, room)))
        most = min(MOST_STEP, (room - 1) // (kernel[-1] - 1) if kernel[-1] > 1 else MOST_STEP)
        dilation.append(up_to(draw, most) if steps in ("dilated", "both") else 1)
        stride.append(up_to(draw, MOST_STEP) if steps in ("strided", "both") else 1)
    groups = one_of(draw, *divisors(channels)) if rarely(draw) or rarely(draw) else 1
    fields: Fields = {"type": f"conv{len(pixels)}d"}
    fields |= {"filters": groups * up_to(draw, MOST_FILTERS // groups), "kernel": _short(kernel)}
    optional = {"stride": stride, "dilation": dilation}
    fields |= {name: _short(sizes) for name, sizes in optional.items() if set(sizes) != {1}}
    fields |= {} if padding == "valid" else {"padding": padding}
    fields |= {} if groups == 1 else {"groups": groups}
    return {**fields, **bias_and_activation(draw, activations)}


def transposed_conv(draw: Draw, shape: Shape, activations: Sequence[str]) -> Fields:
    """Draw a transposed convolution of an image; explicit padding leaves a pixel or more."""
    kernel, stride, pads = [], [], []
    padding = one_of(draw, "valid", "same", "pixels")
    for n in shape[:2]:
        kernel.append(up_to(draw, MOST_KERNEL))
        stride.append(up_to(draw, min(MOST_STEP, max((MOST_PIXELS - kernel[-1]) // n, 1))))
        room = (n - 1) * stride[-1] + kernel[-1] - 1  # so many may be cut off
        before = up_to(draw, min(MOST_PAD, room), 0)
        pads.append((before, up_to(draw, min(MOST_PAD, room - before), 0)))
    fields: Fields = {"type": "conv2d_transpose", "filters": up_to(draw, MOST_FILTERS)}
    fields["kernel"] = _short(kernel)
    fields |= {} if set(stride) == {1} else {"stride": _short(stride)}
    if padding != "valid":
        fields["padding"] = _short_pads(pads) if padding == "pixels" else padding
    return {**fields, **bias_and_activation(draw, activations)}


def pool(draw: Draw, kind: str, shape: Shape) -> Fields:
    """Draw a pool with windows; they may overlap, or leave pixels out."""
    pixels = shape[:-1]
    padding, pads = _padding(draw, pixels)
    size = []
    for n, pad in zip(pixels, pads, strict=True):
        room = n + sum(pad) if padding != "same" else MOST_KERNEL
        size.append(up_to(draw, min(MOST_KERNEL, room), max(pad) + 1))
    fields: Fields = {"type": kind, "size": _short(size)}
    if draw(st.booleans()):
        fields["stride"] = _short([up_to(draw, MOST_STEP) for _ in pixels])
    return fields if padding == "valid" else {**fields, "padding": padding}


def _padding(draw: Draw, pixels: Shape) -> tuple[Any, list[tuple[int, int]]]:
    """Draw padding, as a file has it, and how many pixels it is on each side if that is said."""
    padding = one_of(draw, "valid", "same", "pixels")
    if padding != "pixels":
        return padding, [(0, 0)] * len(pixels)
    # A pool's window must be larger than its padding, and fit.
    limits = [min(MOST_PAD, n) for n in pixels]
    pads = [(up_to(draw, most, 0), up_to(draw, most, 0)) for most in limits]
    return _short_pads(pads), pads


def _short(sizes: Sequence[int]) -> int | tuple[int, ...]:
    """Write `[3, 3]` as 3."""
    return sizes[0] if len(set(sizes)) == 1 else tuple(sizes)


def _short_pads(pads: Sequence[tuple[int, int]]) -> Any:
    """Write `[[1, 1], [1, 1]]` as 1."""
    first = pads[0][0]
    return first if {side for pair in pads for side in pair} == {first} else tuple(pads)


def output_shape(layers: Sequence[Fields], shape: Shape) -> Shape:
    """Return the shape of the output of `layers` for an input of `shape`.

    Raises:
        SpecError, ValidationError: they cannot be there.

    """
    if not layers:
        return shape
    is_flat = len(shape) == 1
    first, last = [{"type": "flatten", "name": "first"}], [{"type": "flatten", "name": "last"}]
    spec = Spec.model_validate(
        {
            "name": "part",
            "input": (1, *shape) if is_flat else shape,
            "layers": [*(first if is_flat else []), *layers, *last],
            "training": {"loss": "mean_squared_error"},  # which leaves a softmax alone
        }
    )
    return infer(spec).parts[-2].output_shape
