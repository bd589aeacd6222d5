"""What the tests ask of the backends: one network at a time, all there is to ask about it.

A *study* is what one backend makes of one network, by topic: every layer's output, one batch
differentiated, some steps of training. Each is made once, in the worker of that backend and
precision, and many tests look at it. The networks are the library's, and those that the contract's
suite has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.contract import Precision
from harness.registry import BackendInfo, describe
from harness.run.agreement import check_parameters, compare
from harness.spec import Dropout, Spec, infer, initial_parameters, library, load_spec
from harness.testing.networks import NAMES as OWN
from harness.testing.networks import network as own_network

HERE = Path(__file__).parent
NETWORKS = [*OWN, *library()]
# After a step of training, rounding would decide which of equal values in a window wins.
TRAINED = [name for name in OWN if name != "ties"]
SHALLOW = ["lenet-5", "m5", "mnist-1conv", "mnist-2conv", "pilotnet", "resnet-20", "squeezenet"]
DEEP = [name for name in library() if name not in SHALLOW]  # tested by `pytest -m deep`
SUBSETS = {  # compiling takes these some seconds for every network, or for every deep one
    "numpy@rounded": [],  # differs on purpose, for the fuzz
    "torch@compile": ["dropouts", "ties"],
    "tensorflow@session": [*OWN, *SHALLOW],
    "keras@jax": [
        *("blocks", "dilated", "drawn", "dropouts", "sparse", "strides", "ties", "mnist-1conv"),
    ],
}

IMAGES, CHECKED = 13, 5  # in the training set; of those, in the batch that is differentiated
STEPS, BATCH, PARTIAL = 4, 4, 2
RATES = np.array([1.0, 0.5, 2.0, 0.25, 1.5])  # of each step, times the network's learning rate

Arrays = dict[str, np.ndarray]
Study = dict[str, Arrays]
Ask = Callable[..., tuple[dict[str, Any], Arrays]]
Edits = tuple[tuple[str, str], ...]  # what to replace in the source, and by what


@dataclass(frozen=True)
class Case:
    """One backend, by its label, on one network; with edits, a mutant of its source."""

    label: str
    network: str
    precision: Precision = "float64"
    edits: Edits = ()

    @property
    def reference(self) -> Case:
        return Case("numpy", self.network)

    def __str__(self) -> str:
        return f"{self.label}-{self.network}"


@cache
def backends() -> dict[str, BackendInfo]:
    """All that are registered and train, installed or not."""
    return {info.label: info for info in describe() if info.trains}


def installed(label: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a test that needs a backend: to skip it where that lacks a module."""
    missing = backends()[label].missing if label in backends() else ("its plug-in",)
    reason = f"{label} needs {', '.join(missing)}, which is not installed"
    return [pytest.mark.skip(reason=reason)] if missing else []


def cases(networks: Iterable[str]) -> list[Any]:
    """Return the cases of all backends on those of the networks that they are to be tested on."""
    return [
        pytest.param(Case(label, name), marks=[*installed(label), *deep(name)])
        for label in backends()
        for name in networks
        if name in SUBSETS.get(label, NETWORKS)
    ]


def deep(name: str) -> list[pytest.MarkDecorator]:
    """Return the mark of a test of a deep network, which takes every backend a minute."""
    return [pytest.mark.deep] if name in DEEP else []


REDUCED = 32  # pixels a side, of the library's models for larger images
# Those that would have nothing left of so few.
INPUTS = {"m5": (1100, 1), "pilotnet": (66, 68, 3)}


@cache
def network(name: str) -> Spec:
    if name not in library():
        return own_network(name)
    spec = load_spec(name)
    *sides, channels = spec.input
    reduced = (*(min(side, REDUCED) for side in sides), channels)
    return spec.model_copy(update={"input": INPUTS.get(name, reduced)})


# Of the library, those that gather running statistics.
GATHERING = [name for name in library() if infer(network(name)).statistics]


@dataclass(frozen=True)
class Material:
    """What every backend gets for a network: data, weights and dropout masks, always the same."""

    images: np.ndarray
    targets: np.ndarray
    parameters: Arrays
    masks: Arrays
    training_masks: Arrays

    @property
    def batch(self) -> Arrays:
        return {"images": self.images[:CHECKED], "targets": self.targets[:CHECKED]}


@cache
def material(name: str) -> Material:
    spec, random = network(name), np.random.default_rng(7)
    images = random.normal(size=(IMAGES, *spec.input))
    parameters: Arrays = dict(check_parameters(initial_parameters(spec, 3)))
    match name:
        case "pools":
            images = -np.abs(images)
        case "dense":
            images *= 20_000
        case "drawn":
            images = 1 + np.abs(images)
        case "ties":
            images = random.choice([-1, -2, -3], images.shape, p=[0.02, 0.1, 0.88])
            images[0] = -1  # all of one colour
            parameters = {path: _integers(value, random) for path, value in parameters.items()}
    outputs = infer(spec).output_shape[0]
    if spec.training.loss == "cross_entropy":
        targets = random.integers(0, outputs, IMAGES).astype(np.int32)
    else:
        targets = random.normal(size=(IMAGES, outputs)).astype(np.float32)
    return Material(
        images.astype(np.float32),
        targets,
        {path: value.astype(np.float32) for path, value in parameters.items()},
        _masks(spec, random, (CHECKED,)),
        _masks(spec, random, (STEPS + 1, batch_size(name))),
    )


