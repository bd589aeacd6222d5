"""The layers of the Keras backend's sources: constructors and their arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from backends.keras_helpers import (
    AVERAGE_POOLING,
    AVERAGE_POOLING_MIXED,
    BATCH_NORM_TORCH,
    BIASED,
    BIASED_PRODUCTS,
    CHANNEL_SCALE,
    CROPPED_CONV_TRANSPOSE,
    FUNCTIONS,
    GROUP_NORM_TORCH,
    INFINITY_PADDING,
    KERAS_PADS,
    POOL_VOLUMES,
    POOLING_VOLUMES,
    STRIDED,
    TORCH_PADS,
)
from backends.keras_initializers import (
    bias_initializer,
    depthwise_initializer,
    grouped_initializer,
    kernel_initializer,
    transposed_initializer,
)
from backends.tensorflow_convolutions import shifts_by_same
from backends.wording import axes_of
from harness.contract import SourceWriter
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
    Network,
    Node,
    Spec,
)

WIDTH = 100  # columns of a generated line

Pads = tuple[tuple[int, int], ...]

FIRST_MAXIMUM = "Equal maxima: the first gets the gradient. GlobalMaxPooling{}D would share it out."


class Call(NamedTuple):
    """A layer of the source: its constructor with all arguments."""

    kind: str
    arguments: list[str]
    comment: str = ""


@dataclass(frozen=True)
class Scope:
    """Where layers are written: in `make_model`, or in the function of a family of blocks.

    `prefix` is what their names begin with in the source, where `{name}` is an argument;
    `prefixes` are what that comes to in the network, one for each block of the family.
    """

    prefix: str = ""
    prefixes: tuple[str, ...] = ("",)

    def name(self, local: str) -> str:
        """Return the argument that names a layer."""
        text = self.prefix + local
        return f'name={"f" if "{" in text else ""}"{text}"'


def layer_name(path: str) -> str:
    """Return what Keras calls the layer at `path`: the names on the way, joined by underscores."""
    return path.replace(".", "_")


@dataclass
class LayerWriter:
    """Turns nodes into calls, and notes the helpers that these need.

    Raises:
        NotImplementedError: Keras would call two layers by one name.

    """

    spec: Spec
    framework: str
    network: Network
    mixed: bool = False
    helpers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        paths: dict[str, str] = {}
        for node in self.network.nodes:
            name = layer_name(node.path)
            if (other := paths.setdefault(name, node.path)) != node.path:
                raise NotImplementedError(
                    f"layers {other!r} and {node.path!r}: Keras would call both {name!r}; "
                    "give one of them, or its block, another name"
                )
        self.names = {"images", *paths}

    def calls(self, node: Node, scope: Scope) -> list[Call]:
        """Return the constructors and arguments of the layers that `node` becomes.

        The last of them has its name; what comes before it, such as padding, has a name of its own.
        """
        before, kind, arguments = self._layer(node, scope)
        if self.mixed and any(parameter.role == "bias" for parameter in node.parameters):
            self._add_bias_by_sum(kind)
        owner = "" if kind in self.helpers else "layers."
        return [*before, Call(owner + kind, [*arguments, scope.name(node.name)])]

    def _add_bias_by_sum(self, kind: str) -> None:
        """Note the class that adds its bias by a sum; one that stands on it takes its place."""
        base = kind.removeprefix("Cropped").removeprefix("Strided")
        product = BIASED_PRODUCTS[re.sub(r"[123]D", "", base)]
        biased = BIASED.format(kind=base, product=product)
        if base == kind:
            self.helpers.setdefault(kind, biased)
        else:
            standing = self.helpers.pop(kind).replace(f"(layers.{base})", f"({base})")
            self.helpers = {base: biased, **self.helpers, kind: standing}

    def extra_name(self, scope: Scope, local: str) -> str:
        """Return the argument that names a layer which the spec does not have."""
        while any(prefix + local in self.names for prefix in scope.prefixes):
            local += "_"
        self.names.update(prefix + local for prefix in scope.prefixes)
        return scope.name(local)

    def function(self, activation: Activation) -> str:
        """Return what Keras takes for the activation: a name, or a function of the source's own."""
        own = FUNCTIONS[self.framework].get(activation)
        if own is None:
            return f'"{activation}"'
        self.helpers[activation] = own
        return activation

    def _layer(self, node: Node, scope: Scope) -> tuple[list[Call], str, list[str]]:
        """Return the layers before, and the class and arguments of the layer without its name."""
        axes = axes_of(node)
        match node.layer:
            case Conv() as layer:
                return self._conv(node, layer, scope)
            case Conv2DTranspose() as layer:
                return [], *self._conv_transpose(node, layer)
            case Dense() as layer:
                sizes = [str(layer.units)]
                return [], "Dense", [*sizes, *self._activation(node), *self._weights(node)]
            case MaxPool() as layer:
                before, padding = self._padding(node, scope, layer.padding, "InfinityPadding")
                return before, self._pooling("MaxPooling", node), [*_window(layer), *padding]
            case AvgPool() as layer:
                return [], *self._average(node, layer)
            case GlobalAvgPool():
                return [], f"GlobalAveragePooling{axes}D", []
            case GlobalMaxPool():
                arguments = [_sizes(node.input_shape[:-1]), self._extra(node, scope, "window")]
                kind = self._pooling("MaxPooling", node)
                owner = "" if kind in self.helpers else "layers."
                windows = Call(owner + kind, arguments, FIRST_MAXIMUM.format(axes))
                return [windows], "Flatten", []
            case BatchNorm() | LayerNorm() | GroupNorm():
                return [], *self._norm(node)
            case ChannelScale() as layer:
                self.helpers["ChannelScale"] = CHANNEL_SCALE
                return [], "ChannelScale", [repr(layer.initial)]
            case Flatten():
                return [], "Flatten", []
            case Dropout() as layer:
                return [], "Dropout", [repr(layer.rate)]
        return [], "Activation", [self.function(node.activation)]

    def _conv(self, node: Node, layer: Conv, scope: Scope) -> tuple[list[Call], str, list[str]]:
        # TensorFlow's "SAME" would begin at another pixel where a stride is above the kernel.
        shifts = self.framework == "tensorflow" and shifts_by_same(layer)
        is_strided, is_dilated = _is_above_one(layer.stride), _is_above_one(layer.dilation)
        # Where steps are taken after all pixels were convolved, "same" would pad for all of them.
        given = node.pads if shifts or (is_strided and is_dilated) else layer.padding
        before, padding = self._padding(node, scope, given, "layers.ZeroPadding")
        axes, multiplier = axes_of(node), depth_multiplier(node)
        steps = f"steps={layer.stride}" if is_dilated else f"strides={_sizes(layer.stride)}"
        rest = [
            *([steps] if is_strided else []),
            *padding,
            *([f"dilation_rate={_sizes(layer.dilation)}"] if is_dilated else []),
        ]
        if multiplier is None:
            kind, first = f"Conv{axes}D", [str(layer.filters), _sizes(layer.kernel)]
            rest += [f"groups={layer.groups}"] if layer.groups != 1 else []
        else:
            kind, first = f"DepthwiseConv{axes}D", [_sizes(layer.kernel)]
            rest += [f"depth_multiplier={multiplier}"] if multiplier != 1 else []
        if is_strided and is_dilated:
            self.helpers.setdefault(f"Strided{kind}", STRIDED.format(kind=kind))
            kind = f"Strided{kind}"
        return before, kind, [*first, *rest, *self._activation(node), *self._weights(node)]

    def _conv_transpose(self, node: Node, layer: Conv2DTranspose) -> tuple[str, list[str]]:
        arguments = [str(layer.filters), _sizes(layer.kernel)]
        if any(step != 1 for step in layer.stride):
            arguments.append(f"strides={_sizes(layer.stride)}")
        kind, rest = "Conv2DTranspose", [*self._activation(node), *self._weights(node)]
        if layer.padding == "same":
            return kind, [*arguments, 'padding="same"', *rest]
        # Where a stride is above its kernel, Keras adds rows; a symbol may be so in some block.
        adds = any(
            type(step) is not int or type(kernel) is not int or step > kernel
            for step, kernel in zip(layer.stride, layer.kernel, strict=True)
        )
        if not adds and not any(map(any, node.pads)):
            return kind, [*arguments, *rest]
        kind = "CroppedConv2DTranspose"
        self.helpers.setdefault(kind, CROPPED_CONV_TRANSPOSE)  # it may stand on another by now
        return kind, [*arguments, f"cropping={node.pads}", *rest]

    def _pooling(self, kind: str, node: Node) -> str:
        """Return Keras's class, for which there may be a helper of that name."""
        axes = axes_of(node)
        kind = f"{kind}{axes}D"
        if self.framework == "tensorflow" and axes == 3:
            pool = "ops.max_pool" if kind.startswith("Max") else "ops.average_pool"
            self.helpers.setdefault("pool_volumes", POOL_VOLUMES)
            self.helpers[kind] = POOLING_VOLUMES.format(kind=kind, pool=pool)
        return kind

    def _average(self, node: Node, layer: AvgPool) -> tuple[str, list[str]]:
        uneven = any(before != after for before, after in node.pads)
        if layer.padding in ("same", "valid") and not (self.framework == "torch" and uneven):
            padding = ['padding="same"'] if layer.padding == "same" else []
            return self._pooling("AveragePooling", node), [*_window(layer), *padding]
        if not any(map(any, node.pads)):
            return self._pooling("AveragePooling", node), _window(layer)
        is_same = layer.padding == "same"
        kind = f"PaddedAveragePooling{axes_of(node)}D"
        # A source has one helper for both, and says why it has it.
        if kind not in self.helpers or not is_same:
            why = TORCH_PADS if is_same else KERAS_PADS
            pool = "ops.average_pool("
            if self.framework == "tensorflow" and axes_of(node) == 3:
                self.helpers.setdefault("pool_volumes", POOL_VOLUMES)
                pool = "pool_volumes(ops.average_pool, "
            text = AVERAGE_POOLING_MIXED if self.mixed else AVERAGE_POOLING
            self.helpers[kind] = text.format(kind=kind, why=why, pool=pool)
        spelled = str if "pool_volumes" in self.helpers else _sizes  # which wants all three
        size, steps = spelled(layer.size), spelled(layer.steps)
        return kind, [size, f"strides={steps}", f"padding={node.pads}"]

    def _norm(self, node: Node) -> tuple[str, list[str]]:
        layer = node.layer
        assert isinstance(layer, BatchNorm | LayerNorm | GroupNorm)
        options = [
            f"epsilon={layer.epsilon!r}",
            *([] if layer.offset else ["center=False"]),
            *([] if layer.scale else ["scale=False"]),
        ]
        match layer:
            case BatchNorm():
                if self.framework == "torch":
                    self.helpers["BatchNormalization"] = BATCH_NORM_TORCH
                return "BatchNormalization", [f"momentum={layer.decay!r}", *options]
            case GroupNorm():
                if self.framework == "torch":
                    self.helpers["GroupNormalization"] = GROUP_NORM_TORCH
                return "GroupNormalization", [f"groups={layer.groups}", *options]
        return "LayerNormalization", options

    def _padding(
        self, node: Node, scope: Scope, padding: str | Pads, kind: str
    ) -> tuple[list[Call], list[str]]:
        """Return the layer that pads, and the argument of the layer that comes after it."""
        if padding == "same" or _pads_as_same(node):
            return [], ['padding="same"']
        if not any(map(any, node.pads)):
            return [], []
        axes = axes_of(node)
        kind = f"{kind}{axes}D"
        if kind.startswith("InfinityPadding"):
            pads = "self.padding" if axes == 1 else "*self.padding"
            self.helpers[kind] = INFINITY_PADDING.format(axes=axes, pads=pads)
        return [Call(kind, [_pads(node.pads), self._extra(node, scope, "pad")])], []

    def _extra(self, node: Node, scope: Scope, suffix: str) -> str:
        return self.extra_name(scope, f"{node.name}_{suffix}")

    def _activation(self, node: Node) -> list[str]:
        is_linear = node.activation == "linear"
        return [] if is_linear else [f"activation={self.function(node.activation)}"]

    def _weights(self, node: Node) -> list[str]:
        """Return the arguments about bias and initializers: only what is not Keras's default."""
        layer, spec, helpers = node.layer, self.spec, self.helpers
        assert isinstance(layer, Conv | Conv2DTranspose | Dense)
        bias = bias_initializer(spec.bias_initializer) if layer.bias else ["use_bias=False"]
        if isinstance(layer, Conv2DTranspose):
            return bias + transposed_initializer(spec.initializer, helpers)
        if not isinstance(layer, Conv) or layer.groups == 1:
            return bias + kernel_initializer(spec.initializer, helpers)
        if (multiplier := depth_multiplier(node)) is not None:
            return bias + depthwise_initializer(spec.initializer, multiplier, helpers)
        channels = node.input_shape[-1]
        return bias + grouped_initializer(spec.initializer, channels, layer.filters, helpers)


