"""The networks of the suite's tests of behaviour: small, and of what every backend must have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.data import Dataset
from harness.data.dataset import build
from harness.spec import Dropout, Spec, infer, parse_spec
from harness.testing import networks

if TYPE_CHECKING:
    from harness.testing.subject import Subject

OPTIMIZERS = {
    "sgd": '{ type = "sgd", learning_rate = 0.05, momentum = 0.9 }',
    "adam": '{ type = "adam", learning_rate = 0.02 }',
    "rmsprop": '{ type = "rmsprop", learning_rate = 0.02, decay = 0.9, epsilon = 1e-3 }',
}
SMALL = """
name = "contract-{name}"
input = [8, 8, 2]
layers = [
  {{ type = "conv2d", filters = 3, kernel = 3, padding = "same", activation = "relu" }},
  {{ type = "batch_norm", decay = 0.9, epsilon = 1e-3 }},
  {{ type = "max_pool", size = 2 }},
  {{ type = "flatten" }},
  {{ type = "dropout", rate = 0.5 }},
  {{ type = "dense", units = 3, activation = "softmax" }},
]
[training]
batch_size = 8
optimizer = {optimizer}
"""


def small(optimizer: str) -> Spec:
    """Return a network with running statistics and dropout, and one of `OPTIMIZERS`."""
    text = SMALL.format(name=optimizer, optimizer=OPTIMIZERS[optimizer])
    return parse_spec(text, "harness.testing")


@dataclass(frozen=True)
class Closed:
    """Sessions that hold much data for a network with few weights."""

    spec: Spec
    sessions: int = 6
    shape: tuple[int, ...] = (1024, 64, 64, 4)

    @property
    def bytes(self) -> int:
        """The size of one session's images, in float32."""
        return 4 * int(np.prod(self.shape))

    def dataset(self, folder: Path) -> Dataset:
        """Put the images into a file, once, and map it."""
        path, count = folder / "large.npy", self.shape[0]
        np.save(path, np.ones(self.shape, np.float32))
        train = np.load(path, mmap_mode="r"), np.zeros(count, np.int32)
        return build("large", train, (train[0][:8], train[1][:8]), None)


CLOSED = Closed(
    parse_spec(
        'name = "contract-close"\ninput = [64, 64, 4]\nlayers = [\n'
        '  { type = "global_avg_pool" },\n'
        '  { type = "dense", units = 2, activation = "softmax" },\n]\n'
        '[training]\noptimizer = { type = "sgd", learning_rate = 0.1 }\n',
        "harness.testing",
    )
)


def drawn_masks(subject: Subject) -> tuple[NDArray[Any], float]:
    """Train one step on one image; return by what dropout had multiplied each input, and its rate.

    The network has one weight for each input, and the loss `error ** 2`. By SGD a weight changes by
    `-rate * 2 * error * input * multiplier`.
    """
    spec = networks.network("drawn")
    given = subject.open(spec)
    dropout = infer(spec).dropouts[0].layer
    assert isinstance(dropout, Dropout)
    parameters = {path: np.zeros_like(value) for path, value in given.parameters.items()}
    rate = spec.training.learning_rates(1)[:1]
    subject.reset(parameters, seed=7)
    (loss,) = subject.train(np.zeros((1, 1), np.int64), rate)
    change = np.abs(subject.state()["dense1.kernel"])[:, 0]
    image = np.abs(given.dataset.train_images[0].ravel())
    return change / (rate * 2 * np.sqrt(loss) * image), dropout.rate
