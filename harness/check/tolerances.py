"""How much may differ on each rung: stated in float64, measured in float32 (and in `mixed`).

In float32 a training is not to be compared with a fixed bound: what rounding leaves grows from
step to step, in one network more than in another. So the float64 reference itself is trained from
weights and images that were moved by some float32 roundings, up or down at random, and what that
does to each loss and each array is the measure.

They are moved by sixteen roundings, not by one and the result taken times sixteen, because growth
has steps in it: a ReLU whose input is zero within rounding is on in one framework and off in
another, and from there on two trainings part exponentially. What is moved a little further
than rounding reaches meets the same places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from harness.check.material import STREAM, Material
from harness.check.places import (
    Answer,
    Array,
    Place,
    Tolerances,
    zero_gradients,
)
from harness.contract import Precision
from harness.run.agreement import TOLERANCE as OF_A_RUN
from harness.run.agreement import Measure, relative_difference, root_mean_square
from harness.spec import Adam, AdamW, Optimizer

FLOAT64 = {
    "structure": 0.0,
    "outputs": 1e-10,  # these two are the rung forward
    "modes": 1e-10,
    "gradients": 1e-10,
    "update": 1e-10,
    "trajectory": 1e-8,
    "evaluation": 1e-10,
}
ROUNDINGS = 16  # that weights and images are moved by: a framework rounds in every operation
GROWTH_SEEDS = (0, 1, 2, 3)
GROWTH_FACTOR = 4.0  # over the worst of the seeds
DECAYS = ("momentum", "beta1", "beta2", "decay")  # an optimizer's constants that are subtracted
NOISE = 0.1  # what float64 rounding changes by more has no digit that could be right
GROWTH_FLOOR = 1e-6  # eight roundings, where the perturbations happened to cancel


def fixed_tolerance(part: str, precision: Precision) -> float:
    """Return the bound of a question in which nothing grows."""
    if precision == "float64" or part == "structure":
        return FLOAT64[part]
    return OF_A_RUN[precision]


def by_growth(
    right: Answer,
    perturbed: list[Answer],
    measure: Measure = root_mean_square,
    floor: Callable[[Place], float] = lambda place: GROWTH_FLOOR,
    factor: float = GROWTH_FACTOR,
) -> Tolerances:
    """Return bounds for a rung that trains, from what perturbed references made of it.

    The loss of a step may differ by as much as that of any step before.
    """
    bounds, so_far, zeros = {}, 0.0, zero_gradients(right)
    for place, value in right.items():
        grown = max(measure(answer.get(place), value, zeros.get(place)) for answer in perturbed)
        if place.path == "loss":
            so_far = grown = max(so_far, grown)
        bounds[place] = max(factor * grown, floor(place))
    return lambda place: bounds.get(place, floor(place))


def by_rounding(
    right: Answer, rounded: list[Answer], fixed: float, gradients: Answer
) -> Tolerances:
    """Return float64 bounds from what references made of it whose every layer rounds worse.

    `fixed`, where that is more. The loss of a step may differ by as much as that of any before.
    None for parameters whose gradient is zero but for rounding: where the reference's is exactly
    zero, it has no rounding to tell of another's.
    """
    idle = {place.path for place in zero_gradients(gradients)}
    bounds, so_far, zeros = {}, 0.0, zero_gradients(right)
    for place, value in right.items():
        differences = [relative_difference(a.get(place), value, zeros.get(place)) for a in rounded]
        grown = max(d if d == d else np.inf for d in differences)  # NaN is no bound
        if place.path == "loss":
            so_far = grown = max(so_far, grown)
        of_idle = place.topic.startswith("after") and {place.path, _owner(place)} & idle
        is_noise = of_idle or grown >= NOISE
        bounds[place] = np.inf if is_noise else max(GROWTH_FACTOR * grown, fixed)
    return lambda place: bounds.get(place, fixed)


def _owner(place: Place) -> str:
    """Return the parameter that a slot of an optimizer belongs to."""
    return place.path.rpartition(".")[0]


def perturbed_images(images: Array, seed: int) -> Array:
    """Return float32 images, each value `ROUNDINGS` steps of float32 above or below."""
    random = np.random.default_rng([STREAM, 2, seed])
    return _moved(images.astype(np.float32), random)


def perturbed(material: Material, gradients: Answer, seed: int) -> Material:
    """Return material with the weights moved likewise, the learning rates, and the decays.

    A parameter whose gradient is zero but for rounding has no influence, and float32 moves it by
    what rounding leaves: Adam by as much as any other. It starts that far off.
    """
    random = np.random.default_rng([STREAM, 3, seed])
    moved = {
        path: _moved(value.astype(np.float32), random).astype(np.float64)
        for path, value in material.parameters.items()
    }
    reach = float(sum(steps.rates.sum() for steps in material.trajectory))
    for _, path in zero_gradients(gradients):
        if path in moved:
            moved[path] = moved[path] + random.uniform(-reach, reach, moved[path].shape)
    training = material.spec.training
    training = training.model_copy(update={"optimizer": _decays_moved(training.optimizer, random)})
    signs = np.where(random.random(material.steps) < 0.5, -1.0, 1.0)
    factors = 1 + signs * _rate_error(training.optimizer)
    spec = material.spec.model_copy(update={"training": training})
    return replace(material, spec=spec, parameters=moved, rate_factors=factors)


def _decays_moved(optimizer: Optimizer, random: np.random.Generator) -> Optimizer:
    """Return the optimizer with every decay one step of float32 away.

    A framework that computes 1 - 0.999 in float32 is 1.3e-5 of it off, as TensorFlow's Adam is,
    and so is its second moment.
    """
    decays = [name for name in DECAYS if getattr(optimizer, name, 0.0)]
    steps = {name: np.spacing(np.float32(getattr(optimizer, name))) for name in decays}
    signs = np.where(random.random(len(decays)) < 0.5, -1.0, 1.0)
    moved = {
        name: getattr(optimizer, name) + float(sign * steps[name])
        for name, sign in zip(decays, signs, strict=True)
    }
    return optimizer.model_copy(update=moved)


def _rate_error(optimizer: object) -> float:
    """Return how far off a rate may be, relative to it.

    Adam's bias corrections are rounded where a framework computes them in float32, as Keras and
    optax do: 1 - 0.999 by up to 6e-5 of it, and the rate goes by the root.
    """
    rounding = 2.0**-24
    if isinstance(optimizer, Adam | AdamW):
        return rounding / (1 - optimizer.beta2) / 2 + rounding / (1 - optimizer.beta1)
    return rounding * ROUNDINGS


def _moved(values: Array, random: np.random.Generator) -> Array:
    signs = np.where(random.random(values.shape) < 0.5, -1, 1).astype(np.float32)
    return np.asarray(values + signs * ROUNDINGS * np.spacing(np.abs(values)))
