"""Functions that a generated source defines where tf.nn has none of the spec's meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from harness.contract import SourceWriter

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
    "batch_norm": '''\
def batch_norm(x, mean, variance, decay, epsilon, training, scale=None, offset=None):
    """Normalize each channel by the batch; in evaluation, by the running mean and variance.

    The variance is biased, in the running one too, and takes a second pass over x. TensorFlow's
    fused kernel keeps an unbiased one, and has neither float64 nor flat inputs.
    """
    if training:
        batch_mean, batch_variance = tf.nn.moments(x, list(range(x.shape.rank - 1)))
        mean.assign(decay * mean + (1 - decay) * batch_mean)
        variance.assign(decay * variance + (1 - decay) * batch_variance)
        mean, variance = batch_mean, batch_variance
    return tf.nn.batch_normalization(x, mean, variance, offset, scale, epsilon)
''',
    "layer_norm": '''def layer_norm(x, epsilon, scale=None, offset=None):
    """Normalize the channels of each pixel (Ba et al. 2016)."""
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, offset, scale, epsilon)
''',
    "group_norm": '''def group_norm(x, groups, epsilon, scale=None, offset=None):
    """Normalize each image by the pixels and channels of a group (Wu and He 2018)."""
    sizes = [*x.shape[1:-1], groups, x.shape[-1] // groups]
    x = tf.reshape(x, [-1, *sizes])
    axes = [axis for axis in range(1, x.shape.rank) if axis != x.shape.rank - 2]
    mean, variance = tf.nn.moments(x, axes, keepdims=True)
    if scale is not None:
        scale = tf.reshape(scale, sizes[-2:])
    if offset is not None:
        offset = tf.reshape(offset, sizes[-2:])
    x = tf.nn.batch_normalization(x, mean, variance, offset, scale, epsilon)
    return tf.reshape(x, [-1, *sizes[:-2], sizes[-2] * sizes[-1]])
''',
    "avg_pool": '''def avg_pool(x, size, strides, pads):
    """Average the real pixels of each window: tf.nn.avg_pool2d takes no padding of one's own."""
    real = tf.pad(tf.ones([1, *x.shape[1:3], 1], x.dtype), pads)
    share = tf.nn.avg_pool2d(real, size, strides, "VALID")
    return tf.nn.avg_pool2d(tf.pad(x, pads), size, strides, "VALID") / share
''',
    "grouped_convolution": '''def grouped_convolution(x, kernel, groups, **options):
    """Convolve each group of channels: TensorFlow has no gradient of groups on the CPU."""
    pairs = zip(tf.split(x, groups, axis=3), tf.split(kernel, groups, axis=3))
    return tf.concat([tf.nn.convolution(part, k, **options) for part, k in pairs], axis=3)
''',
}


HELPERS = {**ACTIVATIONS, **LAYERS}


def write_helpers(
    write: SourceWriter, calls: Iterable[object], helpers: Mapping[str, str] = HELPERS
) -> None:
    """Write those of the functions that are called."""
    written = "\n".join(map(str, calls))
    for name, text in helpers.items():
        if re.search(rf"(?<![\w.]){name}\(", written):
            write(f"{text}\n")
