"""Functions that a generated source defines where tf.nn has none of the spec's meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping

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


def write_helpers(write: SourceWriter, calling: str, norms: Mapping[str, str]) -> None:
    """Write those of the functions, and of the norms, that a text calls."""
    for name, text in {**HELPERS, **norms}.items():
        if re.search(rf"(?<![\w.]){name}\(", calling):
            write(f"{text}\n")
