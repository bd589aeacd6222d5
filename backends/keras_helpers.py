"""What sources of the Keras backend define for themselves: activations, layers, initializers."""

from __future__ import annotations

from harness.spec import LEAKY_SLOPE

# Functions and classes by name, each written where a source uses it; on some frameworks alone.
LEAKY_RELU = f"""\
def leaky_relu(x):
    return keras.activations.leaky_relu(x, negative_slope={LEAKY_SLOPE!r})
"""

GELU_TANH = """\
def gelu_tanh(x):
    return keras.activations.gelu(x, approximate=True)
"""

LEAKY_RELU_TENSORFLOW = f'''\
def leaky_relu(x):
    """As keras.activations.leaky_relu, but without rounding the slope to float32."""
    return ops.where(x > 0, x, {LEAKY_SLOPE!r} * x)
'''

GELU_TENSORFLOW = '''\
def gelu(x):
    """As keras.activations.gelu, but without rounding its constant to float32."""
    return 0.5 * x * (1 + ops.erf(0.7071067811865476 * x))  # 1 / sqrt(2)
'''

GELU_TANH_TENSORFLOW = '''\
def gelu_tanh(x):
    """As keras.activations.gelu(approximate=True), without rounding to float32."""
    inner = 0.7978845608028654 * (x + 0.044715 * x * x * x)  # sqrt(2 / pi)
    return 0.5 * x * (1 + ops.tanh(inner))
'''

LEAKY_RELU_JAX = f'''\
def leaky_relu(x):
    """As keras.activations.leaky_relu; on JAX, that one's gradient at zero is 1."""
    return ops.where(x > 0, x, {LEAKY_SLOPE!r} * x)
'''

RELU6_JAX = '''\
def relu6(x):
    """As keras.activations.relu6; on JAX, that one's gradient at zero is 1/2."""
    return ops.where(x < 6, ops.relu(x), 6.0)
'''

# Activations that Keras has not under the spec's name, or not with its meaning.
FUNCTIONS: dict[str, dict[str, str]] = {
    "tensorflow": {
        "leaky_relu": LEAKY_RELU_TENSORFLOW,
        "gelu": GELU_TENSORFLOW,
        "gelu_tanh": GELU_TANH_TENSORFLOW,
    },
    "jax": {"leaky_relu": LEAKY_RELU_JAX, "relu6": RELU6_JAX, "gelu_tanh": GELU_TANH},
    "torch": {"leaky_relu": LEAKY_RELU, "gelu_tanh": GELU_TANH},
}

INFINITY_PADDING = '''\
class InfinityPadding{axes}D(layers.ZeroPadding{axes}D):
    """Pads by minus infinity, which is never the maximum."""

    def call(self, inputs):
        pads = ((0, 0), {pads}, (0, 0))
        return ops.pad(inputs, pads, constant_values=-float("inf"))
'''

AVERAGE_POOLING = '''\
class {kind}(layers.Layer):
    """Means over windows; the padding counts neither in the sum nor in the number.

    {why}
    """

    def __init__(self, pool_size, strides, padding, **kwargs):
        super().__init__(**kwargs)
        self.pool_size = pool_size
        self.strides = strides
        self.pads = ((0, 0), *padding, (0, 0))  # (before, after) along each axis

    def call(self, inputs):
        share_of_pixels = self.mean(ops.ones_like(inputs[:1, ..., :1]))
        return self.mean(inputs) / share_of_pixels

    def mean(self, x):
        return {pool}ops.pad(x, self.pads), self.pool_size, self.strides)
'''
# A share of 2/3 is no bfloat16.
AVERAGE_POOLING_MIXED = AVERAGE_POOLING.replace(
    """self.mean(ops.ones_like(inputs[:1, ..., :1]))
        return self.mean(inputs) / share_of_pixels
""",
    """self.mean(ops.ones_like(inputs[:1, ..., :1], "float32"))
        means = ops.cast(self.mean(inputs), "float32") / share_of_pixels
        return ops.cast(means, self.compute_dtype)
""",
)

BIASED = '''\
class {kind}(layers.{kind}):
    """Adds its bias by a sum. Keras takes tf.nn.bias_add, whose gradient sums up in bfloat16."""

    def call(self, inputs):
        outputs = {product}
        return self.activation(tf.add(outputs, self.bias) if self.use_bias else outputs)
'''
BIASED_PRODUCTS = {
    "Dense": "ops.matmul(inputs, self.kernel)",
    "Conv": "self.convolution_op(inputs, self.kernel)",
    "DepthwiseConv": """ops.depthwise_conv(
            inputs,
            self.kernel,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
        )""",
    "ConvTranspose": """ops.conv_transpose(
            inputs,
            self.kernel,
            strides=list(self.strides),
            padding=self.padding,
        )""",
}

KERAS_PADS = 'Keras knows "valid" and "same" only.'
TORCH_PADS = 'On torch, Keras repeats the border where "same" pads it unevenly.'

