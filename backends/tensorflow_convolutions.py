"""Convolutions along one, two and three axes, in both of TensorFlow's dialects."""

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
from backends.wording import axes_of
from harness.spec import Conv, Conv2DTranspose, Node
from harness.spec.symbols import Symbol


def convolution(
    node: Node, layer: Conv, kernel: str, target: str, source: str
) -> tuple[list[Statement], Statement]:
    """Return the statements that come before a convolution, and the convolution."""
    x, axes, padding = source, axes_of(node), padding_of(layer.padding, node.pads)
    calls: list[Statement] = []
    is_dilated = any(rate != 1 for rate in layer.dilation)
    if is_dilated:
        calls.append("# By space-to-batch: TensorFlow's own dilation has no gradient on the CPU.")
    # A stride besides a dilation is taken afterwards.
    steps = (1,) * axes if is_dilated else tuple(layer.stride)
    is_depthwise = _is_depthwise(node, layer, steps)
    takes_pads = axes == 2 and not is_dilated and (layer.groups == 1 or is_depthwise)
    pads_here = padding.endswith("]") and not takes_pads
    if steps != layer.stride or pads_here or shifts_by_same(layer):
        if any(map(any, node.pads)):
            calls.append(Call(f"{target} = tf.pad", (x, pads_of(node.pads))))
            x = target
        padding = 'padding="VALID"'
    rates = (f"dilations={sizes_of(layer.dilation)}",) if is_dilated else ()
    strides = () if is_dilated else (f"strides={sizes_of(steps)}",)
    value: Statement
    if is_depthwise:
        value = _depthwise(layer, x, kernel, steps, padding)
    elif layer.groups != 1:
        groups = f"groups={layer.groups}"
        value = Call("grouped_convolution", (x, kernel, groups, padding, *strides, *rates))
    elif is_dilated:
        value = Call("tf.nn.convolution", (x, kernel, padding, *rates))
    else:
        value = Call(f"tf.nn.conv{axes}d", (x, kernel, _strides(steps), padding))
    if steps != layer.stride:
        calls.append(assigned(value, target))
        value = f"{target}[:, {', '.join(f'::{step}' for step in layer.stride)}]"
    return calls, value


def shifts_by_same(layer: Conv) -> bool:
    """Whether "SAME" has another meaning in TensorFlow than in the spec.

    On the CPU, windows of a volume that are further apart than they are wide begin later than
    the first pixel, where there are pixels to spare (seen in 2.21). In a symbol's place may
    be any number.
    """
    if len(layer.kernel) != 3 or layer.padding != "same":
        return False
    pairs = zip(layer.stride, layer.kernel, strict=True)
    return any(
        step != 1 and (type(step) is not int or type(size) is not int or step > size)
        for step, size in pairs
    )


def _strides(steps: tuple[int, ...]) -> str:
    """Return the argument, which has another name or form for each number of axes."""
    if len(steps) == 1:
        return f"stride={steps[0]}"
    return f"strides={sizes_of(steps) if len(steps) == 2 else shape((1, *steps, 1))}"


def _is_depthwise(node: Node, layer: Conv, steps: tuple[int, ...]) -> bool:
    """Whether there is a function for it: not for volumes, and with equal strides only."""
    is_by_channel = layer.groups != 1 and layer.groups == node.input_shape[-1]
    return is_by_channel and len(steps) < 3 and all(step == steps[0] for step in steps)


def _depthwise(layer: Conv, x: str, kernel: str, steps: tuple[int, ...], padding: str) -> Call:
    is_dilated = any(rate != 1 for rate in layer.dilation)
    if len(layer.kernel) == 1:
        rate = (f"dilation={layer.dilation[0]}",) if is_dilated else ()
        return Call("depthwise_conv1d", (x, kernel, f"stride={steps[0]}", padding, *rate))
    sizes = shape((*layer.kernel, *_depthwise_channels(layer, x)))
    rate = (f"dilations={shape(layer.dilation)}",) if is_dilated else ()
    options = (f"strides={shape((1, *steps, 1))}", padding, *rate)
    return Call("tf.nn.depthwise_conv2d", (x, Call("tf.reshape", (kernel, sizes)), *options))


def _depthwise_channels(layer: Conv, x: str) -> tuple[object, object]:
    """Return a depthwise kernel's channels and filters of each; with symbols, one is left open."""
    if layer.filters == layer.groups:
        return (-1 if isinstance(layer.groups, Symbol) else layer.groups), 1
    if isinstance(layer.groups, Symbol) or isinstance(layer.filters, Symbol):
        return f"{x}.shape[-1]", -1
    return layer.groups, layer.filters // layer.groups


def transposed(node: Node, layer: Conv2DTranspose, kernel: str, source: str) -> Call:
    """Return a transposed convolution: the gradient of one whose images are of its output's size.

    That is told, for a stride leaves open which of several sizes they had.
    """
    size, strides = shape(node.output_shape[:-1]), f"strides={sizes_of(layer.stride)}"
    padding = padding_of(layer.padding, node.pads)
    return Call("conv2d_transpose", (source, kernel, size, strides, padding))


def kernel_shape(node: Node) -> str:
    """Return the shape of a kernel, of which a convolution by groups sees a part of the input."""
    [kernel] = [parameter for parameter in node.parameters if parameter.role == "kernel"]
    layer, sizes = node.layer, [*map(str, kernel.shape)]
    if isinstance(layer, Conv) and isinstance(kernel.shape[-2], Symbol) and layer.groups != 1:
        sizes[-2] = f"{node.input_shape[-1]} // {layer.groups}"
    return shape(sizes)
