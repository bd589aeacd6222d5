"""Functions that a generated source defines where tf.nn has none of the spec's meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping

from harness.contract import SourceWriter
from harness.spec import Network

ACTIVATIONS = {
    "leaky_relu": '''def leaky_relu(x):
    """x, or 0.01 x where it is negative; tf.nn.leaky_relu rounds its slope to float32."""
    return tf.where(x > 0, x, 0.01 * x)
''',
    "gelu": '''def gelu(x):
    """x times the normal distribution function; tf.nn.gelu rounds its constant to float32."""
    return 0.5 * x * (1 + tf.math.erf(x / 2**0.5))
''',
    "gelu_tanh": '''def gelu_tanh(x):
    """An approximation of gelu; that of tf.nn.gelu rounds its constants to float32."""
    # The root of 2 / pi, and a cubic term (Hendrycks and Gimpel 2016).
    return 0.5 * x * (1 + tf.tanh(0.7978845608028654 * (x + 0.044715 * x**3)))
''',
    "hard_swish": '''def hard_swish(x):
    """The activation of MobileNetV3 (Howard et al. 2019)."""
    return x * tf.nn.relu6(x + 3) / 6
''',
}

LAYERS = {
    "pool_volumes": '''def pool_volumes(pool, x, size, strides, padding):
    """Pool planes, then across them; TensorFlow's own pools of volumes take no float64."""
    _, depth, height, width, channels = x.shape
    x = pool(tf.reshape(x, [-1, height, width, channels]), size[1:], strides[1:], padding)
    _, height, width, _ = x.shape
    x = tf.reshape(x, [-1, depth, height * width, channels])
    x = pool(x, [size[0], 1], [strides[0], 1], padding)
    return tf.reshape(x, [-1, x.shape[1], height, width, channels])
''',
    "avg_pool": '''def avg_pool(x, size, strides, pads):
    """Average the real pixels of each window: {function} takes no padding of one's own."""
    real = tf.pad(tf.ones([1, *x.shape[1:-1], 1], x.dtype), pads)
    share = {pool}real, size, strides, "VALID")
    return {pool}tf.pad(x, pads), size, strides, "VALID") / share
''',
    "grouped_convolution": '''def grouped_convolution(x, kernel, groups, **options):
    """Convolve each group of channels: TensorFlow has no gradient of groups on the CPU."""
    pairs = zip(tf.split(x, groups, axis=-1), tf.split(kernel, groups, axis=-1))
    parts = [tf.nn.convolution(part, k, {format}**options) for part, k in pairs]
    return tf.concat(parts, axis=-1)
''',
    "depthwise_conv1d": '''def depthwise_conv1d(x, kernel, stride, padding, dilation=1):
    """Convolve each channel by itself; tf.nn does so for images, of which these are one row."""
    kernel = tf.reshape(kernel, [1, kernel.shape[0], x.shape[-1], -1])
    x, strides, dilations = x[:, tf.newaxis], [1, stride, stride, 1], [1, dilation]
    x = tf.nn.depthwise_conv2d(x, kernel, strides, padding, dilations=dilations)
    return tf.squeeze(x, [1])
''',
    "conv2d_transpose": '''def conv2d_transpose(x, kernel, size, strides, padding):
    """Add kernels [kh, kw, in, out] up to images of that size, each times a pixel of x."""
    # tf.nn's is the gradient of a convolution, whose kernel has the channels of x last.
    kernel = tf.transpose(kernel, [0, 1, 3, 2])
    shape = [tf.shape(x)[0], *size, kernel.shape[2]]
    return tf.nn.conv2d_transpose(x, kernel, shape, strides, padding)
''',
}


MIXED_LAYERS = {
    "bfloat16": '''def bfloat16(variable):
    """Round a float32 variable to what layers compute in; its gradient comes back as float32."""
    return tf.cast(variable, tf.bfloat16)
''',
    "avg_pool": '''def avg_pool(x, size, strides, pads):
    """Average the real pixels of each window: {function} takes no padding of one's own."""
    real = tf.pad(tf.ones([1, *x.shape[1:-1], 1]), pads)
    share = {pool}real, size, strides, "VALID")
    x = {pool}tf.pad(x, pads), size, strides, "VALID")
    return tf.cast(tf.cast(x, tf.float32) / share, tf.bfloat16)
''',
}

HELPERS = {**ACTIVATIONS, **LAYERS, **MIXED_LAYERS}


def write_helpers(
    write: SourceWriter, calling: str, norms: Mapping[str, str], network: Network, mixed: bool
) -> None:
    """Write those of the functions, and of the norms, that a text calls, or one of them."""
    axes = len(network.input_shape) - 1
    function = f"tf.nn.avg_pool{axes}d"
    fields = {
        "function": function,
        "pool": "pool_volumes(tf.nn.avg_pool2d, " if axes == 3 else f"{function}(",
        "format": 'data_format="NDHWC", ' if axes == 3 else "",
    }
    layers = LAYERS | MIXED_LAYERS if mixed else LAYERS
    texts = {**ACTIVATIONS, **{name: text.format(**fields) for name, text in layers.items()}}
    called = {name: text for name, text in {**texts, **norms}.items() if _calls(calling, name)}
    for name, text in {**texts, **norms}.items():
        if name in called or any(_calls(other, name) for other in called.values()):
            write(f"{text}\n")


def _calls(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w.])(?<!def ){name}\(", text) is not None
