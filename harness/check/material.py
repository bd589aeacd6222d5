"""What every backend is given to be checked: weights, images, targets, masks, batches, rates.

All of it is made up, the same on every machine. Images are noise: real ones have plain areas, in
which equal values meet in a max-pool's window and rounding alone decides who wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.check.places import Array, Arrays
from harness.data import Dataset, epoch_batches
from harness.data.dataset import build
from harness.run.agreement import check_parameters
from harness.spec import Dropout, Spec, infer, initial_parameters

STREAM = 0xC4ECC
MOST_IMAGES, LEAST_IMAGES = 8, 4  # in a batch: few, for the reference is slow
BATCH_FLOPS = 2e9  # forward; a network that needs more gets smaller batches
EPOCHS = 3  # that a trajectory is made of, roughly, so that rows come again


@dataclass(frozen=True)
class Steps:
    """Some steps with batches of one size: rows `[steps, batch]`, rates, and each one's number."""

    first: int
    order: NDArray[np.int64]
    rates: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Material:
    """The questions' numbers. `batch` is the size of a full one, `steps` how many there are.

    `masking` and `second_rate`, of the second update over the first, are other than here only
    where the reference is to make a mistake on purpose (see `causes`), as are `rate_factors`
    `[steps]` only where it is moved by rounding (see `tolerances`).
    """

    spec: Spec
    batch: int
    steps: int
    parameters: Arrays
    dataset: Dataset
    masking: Literal["inverted", "not scaled", "none"] = "inverted"
    second_rate: float = 0.5  # a rate that is kept inside a momentum then shows
    rate_factors: NDArray[np.float64] | None = None

    def masks(self, step: int, count: int) -> Arrays:
        """Return one mask for each dropout layer, `mask.PATH`, of a step with `count` images.

        Step -1 is the batch that is differentiated.
        """
        random = np.random.default_rng([STREAM, 1, step + 1])
        found: Arrays = {}
        for node in infer(self.spec).dropouts:
            assert isinstance(node.layer, Dropout)
            kept = random.random((count, *node.input_shape)) >= node.layer.rate
            mask = kept / (1 - node.layer.rate)  # float64: 1 / 0.75 is no float32
            by = {"inverted": mask, "not scaled": kept * 1.0, "none": np.ones(kept.shape)}
            found[f"mask.{node.path}"] = by[self.masking]
        return found

    @property
    def checked(self) -> Arrays:
        """The batch that is differentiated: images, targets and masks."""
        rows = slice(self.batch)
        images, targets = self.dataset.train_images[rows], self.dataset.train_labels[rows]
        return {"images": images, "targets": targets, **self.masks(-1, self.batch)}

    @property
    def trajectory(self) -> list[Steps]:
        """The steps of the trajectory, by batches of one size.

        The last batch of each epoch is a partial one, whatever the spec makes of it in training.
        The rates are those of the spec's whole schedule, at as many places as there are steps.
        """
        rates, found, step, epoch = self._rates(), [], 0, 0
        rows = np.arange(len(self.dataset.train_images))
        while step < self.steps:
            for order in epoch_batches(rows, self.batch, 0, epoch, "keep"):
                part = order[: self.steps - step]
                if len(part):
                    found.append(Steps(step, part, rates[step : step + len(part)]))
                step += len(part)
            epoch += 1
        return found

    def _rates(self) -> NDArray[np.float64]:
        whole = self.spec.training.learning_rates(100)
        places = np.linspace(0, len(whole) - 1, self.steps).round().astype(np.int64)
        return whole[places] * (1.0 if self.rate_factors is None else self.rate_factors)


def make_material(spec: Spec, steps: int) -> Material:
    """Make up all that is needed to check `spec`, with a trajectory of so many steps."""
    random = np.random.default_rng([STREAM, 0])
    affordable = int(BATCH_FLOPS / max(infer(spec).flops_per_image, 1))
    batch = min(spec.training.batch_size, max(LEAST_IMAGES, min(MOST_IMAGES, affordable)))
    full = max(-(-steps // EPOCHS) - 1, 1)
    train = batch * full + max(batch - 3, 1)
    test = 4 * batch + 1
    return Material(
        spec,
        batch,
        steps,
        dict(check_parameters(initial_parameters(spec, 0))),
        made_up(spec, train, test, random),
    )


def made_up(spec: Spec, train: int, test: int, random: np.random.Generator) -> Dataset:
    """Draw so many images of the model's size for both splits, and targets that fit its loss."""
    images = [
        random.normal(size=(count, *spec.input)).astype(np.float32) for count in (train, test)
    ]
    targets = [_targets(spec, count, random) for count in (train, test)]
    return build("check", (images[0], targets[0]), (images[1], targets[1]), None)


def _targets(spec: Spec, count: int, random: np.random.Generator) -> Array:
    outputs = infer(spec).output_shape[0]
    match spec.training.loss:
        case "cross_entropy":
            return random.integers(0, outputs, count).astype(np.int32)
        case "binary_cross_entropy":
            return random.integers(0, 2, (count, outputs)).astype(np.float32)
        case _:
            return random.normal(size=(count, outputs)).astype(np.float32)
