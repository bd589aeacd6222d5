"""From a spec to a network: shapes, parameters and FLOPs, inferred without any framework."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import lru_cache

from harness.errors import SpecError
from harness.spec.blocks import (
    AnyBlock,
    AnyLayer,
    BlockBase,
    Concat,
    Residual,
    Sequence,
    SqueezeExcite,
)
from harness.spec.initializers import constant_of
from harness.spec.layers import Activation, Dense, GlobalAvgPool, activation_of
from harness.spec.model import Spec
from harness.spec.nodes import Block, Network, Node, Part, Shape
from harness.spec.placing import place

MAX_VALUES = 10**10  # of one image in one place
MAX_PARAMETERS = 10**10  # 40 GB of float32: beyond this a spec is a slip of the keyboard


class _MisplacedError(ValueError):
    """A layer that cannot be where it is; `where` is its place in the file, and its path."""

    def __init__(self, where: str, problem: object) -> None:
        super().__init__(f"{where}: {problem}")


class _Inference:
    """One walk through the layers of a spec; counts parameters as it goes."""

    def __init__(self, folded: str, initial: Mapping[str, float | None]) -> None:
        self.folded = folded  # path of the layer whose activation is in the loss
        self.initial = initial  # what kernels and biases begin at, by role
        self.parameters = 0

    def branch(
        self, layers: tuple[AnyLayer, ...], shape: Shape, field: str, path: str = "", name: str = ""
    ) -> tuple[Part, ...]:
        """Place layers one after the other; `path` and `name` are what theirs begin with."""
        parts: list[Part] = []
        for index, layer in enumerate(layers):
            for part in self._parts(layer, shape, f"{field}[{index}]", path, name, len(parts)):
                parts.append(part)
                shape = part.output_shape
                if math.prod(shape) > MAX_VALUES:
                    raise _MisplacedError(
                        f"{field}[{index}] {part.path!r}",
                        f"its output for one image has more than {MAX_VALUES:.0e} values; make it "
                        "smaller",
                    )
        return tuple(parts)

    def _parts(
        self, layer: AnyLayer, shape: Shape, field: str, path: str, name: str, position: int
    ) -> Iterator[Part]:
        """Yield what one layer of the file becomes: more than one part where it is repeated."""
        if not isinstance(layer, BlockBase):
            path, name = path + layer.name, name + layer.name
            yield self._node(layer, shape, field, path, name)
        elif not layer.name:  # in a list of nothing but blocks, which are numbered
            for number in range(position, position + layer.repeat):
                block = self._block(layer, shape, field, f"{path}{number}", f"{name}{number}")
                shape = block.output_shape
                yield block
        elif layer.repeat == 1:
            yield self._block(layer, shape, field, path + layer.name, name + layer.name)
        else:
            path, name, first = path + layer.name, name + layer.name, shape
            copies: list[Part] = []
            for number in range(layer.repeat):
                copies.append(self._block(layer, shape, field, f"{path}.{number}", str(number)))
                shape = copies[-1].output_shape
            yield Block(layer, "sequence", (tuple(copies),), first, shape, path=path, name=name)

    def _node(self, layer: AnyLayer, shape: Shape, field: str, path: str, name: str) -> Node:
        assert not isinstance(layer, BlockBase)
        where = f"{field} {path!r}"
        activation: Activation = "linear" if path == self.folded else activation_of(layer)
        try:
            node = place(layer, shape, activation, path, name, self.initial)
        except ValueError as error:
            raise _MisplacedError(where, error) from None
        self.parameters += sum(p.size for p in node.parameters)
        if self.parameters > MAX_PARAMETERS:
            problem = f"more than {MAX_PARAMETERS:.0e} parameters by this layer; make it smaller"
            raise _MisplacedError(where, problem)
        return node

    def _block(self, layer: AnyBlock, shape: Shape, field: str, path: str, name: str) -> Block:
        match layer:
            case Sequence():
                body = self.branch(layer.layers, shape, f"{field}.layers", f"{path}.")
                output = body[-1].output_shape
                return Block(layer, "sequence", (body,), shape, output, path=path, name=name)
            case Residual():
                return self._residual(layer, shape, field, path, name)
            case Concat():
                return self._concat(layer, shape, field, path, name)
            case SqueezeExcite():
                return self._gate(layer, shape, field, path, name)

    def _residual(self, layer: Residual, shape: Shape, field: str, path: str, name: str) -> Block:
        body = self.branch(layer.body, shape, f"{field}.body", f"{path}.")
        shortcut = self.branch(
            layer.shortcut, shape, f"{field}.shortcut", f"{path}.shortcut.", "shortcut_"
        )
        output, added = body[-1].output_shape, (shortcut[-1].output_shape if shortcut else shape)
        if output != added:
            hint = "give them the same shape" if shortcut else 'add a "shortcut" of its own layers'
            raise _MisplacedError(
                f"{field} {path!r}",
                f"its body ends in {output}, its shortcut in {added}; {hint}",
            )
        branches = (body, shortcut)
        return Block(layer, "residual", branches, shape, output, layer.activation, path, name)

    def _concat(self, layer: Concat, shape: Shape, field: str, path: str, name: str) -> Block:
        branches, ends = [], []
        for index, branch in enumerate(layer.branches):
            label = f"branch{index + 1}"
            place = f"{field}.branches[{index}]"
            parts = self.branch(branch, shape, place, f"{path}.{label}.", f"{label}_")
            branches.append(parts)
            ends.append(parts[-1].output_shape if parts else shape)
        if len({end[:-1] for end in ends}) > 1:
            raise _MisplacedError(
                f"{field} {path!r}",
                f"its branches end in {', '.join(map(str, ends))}; all but the channels must agree",
            )
        output = (*ends[0][:-1], sum(end[-1] for end in ends))
        return Block(layer, "concat", tuple(branches), shape, output, path=path, name=name)

    def _gate(self, layer: SqueezeExcite, shape: Shape, field: str, path: str, name: str) -> Block:
        body = (
            GlobalAvgPool(name="pool"),
            Dense(name="reduce", units=layer.units, activation=layer.activation),
            Dense(name="expand", units=shape[-1], activation=layer.gate),
        )
        parts = self.branch(body, shape, f"{field}.", f"{path}.")
        return Block(layer, "gate", (parts,), shape, shape, path=path, name=name)


@lru_cache(maxsize=64)
def infer(spec: Spec) -> Network:
    """Return the network that `spec` describes.

    Raises:
        SpecError: a layer cannot take its input's shape, the output is not flat, or there are
            more than 10^10 parameters, or values of one image, as it is or after a layer; the
            message names it.

    """
    folded = spec.layers[-1].name if spec.folds_activation else ""
    initial = {
        "kernel": constant_of(spec.initializer),
        "bias": constant_of(spec.bias_initializer) or None,  # zero is what a bias begins at anyway
    }
    if math.prod(spec.input) > MAX_VALUES:
        problem = f"input: one image has more than {MAX_VALUES:.0e} values; make it smaller"
        raise SpecError(spec.name, [problem])
    try:
        parts = _Inference(folded, initial).branch(spec.layers, spec.input, "layers")
    except _MisplacedError as error:
        raise SpecError(spec.name, [str(error)]) from None
    shape = parts[-1].output_shape
    if len(shape) != 1:
        problem = f'layers: the last output is {shape}, not flat; add a "flatten" and a "dense"'
        raise SpecError(spec.name, [problem])
    return Network(spec.input, parts)