POOL_VOLUMES = '''\
def pool_volumes(pool, volumes, size, strides, padding="valid"):
    """Pool planes, then across them; TensorFlow's own pools of volumes take no float64."""
    _, depth, height, width, channels = volumes.shape
    x = ops.reshape(volumes, (-1, height, width, channels))
    x = pool(x, size[1:], strides[1:], padding)
    _, height, width, _ = x.shape
    x = ops.reshape(x, (-1, depth, height * width, channels))
    x = pool(x, (size[0], 1), (strides[0], 1), padding)
    return ops.reshape(x, (-1, x.shape[1], height, width, channels))
'''

POOLING_VOLUMES = """\
class {kind}(layers.{kind}):
    def call(self, inputs):
        return pool_volumes({pool}, inputs, self.pool_size, self.strides, self.padding)
"""

CROPPED_CONV_TRANSPOSE = '''\
class CroppedConv2DTranspose(layers.Conv2DTranspose):
    """Cuts rows and columns off, where Keras knows "valid" and "same" only."""

    def __init__(self, *args, cropping, **kwargs):
        super().__init__(*args, **kwargs)
        # Where a stride is larger than its kernel, Keras adds rows of nothing but the bias.
        added = [max(s - k, 0) for s, k in zip(self.strides, self.kernel_size)]
        self.cropping = [(top, end + more) for (top, end), more in zip(cropping, added)]

    def call(self, inputs):
        (top, bottom), (left, right) = self.cropping
        outputs = super().call(inputs)
        _, height, width, _ = outputs.shape
        return outputs[:, top : height - bottom, left : width - right]

    def compute_output_shape(self, input_shape):
        n, height, width, channels = super().compute_output_shape(input_shape)
        rows, columns = map(sum, self.cropping)
        return n, height - rows, width - columns, channels
'''

STRIDED = '''\
class Strided{kind}(layers.{kind}):
    """Takes its steps over the pixels of a dilated convolution: Keras refuses a stride there."""

    def __init__(self, *args, steps, **kwargs):
        super().__init__(*args, **kwargs)
        self.steps = steps

    def call(self, inputs):
        kept = [slice(None, None, step) for step in self.steps]
        return super().call(inputs)[(slice(None), *kept)]

    def compute_output_shape(self, input_shape):
        n, *sides, channels = super().compute_output_shape(input_shape)
        return n, *(-(-side // step) for side, step in zip(sides, self.steps)), channels
'''

BATCH_NORM_TORCH = '''\
class BatchNormalization(layers.BatchNormalization):
    """Takes the variance about the mean; on torch, Keras takes E[x^2] - E[x]^2."""

    def _moments(self, inputs, mask):
        variance, mean = torch.var_mean(inputs, self._reduction_axes, correction=0)
        return mean, variance
'''

GROUP_NORM_TORCH = '''\
class GroupNormalization(layers.GroupNormalization):
    """Takes the variance about the mean; on torch, Keras takes E[x^2] - E[x]^2."""

    def call(self, inputs):
        x = torch.movedim(inputs, -1, 1)
        if not inputs.requires_grad:  # on the CPU torch would write a gradient where there is none
            x = x.clone(memory_format=torch.contiguous_format)
        # The offset is added here: torch has no gradient of one without a scale.
        x = torch.nn.functional.group_norm(x, self.groups, self.gamma, None, self.epsilon)
        x = torch.movedim(x, 1, -1)
        return x if self.beta is None else x + self.beta
'''

CHANNEL_SCALE = '''\
class ChannelScale(layers.Layer):
    """A learnt factor for each channel, as in LayerScale (Touvron et al. 2021)."""

    def __init__(self, initial, **kwargs):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape):
        initializer = keras.initializers.Constant(self.initial)
        self.gamma = self.add_weight((input_shape[-1],), initializer, name="gamma")

    def call(self, inputs):
        return inputs * self.gamma
'''

UNTRUNCATED = '''\
def {name}():
    """As keras.initializers.{name}, but not truncated."""
    return keras.initializers.VarianceScaling({scaling})
'''

TRANSPOSED = '''\
def {name}():
    """The {of} of a transposed convolution, whose kernel is [..., out, in]: fans change places."""
    return keras.initializers.VarianceScaling({scale}, "fan_out", "{distribution}")
'''

GROUPED = '''\
def {name}(inputs, outputs):
    """The {of} of one group's kernel; Keras would count the outputs of all groups."""
    scale = 2 * inputs / (inputs + outputs)
    return keras.initializers.VarianceScaling(scale, "fan_in", "{distribution}")
'''

DEPTHWISE = '''\
def {name}():
    """The {of} of one channel's kernel; Keras would count the inputs of all channels."""
    return keras.initializers.VarianceScaling({scale}, "fan_out", "{distribution}")
'''

DEPTHWISE_MULTIPLIED = '''\
def {name}(multiplier=1):
    """The {of} of one channel's kernel; Keras would count the inputs of all channels."""
    scale = {scale}
    return keras.initializers.VarianceScaling(scale, "fan_out", "{distribution}")
'''
