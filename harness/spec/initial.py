"""Initial weights: drawn once by the harness with NumPy, given to every backend."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from harness.spec.model import Spec
from harness.spec.network import infer
from harness.spec.nodes import Parameter

Floats = NDArray[np.floating]
WEIGHTS_STREAM = 0x1A17  # keeps this random stream apart from that of the sample order


TRUNCATED_SD = 0.87962566103423978  # of a standard normal variable that is kept within two


def initial_parameters(spec: Spec, seed: int) -> dict[str, NDArray[np.float32]]:
    """Draw the weights of `spec` for `seed`: `{path: float32 array}` in canonical layout.

    Running statistics are among them. Scales and variances are one, offsets and means zero,
    biases and kernels what the spec says. Every kernel has a stream of its own, counted among
    the kernels: its values do not depend on the sizes of its neighbours, on biases, or on layers
    without weights.
    """
    network = infer(spec)
    parameters = (*network.parameters, *network.statistics)
    kernels = (parameter for parameter in parameters if parameter.role == "kernel")
    streams = {parameter.path: number for number, parameter in enumerate(kernels)}
    return {
        p.path: _draw(p, str(spec.initializer), seed, streams[p.path])
        if p.is_drawn
        else np.full(p.shape, p.begins_at, np.float32)
        for p in parameters
    }


def _draw(parameter: Parameter, initializer: str, seed: int, stream: int) -> NDArray[np.float32]:
    """Variance scaling: Glorot and Bengio (2010), He et al. (2015), LeCun et al. (1998).

    The variance is `gain / fan`; a uniform draw has the bound `sqrt(3 * variance)`, a truncated
    one is normal, drawn again beyond two standard deviations, and scaled to the variance.
    """
    generator = np.random.Generator(
        np.random.Philox(np.random.SeedSequence([WEIGHTS_STREAM, seed, stream]))
    )
    scheme, distribution = initializer.split("_")
    gain, fan = {
        "glorot": (1.0, (parameter.fan_in + parameter.fan_out) / 2),
        "he": (2.0, parameter.fan_in),
        "lecun": (1.0, parameter.fan_in),
    }[scheme]
    variance = gain / fan
    if distribution == "normal":
        drawn = generator.standard_normal(parameter.shape) * math.sqrt(variance)
    elif distribution == "truncated":
        drawn = _truncated(generator, parameter.shape) * math.sqrt(variance) / TRUNCATED_SD
    else:
        bound = math.sqrt(3 * variance)
        drawn = generator.uniform(-bound, bound, parameter.shape)
    return drawn.astype(np.float32)


def _truncated(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    drawn = generator.standard_normal(shape)
    while (beyond := np.abs(drawn) > 2).any():
        drawn[beyond] = generator.standard_normal(int(beyond.sum()))
    return drawn


def parameters_hash(parameters: Mapping[str, Floats]) -> str:
    """Sixteen hex digits over paths, shapes, types and values."""
    digest = hashlib.sha256()
    for path in sorted(parameters):
        array = np.ascontiguousarray(parameters[path])
        digest.update(f"{path} {array.shape} {array.dtype}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
