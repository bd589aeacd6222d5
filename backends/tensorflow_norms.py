"""Normalisations in both of TensorFlow's dialects: tf.nn has their arithmetic, but no state."""

from __future__ import annotations

import textwrap

from harness.spec import BatchNorm, GroupNorm, LayerNorm, Network, Node

BATCH_NORM = '''\
"""Normalize each channel by the batch; in evaluation, by the running mean and variance.

The variance is biased, in the running one too, and takes a second pass over x. TensorFlow's
fused kernel keeps an unbiased one, and has neither float64 nor flat inputs.
"""'''
LAYER_NORM = '"""Normalize the channels of each pixel (Ba et al. 2016)."""'
GROUP_NORM = '"""Normalize each image by the pixels and channels of a group (Wu and He 2018)."""'

# In each text, {options} are arguments and {scale}, {offset} make variables.
CLASSES = {
    "BatchNorm": f"""class BatchNorm(tf.Module):
{textwrap.indent(BATCH_NORM, "    ")}

    def __init__(self, channels, decay, epsilon, dtype{{options}}):
        super().__init__()
        self.decay, self.epsilon = decay, epsilon
        self.scale = {{scale}}
        self.offset = {{offset}}
        self.mean = tf.Variable(tf.zeros([channels], dtype), trainable=False)
        self.variance = tf.Variable(tf.ones([channels], dtype), trainable=False)

    def __call__(self, x, training):
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = tf.nn.moments(x, list(range(x.shape.rank - 1)))
            self.mean.assign(self.decay * self.mean + (1 - self.decay) * mean)
            self.variance.assign(self.decay * self.variance + (1 - self.decay) * variance)
        return tf.nn.batch_normalization(x, mean, variance, self.offset, self.scale, self.epsilon)
""",
    "LayerNorm": f"""class LayerNorm(tf.Module):
    {LAYER_NORM}

    def __init__(self, channels, epsilon, dtype{{options}}):
        super().__init__()
        self.epsilon = epsilon
        self.scale = {{scale}}
        self.offset = {{offset}}

    def __call__(self, x):
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, self.offset, self.scale, self.epsilon)
""",
    "GroupNorm": f"""class GroupNorm(tf.Module):
    {GROUP_NORM}

    def __init__(self, channels, groups, epsilon, dtype{{options}}):
        super().__init__()
        self.groups, self.epsilon = groups, epsilon
        self.scale = {{scale}}
        self.offset = {{offset}}

    def __call__(self, x):
        scale, offset, image = self.scale, self.offset, x.shape[1:]
        channels = [self.groups, image[-1] // self.groups]
        x = tf.reshape(x, [-1, *image[:-1], *channels])
        axes = [axis for axis in range(1, x.shape.rank) if axis != x.shape.rank - 2]
        mean, variance = tf.nn.moments(x, axes, keepdims=True)
        {{scale_by_groups}}
        {{offset_by_groups}}
        x = tf.nn.batch_normalization(x, mean, variance, offset, scale, self.epsilon)
        return tf.reshape(x, [-1, *image])
""",
}
FUNCTIONS = {
    "batch_norm": f"""def batch_norm(x, decay, epsilon, training{{options}}):
{textwrap.indent(BATCH_NORM, "    ")}
    shape = [x.shape[-1]]
    scale = {{scale}}
    offset = {{offset}}
    mean = tf.get_variable("mean", shape, x.dtype, tf.zeros_initializer(), trainable=False)
    variance = tf.get_variable("variance", shape, x.dtype, tf.ones_initializer(), trainable=False)
    if training:
        batch_mean, batch_variance = tf.nn.moments(x, list(range(x.shape.rank - 1)))
        for running, batch in ((mean, batch_mean), (variance, batch_variance)):
            update = running.assign(decay * running + (1 - decay) * batch, read_value=False)
            tf.add_to_collection(tf.GraphKeys.UPDATE_OPS, update)
        mean, variance = batch_mean, batch_variance
    return tf.nn.batch_normalization(x, mean, variance, offset, scale, epsilon)
""",
    "layer_norm": f"""def layer_norm(x, epsilon{{options}}):
    {LAYER_NORM}
    shape = [x.shape[-1]]
    scale = {{scale}}
    offset = {{offset}}
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, offset, scale, epsilon)
""",
    "group_norm": f"""def group_norm(x, groups, epsilon{{options}}):
    {GROUP_NORM}
    image, shape = x.shape[1:], [x.shape[-1]]
    scale = {{scale}}
    offset = {{offset}}
    channels = [groups, image[-1] // groups]
    x = tf.reshape(x, [-1, *image[:-1], *channels])
    axes = [axis for axis in range(1, x.shape.rank) if axis != x.shape.rank - 2]
    mean, variance = tf.nn.moments(x, axes, keepdims=True)
    {{scale_by_groups}}
    {{offset_by_groups}}
    x = tf.nn.batch_normalization(x, mean, variance, offset, scale, epsilon)
    return tf.reshape(x, [-1, *image])
""",
}
KINDS = {"batch_norm": BatchNorm, "layer_norm": LayerNorm, "group_norm": GroupNorm}
CLASS_NAMES = {"batch_norm": "BatchNorm", "layer_norm": "LayerNorm", "group_norm": "GroupNorm"}


