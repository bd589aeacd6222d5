"""What is asked on each rung, of a worker in which the network is open and its data loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from harness.check.material import Material, Steps
from harness.check.places import Answer, Array, Arrays, Place
from harness.spec import infer

Ask = Callable[..., tuple[dict[str, Any], Arrays]]

RUNGS = ("structure", "forward", "gradients", "update", "trajectory", "evaluation")
# Questions that make up a rung: what the first gives away needs no answer to the second.
PARTS = {"forward": ("outputs", "modes")}


def structure(ask: Ask, material: Material) -> Answer:
    """Give the parameters, and ask for them again; of each layer, ask for its output's shape."""
    ask("reset", material.parameters, seed=0)
    _, state = ask("state")
    _, outputs = ask("activations", {"images": material.checked["images"]})
    shapes = {Place("shape of the output", k): np.array(v.shape) for k, v in outputs.items()}
    return {**_at("parameter", state), **shapes}


def wanted_structure(material: Material) -> Answer:
    """Return what the spec itself says to `structure`."""
    state = {path: material.parameters[path] for path in _paths(material)}
    shapes = {
        Place("shape of the output", node.path): np.array([material.batch, *node.output_shape])
        for node in infer(material.spec).nodes
    }
    return {**_at("parameter", state), **shapes}


def outputs(ask: Ask, material: Material) -> Answer:
    """Ask for every layer's output in evaluation."""
    ask("reset", material.parameters, seed=0)
    _, found = ask("activations", {"images": material.checked["images"]})
    paths = [node.path for node in infer(material.spec).nodes]
    return _at("evaluation", {path: found[path] for path in paths if path in found})


def modes(ask: Ask, material: Material) -> Answer:
    """Ask for the last output as it is predicted, every layer's in training, and the last again.

    That one is of the pass that is differentiated.
    """
    ask("reset", material.parameters, seed=0)
    _, layers = ask("activations", material.checked, training=True)
    _, found = ask("gradients", material.checked)
    paths = [node.path for node in infer(material.spec).nodes]
    return {
        Place("evaluation", "logits"): found["predictions"],
        **_at("training", {path: layers[path] for path in paths if path in layers}),
        Place("training", "logits"): found["logits"],
    }


def gradients(ask: Ask, material: Material) -> Answer:
    """Ask for the loss of one batch and all gradients, from the loss back to the images."""
    ask("reset", material.parameters, seed=0)
    fields, found = ask("gradients", material.checked)
    names = [p.path for p in reversed(infer(material.spec).parameters)]
    known = {name: found[f"gradient.{name}"] for name in names if f"gradient.{name}" in found}
    return {
        Place("training", "loss"): np.array(fields["loss"], np.float64),
        **_at("gradient", known),
        Place("gradient", "images"): found["gradient.images"],
    }


def update(ask: Ask, material: Material) -> Answer:
    """Train two steps, the second at another rate; ask for all that is kept after each."""
    ask("reset", material.parameters, seed=0)
    answer: Answer = {}
    first = material.trajectory[0]
    for step, order in enumerate((first.order[:1], first.order[-1:])):
        rates = first.rates[:1] * (material.second_rate if step else 1.0)
        losses = _train(ask, material, Steps(step, order, rates))
        answer[Place(f"step {step + 1}", "loss")] = losses
        answer |= _state(ask, f"after step {step + 1}", material)
        answer |= _at(f"after step {step + 1}", ask("optimizer_state")[1])
    return answer


def trajectory(ask: Ask, material: Material) -> Answer:
    """Train all steps, and ask for every loss and for all that is left in the end."""
    ask("reset", material.parameters, seed=0)
    answer: Answer = {}
    for steps in material.trajectory:
        for step, loss in enumerate(_train(ask, material, steps), steps.first + 1):
            answer[Place(f"step {step}", "loss")] = np.array(loss)
    return answer | _state(ask, f"after step {material.steps}", material)


def evaluation(ask: Ask, material: Material, trained: Arrays) -> Answer:
    """Predict images that were not trained on, from weights that were trained, the same for all."""
    ask("reset", trained, seed=0)
    fields, found = ask("evaluate", split="test", batch_size=material.batch, logits=True)
    return {
        Place("test set", "logits"): found["logits"],
        Place("test set", "loss"): np.array(fields["loss"], np.float64),
    }


def seeded(ask: Ask, seed: int) -> Ask:
    """Return `ask` with this seed in every reset; a reference that rounds otherwise draws by it."""

    def asked(command: str, *arrays: Any, **fields: Any) -> tuple[dict[str, Any], Arrays]:
        return ask(command, *arrays, **{**fields, **({"seed": seed} if command == "reset" else {})})

    return asked


def _train(ask: Ask, material: Material, steps: Steps) -> Array:
    """Train steps of one batch size in one call, each with masks of its own."""
    count = steps.order.shape[1]
    numbers = range(steps.first, steps.first + len(steps.order))
    masks = [material.masks(step, count) for step in numbers]
    stacked = {name: np.stack([mask[name] for mask in masks]) for name in masks[0]}
    _, found = ask("train", {"order": steps.order, "rates": steps.rates, **stacked})
    return found["losses"]


def _state(ask: Ask, topic: str, material: Material) -> Answer:
    """Return parameters and statistics in the order of the spec's layers."""
    _, state = ask("state")
    return _at(topic, {path: state[path] for path in _paths(material) if path in state})


def _paths(material: Material) -> list[str]:
    """Return the paths of all that is kept, layer by layer."""
    nodes = infer(material.spec).nodes
    return [p.path for node in nodes for p in (*node.parameters, *node.statistics)]


def _at(topic: str, arrays: Mapping[str, Array]) -> Answer:
    return {Place(topic, path): value for path, value in arrays.items()}


def parts_of(rung: str) -> tuple[str, ...]:
    """Return the names of the questions of a rung."""
    return PARTS.get(rung, (rung,))


def asking(part: str, material: Material, trained: Arrays) -> Callable[[Ask], Answer]:
    """Return a question, by its name, for whoever is asked."""
    if part == "evaluation":
        return lambda ask: evaluation(ask, material, trained)
    question: Callable[[Ask, Material], Answer] = globals()[part]
    return lambda ask: question(ask, material)
