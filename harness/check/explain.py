"""The gradients of one real batch, element by element: by hand, numerically, automatically.

The same questions as on a check's rung of gradients, on real images. A little noise is added to
them and to the weights, as before a run: on plain areas equal values meet in a max-pool's window,
and on the bend of a ReLU; there the loss has no derivative, and the three would be right to differ.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from harness.check.material import Material, make_material
from harness.check.numeric import nearest_slope
from harness.check.places import Answer, Array, Place, zero_gradients
from harness.check.questions import Ask, gradients
from harness.data import Dataset
from harness.data.dataset import build
from harness.errors import UsageError, WorkerError, did_you_mean
from harness.run.agreement import check_batch, check_parameters, relative_difference
from harness.run.arrays import run_arrays, write_arrays
from harness.run.bench import open_bench
from harness.run.cell import Cell, open_cell
from harness.run.folder import ResultsFolder
from harness.run.listener import Listener
from harness.run.plan import Plan, check_images
from harness.run.preparation import start_cells
from harness.run.reference import start_reference
from harness.spec import Node, Spec, infer, initial_parameters

IMAGES = "images"
MOST_ARRAYS = 10  # of which elements are shown, evenly chosen, where no layer is named


@dataclass(frozen=True)
class Element:
    """One element of a gradient; `array` is a parameter's path, or `images`.

    `numeric` is the central difference of the loss with `step`; `automatic` the framework's.
    """

    array: str
    index: tuple[int, ...]
    by_hand: float
    numeric: float
    step: float
    automatic: float

    @property
    def numeric_difference(self) -> float:
        """How far the central difference is off, as part of the derivative by hand."""
        return abs(self.numeric - self.by_hand) / abs(self.by_hand)

    @property
    def automatic_difference(self) -> float:
        """How far the framework's derivative is off, as part of that by hand."""
        return abs(self.automatic - self.by_hand) / abs(self.by_hand)


@dataclass(frozen=True)
class Update:
    """One element of a parameter, before and after one step of the optimizer, in both."""

    array: str
    index: tuple[int, ...]
    gradient: float
    rate: float
    before: float
    by_hand: float
    automatic: float


@dataclass(frozen=True, eq=False)
class Explained:
    """What was found. `sizes` are the gradients' Euclidean norms, `differences` those of whole
    arrays between the framework and the reference, relative to the largest value; by path.

    `flat` are the paths of gradients that are zero but for rounding.
    """

    spec: Spec
    nodes: tuple[Node, ...]
    dataset: str
    images: int
    backend: str
    loss: float
    automatic_loss: float
    elements: tuple[Element, ...]
    sizes: dict[str, float]
    differences: dict[str, float]
    flat: tuple[str, ...] = ()
    update: Update | None = field(default=None)


def choose_nodes(spec: Spec, layer: str | None, model: str) -> tuple[Node, ...]:
    """Return the layer at a path, or all layers of the block there; None: all of the network.

    `model` is what the user called the spec.

    Raises:
        UsageError: there is nothing at that path.

    """
    nodes = infer(spec).nodes
    chosen = [n for n in nodes if layer is None or f"{n.path}.".startswith(f"{layer}.")]
    if not chosen:
        paths = [node.path for node in nodes]
        shown = ", ".join(paths[:12]) + (", ..." if len(paths) > 12 else "")
        raise UsageError(
            f"--layer {layer!r}: {spec.name!r} has: {shown}.{did_you_mean(str(layer), paths)} "
            f"Try: python -m harness models {model}"
        )
    return tuple(chosen)


def real_material(spec: Spec, dataset: Dataset, seed: int) -> Material:
    """Return a check's material, with real images and initial weights, and a little noise on both.

    Raises:
        UsageError: the images do not fit the model.

    """
    outputs = infer(spec).output_shape[0]
    check_images(spec, outputs, dataset)
    made = make_material(spec, 2)
    arrays = run_arrays(spec, outputs, dataset)
    rows = np.sort(np.random.default_rng([seed, 0]).permutation(len(dataset.train_images)))
    rows = rows[: made.batch]
    chosen = check_batch(
        spec, np.array(arrays["train_images"][rows]), np.array(arrays["train_targets"][rows])
    )
    batch = (chosen["images"], chosen["targets"])
    return replace(
        made,
        batch=len(rows),
        parameters=check_parameters(initial_parameters(spec, seed)),
        dataset=build("explain", batch, batch, dataset.classes),
    )