# What stands for a line of the classes in mixed precision: what is between them is float32.
REGROUPED = "tf.reshape(x, [-1, *image])"
NORMALIZED = "tf.nn.batch_normalization(x, mean, variance, self.offset, self.scale, self.epsilon)"
MIXED = (
    ("    def __call__(self, x):\n", "    def __call__(self, x):\n{widen}"),
    ("    def __call__(self, x, training):\n", "    def __call__(self, x, training):\n{widen}"),
    (f"return {NORMALIZED}", f"x = {NORMALIZED}\n        return tf.cast(x, tf.bfloat16)"),
    (f"return {REGROUPED}", f"return tf.cast({REGROUPED}, tf.bfloat16)"),
)
WIDEN = "        x = tf.cast(x, tf.float32)  # bfloat16 is too coarse for statistics\n"


def norm_classes(network: Network, mixed: bool) -> dict[str, str]:
    """Return the classes of normalisations, by name, as the network needs them."""
    made = {role: f"tf.Variable(tf.{first}([channels], dtype))" for role, first in FIRST.items()}
    classes = {
        CLASS_NAMES[kind]: _filled(CLASSES[CLASS_NAMES[kind]], network, kind, made)
        for kind in KINDS
    }
    for old, new in MIXED if mixed else ():
        new = new.replace("{widen}", WIDEN)
        classes = {name: text.replace(old, new) for name, text in classes.items()}
    return classes


def norm_functions(network: Network) -> dict[str, str]:
    """Return the functions of normalisations, by name, as the network needs them."""
    made = {
        role: f'tf.get_variable("{role}", shape, x.dtype, tf.{first}_initializer())'
        for role, first in FIRST.items()
    }
    return {kind: _filled(FUNCTIONS[kind], network, kind, made) for kind in KINDS}


FIRST = {"scale": "ones", "offset": "zeros"}


def _filled(text: str, network: Network, kind: str, made: dict[str, str]) -> str:
    """Return a text in which scale and offset are options if some layer is without."""
    fields = {}
    norms = [node.layer for node in network.nodes if isinstance(node.layer, KINDS[kind])]
    options = [role for role in FIRST if not all(getattr(layer, role) for layer in norms)]
    for role, value in made.items():
        is_option = role in options
        fields[role] = f"{value} if {role} else None" if is_option else value
        reshaped = f"{role} = tf.reshape({role}, channels)"
        check = f"{role} if {role} is None else "
        fields[f"{role}_by_groups"] = (
            reshaped.replace("= ", f"= {check}") if is_option else reshaped
        )
    return text.format(options="".join(f", {role}=True" for role in options), **fields)


def norm_options(node: Node) -> list[str]:
    """Return the arguments of both dialects that say what is normalised, and how."""
    layer = node.layer
    assert isinstance(layer, BatchNorm | LayerNorm | GroupNorm)
    given = []
    if isinstance(layer, BatchNorm):
        given.append(f"decay={layer.decay!r}")
    if isinstance(layer, GroupNorm):
        given.append(f"groups={layer.groups}")
    return [*given, f"epsilon={layer.epsilon!r}"]


def norm_lacks(node: Node) -> list[str]:
    """Return the arguments that leave scale or offset away."""
    return [f"{role}=False" for role in FIRST if not getattr(node.layer, role)]