def depth_multiplier(node: Node) -> int | None:
    """Return how many filters each channel has, of a convolution that is Keras's depthwise one.

    None of another. TensorFlow's wants equal strides, and there is none of volumes. With symbols
    it is seen only where each channel has one.
    """
    layer, channels = node.layer, node.input_shape[-1]
    assert isinstance(layer, Conv)
    if layer.groups != channels or channels == 1 or axes_of(node) > 2 or not _is_one(layer.stride):
        return None
    if layer.filters == channels:
        return 1
    are_numbers = type(layer.filters) is int and type(channels) is int
    return layer.filters // channels if are_numbers else None


def write_call(
    write: SourceWriter, start: str, arguments: Sequence[str], indent: int, end: str = ")"
) -> None:
    """Write a call on one line, or as ruff splits it where that is too long."""
    text, room = ", ".join(arguments), WIDTH - 4 * indent
    if len(f"{start}({text}{end}") <= room:
        write(f"{start}({text}{end}", indent)
        return
    write(f"{start}(", indent)
    # Were there no comma after the last argument, ruff would split `(x)` where the rest fits.
    splits_end = ")(" in end and len(f"{start}({text})(") <= room
    if len(text) <= room - 4 and not splits_end:
        write(text, indent + 1)
    else:
        for argument in arguments:
            write(f"{argument},", indent + 1)
    write(end, indent)


