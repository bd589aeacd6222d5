"""Mistakes that can be given to the reference: the same material with one thing changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from harness.check.material import Material
from harness.check.places import Place
from harness.spec import (
    Activation,
    ActivationLayer,
    Adam,
    AdamW,
    AvgPool,
    BatchNorm,
    Conv,
    Conv2DTranspose,
    Dense,
    Dropout,
    GroupNorm,
    LayerNorm,
    MaxPool,
    Node,
    RmsProp,
    Sgd,
    infer,
)

EPSILONS = (1e-3, 1e-5, 1e-7, 1e-8, 1e-6, 1e-12)
DECAYS = (0.9, 0.99, 0.999, 0.1, 0.95)
Changes = Iterator[tuple[str, dict[str, Any]]]


@dataclass(frozen=True, eq=False)
class Variant:
    """Material with a mistake in it, and what the mistake is called."""

    text: str
    material: Material


def variants(material: Material, place: Place, node: Node | None) -> Iterator[Variant]:
    """Yield the mistakes that could show in `place`, the most common ones first."""
    if place.topic in ("evaluation", "test set") and node is not None:
        yield from _of_parameters(material, node)
        for text, changes in _of_layer(node):
            yield Variant(text, _with_layer(material, node, changes))
    if place.topic == "training" and place.path != "loss":
        yield from _in_training(material)
    if place.topic.startswith("after") and node is not None and isinstance(node.layer, BatchNorm):
        for text, changes in _decays(node.layer):
            yield Variant(text, _with_layer(material, node, changes))
    if place == Place("training", "loss") or place.topic == "gradient":
        yield from _of_loss(material)
    if place.topic.startswith(("after", "step")):
        yield from _of_optimizer(material)


def _of_parameters(material: Material, node: Node) -> Iterator[Variant]:
    """The layer with its kernel turned over, or without its bias."""
    kernel, bias = f"{node.path}.kernel", f"{node.path}.bias"
    given = material.parameters
    if bias in given:
        changed = {**given, bias: np.zeros_like(given[bias])}
        yield Variant("as without its bias", replace(material, parameters=changed))
    if kernel in given and isinstance(node.layer, Conv | Conv2DTranspose):
        axes = tuple(range(given[kernel].ndim - 2))
        changed = {**given, kernel: np.flip(given[kernel], axes).copy()}
        yield Variant("as with the kernel turned over", replace(material, parameters=changed))
    if kernel in given and given[kernel].shape[-1] == given[kernel].shape[-2]:
        changed = {**given, kernel: given[kernel].swapaxes(-1, -2).copy()}
        text = "as with the kernel's inputs and outputs exchanged"
        yield Variant(text, replace(material, parameters=changed))


def _of_layer(node: Node) -> Changes:
    layer = node.layer
    match layer:
        case Conv() | Conv2DTranspose() | Dense():
            yield from _activations("activation", layer.activation)
        case ActivationLayer():
            yield from _activations("function", layer.function)
        case BatchNorm() | LayerNorm() | GroupNorm():
            yield from _epsilons(layer.epsilon)
        case _:
            pass
    if isinstance(layer, Conv) and layer.padding == "same" and max(layer.dilation) > 1:
        yield "as without its dilation", {"dilation": (1,) * len(layer.dilation)}
    if isinstance(layer, Conv | Conv2DTranspose | MaxPool | AvgPool):
        yield from _paddings(node)


def _activations(field: str, right: str) -> Changes:
    for name in get_args(Activation):
        if name != right:
            text = "as without its activation" if name == "linear" else f"as with {name}"
            yield text, {field: name}


def _epsilons(right: float) -> Changes:
    for value in EPSILONS:
        if value != right:
            yield f"as with epsilon {value:g} instead of {right:g}", {"epsilon": value}


def _decays(layer: BatchNorm) -> Changes:
    for value in (1 - layer.decay, *DECAYS):
        if value != layer.decay:
            yield f"as with decay {value:.6g} instead of {layer.decay:g}", {"decay": value}


def _paddings(node: Node) -> Changes:
    turned = tuple((after, before) for before, after in node.pads)
    if turned != node.pads:
        text = f"as with padding {turned} instead of {node.pads}: the larger half on the other side"
        yield text, {"padding": turned}
    for by in (1, -1):
        pads = tuple((before + by, after - by) for before, after in node.pads)
        if all(min(pair) >= 0 for pair in pads) and pads != turned:
            yield f"as with padding {pads} instead of {node.pads}", {"padding": pads}


def _with_layer(material: Material, node: Node, changes: dict[str, Any]) -> Material:
    """Change the layer of `node`, and those that are equal, as in copies of its block."""

    def walk(part: Any) -> Any:
        if part == node.layer:
            return part.model_copy(update=changes)
        if isinstance(part, tuple):
            return tuple(walk(item) for item in part)
        fields = {
            name: getattr(part, name)
            for name in ("layers", "body", "shortcut", "branches")
            if isinstance(getattr(part, name, None), tuple)
        }
        if not fields:
            return part
        return part.model_copy(update={name: walk(value) for name, value in fields.items()})

    spec = material.spec
    return replace(material, spec=spec.model_copy(update={"layers": walk(spec.layers)}))


def _in_training(material: Material) -> Iterator[Variant]:
    """What only training does: dropout, and the batch's own statistics."""
    nodes = infer(material.spec).nodes
    if any(isinstance(node.layer, Dropout) for node in nodes):
        text = "as with a dropout that does not divide by the share that is kept"
        yield Variant(text, replace(material, masking="not scaled"))
        yield Variant("as without dropout", replace(material, masking="none"))