def _integers(value: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return weights of -1, 0 and 1, and biases that keep a ReLU alive."""
    return random.integers(-1, 2, value.shape) if value.ndim > 1 else np.full(value.shape, 2)


def _masks(spec: Spec, random: np.random.Generator, leading: tuple[int, ...]) -> Arrays:
    masks = {}
    for node in infer(spec).dropouts:
        assert isinstance(node.layer, Dropout)
        kept = random.random((*leading, *node.input_shape)) >= node.layer.rate
        masks[f"mask.{node.path}"] = kept / (1 - node.layer.rate)
    return masks


def batch_size(name: str) -> int:
    return min(BATCH, network(name).training.batch_size)


def topics(ask: Ask, case: Case) -> Iterator[tuple[str, Arrays]]:
    """Ask all there is to ask about a network; `ask` goes to a worker in which it is open."""
    name, given = case.network, material(case.network)
    ask("reset", given.parameters, seed=1)
    yield "activations", ask("activations", {"images": given.images[:CHECKED]})[1]
    given_masks = {"images": given.images[:CHECKED], **given.masks}
    yield "training mode", ask("activations", given_masks, training=True)[1]
    yield "batch", _differentiate(ask, name, {**given.batch, **given.masks})
    if case.precision == "float32":
        return
    if name in GATHERING:
        yield "statistics", _gather(ask, name)
    if name not in TRAINED:
        return
    rest = network(name).training.last_batch == "keep"
    yield "training", _train(ask, name, given.training_masks, rest=rest)
    yield "training again", _train(ask, name, given.training_masks, rest=rest, cut=2)
    if given.masks:
        yield "batch without masks", _differentiate(ask, name, given.batch)
        for topic, seed in (("drawn", 1), ("drawn again", 1), ("drawn otherwise", 2)):
            yield topic, _train(ask, name, {}, seed=seed)


# The topics in which nothing is random, in the order in which a mistake shows.
COMPARED = (
    *("activations", "training mode", "batch", "statistics", "batch without masks"),
    "training",
)


def _differentiate(ask: Ask, name: str, arrays: Arrays) -> Arrays:
    """Return what one batch gives, in the order in which it is computed: backward from the loss."""
    ask("reset", material(name).parameters, seed=1)
    fields, found = ask("gradients", arrays)
    images = found.pop("gradient.images")
    gradients = [key for key in found if key.startswith("gradient.")]
    return {
        "predictions": found["predictions"],
        "logits": found["logits"],
        "loss": np.array(fields["loss"]),
        **{key: found[key] for key in reversed(gradients)},
        "gradient.images": images,
    }


def _gather(ask: Ask, name: str) -> Arrays:
    """Return the running statistics after one step of training: a forward pass in that mode."""
    given, size = material(name), batch_size(name)
    ask("reset", given.parameters, seed=1)
    order = np.arange(size)[None] * 5 % IMAGES
    masks = {key: mask[:1] for key, mask in given.training_masks.items()}
    ask("train", {"order": order, "rates": RATES[:1] * 1e-3, **masks})
    statistics = {statistic.path for statistic in infer(network(name)).statistics}
    return {path: value for path, value in ask("state")[1].items() if path in statistics}


def _train(
    ask: Ask, name: str, masks: Arrays, *, seed: int = 1, cut: int = 1, rest: bool = False
) -> Arrays:
    """Train from the start: `cut` steps in one call, those left in another, then the `rest`.

    That is a batch with fewer rows.
    """
    rates = RATES * network(name).training.optimizer.learning_rate
    size = batch_size(name)
    rows = np.arange(STEPS * size).reshape(STEPS, size) * 5 % IMAGES

    def train(order: np.ndarray, first: int) -> np.ndarray:
        steps = slice(first, first + len(order))
        given = {key: mask[steps, : order.shape[1]] for key, mask in masks.items()}
        return ask("train", {"order": order, "rates": rates[steps], **given})[1]["losses"]

    def state(prefix: str) -> Arrays:
        kept = {**ask("state")[1], **ask("optimizer_state")[1]}
        return {f"{prefix}.{path}": value for path, value in kept.items()}

    ask("reset", material(name).parameters, seed=seed)
    losses = train(rows[:cut], 0)
    first = state("first state") if cut == 1 else {}
    losses = np.append(losses, train(rows[cut:], cut))
    if rest:
        losses = np.append(losses, train(rows[:1, :PARTIAL], STEPS))
    return {**first, "losses": losses, **state("last state")}


def first_flagged(found: Study, reference: Study, precision: Precision) -> str:
    """Return `topic: array` of the first, in order of computation, that differs; "" if none."""
    for topic in COMPARED:
        for key, value in reference.get(topic, {}).items():
            if topic in found and not compare(found[topic], {key: value}, precision).equivalent:
                return f"{topic}: {key}"
    return ""
