"""How a network learns, on a terminal of 80 columns or as JSON: the chain from loss to images."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from harness.check.explain import IMAGES, Element, Explained
from harness.show.formulas import layer_formulas, loss_formulas, update_formulas
from harness.spec import Node, infer

MOST_LAYERS = 14  # that are shown whole; of more, those with elements
MOST_PARAMETERS = 16  # in the list
MOST_FLAT = 8  # that are named
HEAD = f"  {'':23}{'by hand':>13}{'numeric':>13}{'automatic':>13}{'differ by':>14}"


def explained_json(found: Explained) -> dict[str, Any]:
    """Return all that was found, formulas included."""
    network, training = infer(found.spec), found.spec.training
    return {
        "model": found.spec.name,
        "dataset": found.dataset,
        "images": found.images,
        "backend": found.backend,
        "loss": found.loss,
        "automatic_loss": found.automatic_loss,
        "loss_formulas": loss_formulas(training),
        "parameters": [
            {
                "path": p.path,
                "shape": list(p.shape),
                "count": p.size,
                "gradient_norm": found.sizes[p.path],
                "automatic_difference": found.differences[p.path],
                "is_zero": p.path in found.flat,
            }
            for p in network.parameters
        ],
        "layers": [
            {
                "path": node.path,
                "type": node.layer.type,
                "input": list(node.input_shape),
                "output": list(node.output_shape),
                "formulas": layer_formulas(node),
                "elements": [_element(e) for e in found.elements if _is_of(e, node)],
            }
            for node in reversed(found.nodes)
        ],
        "images_elements": [_element(e) for e in found.elements if e.array == IMAGES],
        "update_formulas": update_formulas(training),
        "update": None
        if found.update is None
        else {
            "array": found.update.array,
            "index": list(found.update.index),
            "gradient": found.update.gradient,
            "rate": found.update.rate,
            "before": found.update.before,
            "by_hand": found.update.by_hand,
            "automatic": found.update.automatic,
        },
    }


def _element(element: Element) -> dict[str, Any]:
    return {
        "array": element.array,
        "index": list(element.index),
        "by_hand": element.by_hand,
        "numeric": element.numeric,
        "step": element.step,
        "automatic": element.automatic,
        "numeric_difference": element.numeric_difference,
        "automatic_difference": element.automatic_difference,
    }


def explained_lines(found: Explained) -> list[str]:
    """Return the text, line by line."""
    return [
        *_function(found),
        "",
        *_chain(found),
        "",
        *_step(found),
        "",
        *_summary(found),
    ]


def _function(found: Explained) -> list[str]:
    """Say what the loss is a function of."""
    network = infer(found.spec)
    parameters, most = network.parameters, MOST_PARAMETERS
    shown = parameters if len(parameters) <= most else (*parameters[: most - 1], parameters[-1])
    width = max(9, *(len(p.path) for p in shown))
    lines = [
        f"{found.spec.name}, {found.images} images of {found.dataset}: the loss L is "
        f"{found.loss:.6f}.",
        "",
        f"L is a function of {network.parameter_count:,} parameters; images and targets are given.",
        "",
        f"  {'parameter':{width}}  {'shape':>12}  {'count':>12}  {'|∂L/∂p|':>9}",
    ]
    for p in shown:
        if p is parameters[-1] and len(shown) < len(parameters):
            lines.append(f"  ... {len(parameters) - len(shown)} more")
        shape, size = "x".join(map(str, p.shape)), found.sizes[p.path]
        norm = "0" if p.path in found.flat else f"{size:.2e}"
        lines.append(f"  {p.path:{width}}  {shape:>12}  {p.size:12,}  {norm:>9}")
    return lines


def _chain(found: Explained) -> list[str]:
    """Go back from the loss to the images, layer by layer."""
    lines = [
        "The chain, from the loss back to the images. In each layer x goes in and y comes",
        "out; δ = ∂L/∂y comes from the layer behind it, and ∂L/∂x goes to the one before.",
        "n: image; i, j: pixel; u, v: that of a kernel; c: channel in; o: channel out.",
        "",
        "loss",
        *(f"  {line}" for line in loss_formulas(found.spec.training)),
    ]
    nodes = _shown(found)
    has_elements = bool(found.elements)
    if has_elements:
        lines += ["", HEAD, f"  {'':62}{'numeric':>7}{'auto.':>8}"]
    for node in reversed(nodes):
        sides = "x".join(map(str, node.input_shape)), "x".join(map(str, node.output_shape))
        lines += ["", f"{node.path}: {node.layer.type}, {sides[0]} → {sides[1]}"]
        lines += [f"  {line}" for line in layer_formulas(node)]
        own = [e for e in found.elements if _is_of(e, node)]
        lines += ["" for _ in own[:1]] + _rows(own)
    left = len(found.nodes) - len(nodes)
    if left:
        lines += ["", f"... and {left} more layers. Try: --layer PATH"]
    images = [e for e in found.elements if e.array == IMAGES]
    if images:
        lines += ["", "images: ∂L/∂x of the first layer", "", *_rows(images)]
    return lines


def _shown(found: Explained) -> list[Node]:
    """Return the layers to show: all, or of many those with elements."""
    if len(found.nodes) <= MOST_LAYERS:
        return list(found.nodes)
    return [n for n in found.nodes if any(_is_of(e, n) for e in found.elements)]


def _is_of(element: Element, node: Node) -> bool:
    return element.array in {parameter.path for parameter in node.parameters}


def _rows(elements: Sequence[Element]) -> list[str]:
    """Lay out elements in columns; a long name takes a line of its own."""
    lines = []
    for e in elements:
        name = f"{e.array}[{','.join(map(str, e.index))}]"
        if len(name) > 23:
            lines.append(f"  {name}")
            name = ""
        values = "".join(f"{value:13.5e}" for value in (e.by_hand, e.numeric, e.automatic))
        lines.append(f"  {name:23}{values}{e.numeric_difference:8.0e}{e.automatic_difference:8.0e}")
    return lines


def _step(found: Explained) -> list[str]:
    """Say what the optimizer then does."""
    lines = ["One step of the optimizer, for a parameter p with the gradient g"]
    lines += [f"  {line}" for line in update_formulas(found.spec.training)]
    if found.update is not None:
        u = found.update
        lines += [
            "",
            f"  {u.array}[{','.join(map(str, u.index))}]: g = {u.gradient:.6e}, rate {u.rate:g}",
            f"    before          {u.before:+.12f}",
            f"    after, by hand  {u.by_hand:+.12f}",
            f"    after, {found.backend:8} {u.automatic:+.12f}",
        ]
    return lines


def _summary(found: Explained) -> list[str]:
    """Say how far the three agree."""
    worst = max(found.differences, key=lambda path: found.differences[path])
    lines = [
        "By hand: the NumPy reference, in float64. Numeric: (L(p + h) - L(p - h)) / 2h, h",
        f"from 1e-8 to 1e-4. Automatic: {found.backend}, in float64. The differences are relative",
        "to the value by hand.",
    ]
    if found.elements:
        numeric = max(element.numeric_difference for element in found.elements)
        count = len(found.elements)
        lines.append(f"Of the {count} elements shown, the numeric differ by {numeric:.0e} or less;")
        lines.append(
            f"of all {sum(p.size for p in infer(found.spec).parameters):,}, the automatic by "
            f"{found.differences[worst]:.0e} of their array's largest or less."
        )
    if found.flat:
        more = f", and {len(found.flat) - MOST_FLAT} more" if len(found.flat) > MOST_FLAT else ""
        text = (
            f"Zero, or nothing but rounding, on these images: {', '.join(found.flat[:MOST_FLAT])}"
            f"{more}. A norm behind it takes constants away again, or what it reaches is off."
        )
        lines += ["", *textwrap.wrap(text, 80)]
    return lines