def _pads_as_same(node: Node) -> bool:
    """Whether explicit pads are those of "same", as is seen where windows move by one pixel."""
    layer = node.layer
    assert isinstance(layer, Conv | MaxPool)
    is_pool = isinstance(layer, MaxPool)
    window, stride = (layer.size, layer.steps) if is_pool else (layer.kernel, layer.stride)
    dilation = (1,) * len(window) if is_pool else layer.dilation
    are_numbers = all(type(number) is int for number in (*window, *dilation))
    if any(step != 1 for step in stride) or not are_numbers:
        return False
    totals = [(extent - 1) * step for extent, step in zip(window, dilation, strict=True)]
    return any(totals) and node.pads == tuple((n // 2, n - n // 2) for n in totals)


def _is_above_one(sizes: tuple[int, ...]) -> bool:
    return any(size != 1 for size in sizes)


def _is_one(sizes: tuple[int, ...]) -> bool:
    """Whether one number says it all."""
    return all(size == sizes[0] for size in sizes)


def _sizes(sizes: tuple[int, ...]) -> str:
    return str(sizes[0]) if _is_one(sizes) else str(sizes)


def _pads(pads: Pads) -> str:
    if all(before == after for before, after in pads):
        return _sizes(tuple(before for before, _ in pads))
    return str(pads if len(pads) > 1 else pads[0])


def _window(layer: MaxPool | AvgPool) -> list[str]:
    strides = [f"strides={_sizes(layer.steps)}"] if layer.steps != layer.size else []
    return [_sizes(layer.size), *strides]