def _of_loss(material: Material) -> Iterator[Variant]:
    training = material.spec.training
    if training.label_smoothing:
        yield Variant("as without label smoothing", _with_training(material, label_smoothing=0.0))
    elif training.loss == "cross_entropy":
        smoothed = _with_training(material, label_smoothing=0.1)
        yield Variant("as with label smoothing 0.1", smoothed)
    if training.loss in ("mean_squared_error", "huber"):
        other = "huber" if training.loss == "mean_squared_error" else "mean_squared_error"
        yield Variant(f"as with {other}", _with_training(material, loss=other))


def _of_optimizer(material: Material) -> Iterator[Variant]:
    training = material.spec.training
    optimizer = training.optimizer
    for text, changes in _optimizers(optimizer):
        changed = optimizer.model_copy(update=changes)
        yield Variant(text, _with_training(material, optimizer=changed))
    if training.clip_norm is not None:
        yield Variant("as without clipping", _with_training(material, clip_norm=None))
    text = "as with the first step's learning rate in the second, too"
    yield Variant(text, replace(material, second_rate=1.0))


def _optimizers(optimizer: Sgd | Adam | AdamW | RmsProp) -> Changes:
    match optimizer:
        case Sgd():
            if optimizer.momentum:
                turned = not optimizer.nesterov
                yield f"as {'with' if turned else 'without'} Nesterov", {"nesterov": turned}
            for value in (0.0, 0.9, 0.99):
                if value != optimizer.momentum:
                    yield f"as with momentum {value:g}", {"momentum": value, "nesterov": False}
            yield from _penalties("l2", optimizer.l2, optimizer.decay_all)
        case Adam() | AdamW():
            hat = optimizer.epsilon / (1 - optimizer.beta2) ** 0.5
            yield (
                "as with epsilon added before the bias correction (Keras's and TensorFlow's own)",
                {"epsilon": hat},
            )
            yield from _epsilons(optimizer.epsilon)
            for field in ("beta1", "beta2"):
                for value in DECAYS:
                    if value != getattr(optimizer, field):
                        yield f"as with {field} {value:g}", {field: value}
            if isinstance(optimizer, AdamW):
                yield from _penalties("weight_decay", optimizer.weight_decay, optimizer.decay_all)
        case RmsProp():
            yield from _epsilons(optimizer.epsilon)
            for value in DECAYS:
                if value != optimizer.decay:
                    yield f"as with decay {value:g}", {"decay": value}
            if optimizer.momentum:
                yield "as without momentum", {"momentum": 0.0}


def _penalties(field: str, value: float, decay_all: bool) -> Changes:
    if value:
        other = "kernels only" if decay_all else "all parameters, biases and scales too"
        yield f"as with {field} on {other}", {"decay_all": not decay_all}
        yield f"as without {field}", {field: 0.0}
        yield (
            f"as with twice the {field}, the gradient of {field} times the square",
            {field: 2 * value},
        )
        yield f"as with half the {field}", {field: value / 2}


def _with_training(material: Material, **changes: Any) -> Material:
    """Change the training; loss, schedule and optimizer are those of `changes`."""
    spec = material.spec
    training = spec.training.model_copy(update=changes)
    return replace(material, spec=spec.model_copy(update={"training": training}))