def explain(
    plan: Plan,
    material: Material,
    nodes: Sequence[Node],
    each: int,
    listener: Listener,
) -> Explained:
    """Differentiate one batch in all three ways; `each` is how many elements of an array to show.

    Raises:
        WorkerError: the reference or the backend failed; the message names its log, which is kept.
        Interrupted: by Ctrl-C.

    """
    kept = Path(tempfile.mkdtemp(prefix="harness-explain-"))
    folder, dataset = ResultsFolder(kept), material.dataset
    shared = (plan, dataset, folder, listener)
    with closing(folder), open_bench(*shared, interrupted="interrupted") as bench:
        arrays = {"train_images": dataset.train_images, "train_targets": dataset.train_labels}
        write_arrays(bench.scratch, arrays)
        reference = start_reference(bench, "reference")
        start_cells(bench)
        for cell in (reference, *bench.cells):
            if not cell.running:
                raise WorkerError(cell.outcome[1], cell.outcome[0])
            listener.phase(cell.label, "build")
            open_cell(cell, folder, bench.scratch)
        found = _explain(plan, material, nodes, each, reference, bench.cells[0], listener)
    shutil.rmtree(kept, ignore_errors=True)
    return found


def _explain(
    plan: Plan,
    material: Material,
    nodes: Sequence[Node],
    each: int,
    reference: Cell,
    backend: Cell,
    listener: Listener,
) -> Explained:
    listener.phase("numpy", "gradients by hand")
    by_hand = gradients(reference.ask, material)
    listener.phase(backend.label, "gradients")
    automatic = gradients(backend.ask, material)
    zeros = {place.path for place in zero_gradients(by_hand)}
    places = [
        place
        for place in _places(by_hand, nodes, infer(plan.spec).nodes[0])
        if place.path not in zeros
    ]
    elements = []
    for place in places:
        listener.phase("numpy", f"central differences of {place.path}")
        for index in _indices(by_hand[place], each):
            elements.append(_element(reference.ask, material, place, index, by_hand, automatic))
    kernels = {e.array: e for e in reversed(elements) if e.array.endswith(".kernel")}
    stepped = next(iter(kernels.values()), None)  # the largest of the first kernel's
    loss = Place("training", "loss")
    of = {place.path: value for place, value in by_hand.items() if place.topic == "gradient"}
    return Explained(
        plan.spec,
        tuple(nodes),
        plan.dataset,
        material.batch,
        backend.info.label,
        float(by_hand[loss]),
        float(automatic[loss]),
        tuple(elements),
        {path: float(np.linalg.norm(value.ravel())) for path, value in of.items()},
        {
            path: relative_difference(automatic[Place("gradient", path)], value)
            for path, value in of.items()
        },
        tuple(path for path in of if path in zeros),
        None if stepped is None else _update(material, stepped, reference.ask, backend.ask),
    )


def _places(by_hand: Answer, nodes: Sequence[Node], first: Node) -> list[Place]:
    """Return the gradients of which elements are shown, from the loss back to the images."""
    paths = {parameter.path for node in nodes for parameter in node.parameters}
    if nodes[0].path == first.path:
        paths.add(IMAGES)
    found = [p for p in by_hand if p.topic == "gradient" and p.path in paths]
    count = min(MOST_ARRAYS, len(found))
    return [found[n] for n in sorted({round(n) for n in np.linspace(0, len(found) - 1, count)})]


def _indices(gradient: Array, each: int) -> list[tuple[int, ...]]:
    """Return where the largest value lies, and others down to the middle of those not zero."""
    size = np.abs(gradient).ravel()
    order = np.argsort(size, kind="stable")
    order = order[size[order] > size.max() * 1e-6]
    ranks = np.linspace(len(order) - 1, (len(order) - 1) // 2, min(each, len(order)))
    chosen = dict.fromkeys(int(order[round(rank)]) for rank in ranks)
    return [tuple(map(int, np.unravel_index(one, gradient.shape))) for one in chosen]


def _element(
    ask: Ask,
    material: Material,
    place: Place,
    index: tuple[int, ...],
    by_hand: Answer,
    automatic: Answer,
) -> Element:
    right = float(by_hand[place][index])
    direction = np.zeros(by_hand[place].shape)
    direction[index] = 1.0
    slope, step = nearest_slope(ask, material, place, direction, right, abs(right))
    return Element(place.path, index, right, slope, step, float(automatic[place][index]))


def _update(material: Material, element: Element, reference: Ask, backend: Ask) -> Update:
    """Have both train one step on the batch, from the same weights."""
    rate = float(material.spec.training.learning_rates(100)[0])
    masks = {name: mask[np.newaxis] for name, mask in material.masks(-1, material.batch).items()}
    batch = {"order": np.arange(material.batch)[np.newaxis], "rates": np.array([rate]), **masks}
    after = []
    for ask in (reference, backend):
        ask("reset", material.parameters, seed=0)
        ask("train", batch)
        after.append(float(ask("state")[1][element.array][element.index]))
    before = float(material.parameters[element.array][element.index])
    return Update(element.array, element.index, element.by_hand, rate, before, *after)
