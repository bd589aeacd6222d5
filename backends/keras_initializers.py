"""The initializers of the Keras backend's sources, for whoever trains them without the harness.

Keras's own `_normal` ones are truncated. Of a depthwise kernel, `[height, width, channels,
multiplier]`, Keras takes for inputs of one value what are inputs of all channels; its outputs are
the multiplier's, so that the right variance is found by these.
"""

from __future__ import annotations

from backends.keras_helpers import (
    DEPTHWISE,
    DEPTHWISE_MULTIPLIED,
    GROUPED,
    TRANSPOSED,
    UNTRUNCATED,
)
from harness.spec import ConstantInitializer, constant_of

DISTRIBUTIONS = {
    "uniform": "uniform",
    "normal": "untruncated_normal",
    "truncated": "truncated_normal",
}
FANS = {"glorot": '1.0, "fan_avg"', "he": '2.0, "fan_in"', "lecun": '1.0, "fan_in"'}

# Variances are `scale / (height width multiplier)`, where fan_in is to be `height width`.
DEPTHWISE_SCALES = {  # of one filter a channel, and of several
    "glorot": ("1.0", "2 * multiplier / (1 + multiplier)"),
    "he": ("2.0", "2.0 * multiplier"),
    "lecun": ("1.0", "multiplier"),
}
HELPERS = [
    f"{kind}{scheme}_{distribution}"
    for kind in ("", "depthwise_", "grouped_", "transposed_")
    for scheme in FANS
    for distribution in DISTRIBUTIONS
]


Initializer = str | ConstantInitializer


def constant(value: float) -> str:
    """Return the initializer that makes all values the same."""
    return f"keras.initializers.Constant({value!r})" if value else '"zeros"'


def bias_initializer(initializer: Initializer) -> list[str]:
    """Return the argument, if it is not Keras's default."""
    value = constant_of(initializer)
    return [f"bias_initializer={constant(value)}"] if value else []


def kernel_initializer(initializer: Initializer, helpers: dict[str, str]) -> list[str]:
    """Return the argument, if it is not Keras's default, and note the helper that it needs."""
    if (value := constant_of(initializer)) is not None:
        return [f"kernel_initializer={constant(value)}"]
    initializer = str(initializer)
    scheme, distribution = initializer.split("_")
    if initializer == "glorot_uniform":
        return []
    if distribution != "normal":
        own = initializer.replace("truncated", "normal")
        return [f'kernel_initializer="{own}"']
    scaling = f'{FANS[scheme]}, "{DISTRIBUTIONS[distribution]}"'
    helpers[initializer] = UNTRUNCATED.format(name=initializer, scaling=scaling)
    return [f"kernel_initializer={initializer}()"]


def transposed_initializer(initializer: Initializer, helpers: dict[str, str]) -> list[str]:
    """Return the argument for a transposed convolution, and note the helper that it needs."""
    if constant_of(initializer) is not None or str(initializer).startswith("glorot"):
        return kernel_initializer(initializer, helpers)  # in which the fans' order is no matter
    scheme, distribution = str(initializer).split("_")
    name = f"transposed_{initializer}"
    helpers[name] = TRANSPOSED.format(
        name=name,
        of=initializer,
        scale=FANS[scheme].partition(",")[0],
        distribution=DISTRIBUTIONS[distribution],
    )
    return [f"kernel_initializer={name}()"]


def grouped_initializer(
    initializer: Initializer, channels: int, filters: int, helpers: dict[str, str]
) -> list[str]:
    """Return the argument for a convolution in groups, and note the helper that it needs."""
    if not str(initializer).startswith("glorot"):  # the others' variances know no outputs
        return kernel_initializer(initializer, helpers)
    name = f"grouped_{initializer}"
    distribution = DISTRIBUTIONS[str(initializer).split("_")[1]]
    helpers[name] = GROUPED.format(name=name, of=initializer, distribution=distribution)
    return [f"kernel_initializer={name}({channels}, {filters})"]


def depthwise_initializer(
    initializer: Initializer, multiplier: int, helpers: dict[str, str]
) -> list[str]:
    """Return the argument for kernels with `multiplier` filters a channel, and note its helper."""
    if (value := constant_of(initializer)) is not None:
        return [f"depthwise_initializer={constant(value)}"]
    initializer = str(initializer)
    scheme, distribution = initializer.split("_")
    name = f"depthwise_{initializer}"
    distribution, (plain, scaled) = DISTRIBUTIONS[distribution], DEPTHWISE_SCALES[scheme]
    if multiplier == 1:
        one = DEPTHWISE.format(name=name, of=initializer, scale=plain, distribution=distribution)
        helpers.setdefault(name, one)
        return [f"depthwise_initializer={name}()"]
    helpers[name] = DEPTHWISE_MULTIPLIED.format(
        name=name, of=initializer, scale=scaled, distribution=distribution
    )
    return [f"depthwise_initializer={name}({multiplier})"]
