"""Lists of layers as a spec will have them: neighbours that belong together become one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.exchange.graph import HARD_SIGMOID, Array
from harness.spec.blocks import BLOCK_TYPES
from harness.spec.layers import Pads

NORMS = ("batch_norm", "layer_norm", "group_norm")
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
WITH_KERNEL = (*CONVOLUTIONS, "conv2d_transpose", "dense")
NEVER_NEGATIVE = ("relu", "relu6", "sigmoid")
LISTS = ("body", "shortcut", "branches")  # of blocks: the fields that hold layers


@dataclass(eq=False)
class Piece:
    """A layer, or a block with lists of pieces in `branches`; `what` is for messages.

    `fields` are the spec's, but for those lists. `pads` are those of a window, in pixels.
    `arrays` has one entry for each node of the network that the piece will be.
    """

    what: str
    fields: dict[str, Any]
    arrays: list[dict[str, Array]] = field(default_factory=lambda: [{}])
    pads: Pads = ((0, 0), (0, 0))
    branches: list[list[Piece]] = field(default_factory=list)

    @property
    def type(self) -> str:
        """The layer's type, or `bias` or `pad`."""
        return str(self.fields["type"])

    @property
    def problem(self) -> str:
        """Why this cannot stand where it does; nothing if it can."""
        if self.type == "bias":
            return "adds a constant; allowed: behind a convolution, dense layer or norm without one"
        if self.type == "pad":
            return "pads with zeros; allowed: before a convolution, or a max-pool behind a ReLU"
        if self.fields.get("function") == HARD_SIGMOID:
            return "hard sigmoid; allowed: times its own input, which is hard_swish"
        return ""

    def leaves(self) -> Iterator[dict[str, Array]]:
        """The arrays of all nodes, in the network's order."""
        if self.type in ("residual", "concat"):
            for branch in self.branches:
                for piece in branch:
                    yield from piece.leaves()
        else:
            yield from self.arrays

    def as_fields(self) -> dict[str, Any]:
        """Return the fields as a spec's file has them, lists of layers among them."""
        lists: list[tuple[dict[str, Any], ...]] = [listed(branch) for branch in self.branches]
        if self.type == "concat":
            return {**self.fields, "branches": tuple(lists)}
        if self.type == "residual":
            body, shortcut = lists
            return {**self.fields, "body": body, **({"shortcut": shortcut} if shortcut else {})}
        return {key: _brief(value) for key, value in self.fields.items() if value != "valid"}


def listed(pieces: list[Piece]) -> tuple[dict[str, Any], ...]:
    """Return the fields of all, with `repeat` in place of equal blocks behind each other."""
    found: list[dict[str, Any]] = []
    for piece in pieces:
        fields = piece.as_fields()
        last = {k: v for k, v in found[-1].items() if k != "repeat"} if found else {}
        if piece.type in BLOCK_TYPES and last == fields:
            count = found[-1].get("repeat", 1) + 1
            found[-1] = {"type": piece.type, "repeat": count, **fields}
        else:
            found.append(fields)
    return tuple(found)


def _brief(value: Any) -> Any:
    """`(3, 3)` as 3, `((1, 1), (2, 2))` as `(1, 2)`: as an author would write it."""
    if isinstance(value, tuple) and isinstance(value[0], tuple):
        if all(before == after for before, after in value):
            return _brief(tuple(before for before, _ in value))
        return value
    is_one = isinstance(value, tuple) and all(part == value[0] for part in value)
    return value[0] if is_one else value


def append(pieces: list[Piece], piece: Piece) -> None:
    """Put `piece` behind the others, or into the last of them, if that can take it."""
    last = pieces[-1] if pieces else None
    if last is None:
        pieces.append(piece)
    elif piece.type == "activation" and _takes_activation(last, piece.fields["function"]):
        last.fields["activation"] = piece.fields["function"]
    elif piece.type == "bias" and _takes_bias(last):
        role = "offset" if last.type in NORMS else "bias"
        last.fields.pop(role, None)  # the default is true
        last.arrays[0][role] = piece.arrays[0]["bias"]
    elif piece.type == "channel_scale" and _takes_scale(last):
        last.fields.pop("scale", None)
        last.arrays[0]["scale"] = piece.arrays[0]["scale"]
    elif last.type == "pad" and _takes_pads(piece, pieces[-2] if len(pieces) > 1 else None):
        pieces[-1] = _padded(piece, last.pads)
    else:
        pieces.append(piece)


def _takes_activation(last: Piece, function: str) -> bool:
    return (
        last.type in (*WITH_KERNEL, "residual")
        and "activation" not in last.fields
        and function != HARD_SIGMOID
        and (function != "softmax" or last.type != "residual")
    )


def _takes_bias(last: Piece) -> bool:
    if last.type in WITH_KERNEL:
        return last.fields.get("bias") is False and "activation" not in last.fields
    return last.type in NORMS and last.fields.get("offset") is False


def _takes_scale(last: Piece) -> bool:
    return last.type in NORMS and last.fields.get("scale") is last.fields.get("offset") is False


def _takes_pads(piece: Piece, before: Piece | None) -> bool:
    if piece.type == "max_pool" and before is not None:
        end = before.fields.get("activation", before.fields.get("function"))
        return end in NEVER_NEGATIVE  # so that a zero beats nothing, as minus infinity would not
    return piece.type in CONVOLUTIONS


def _padded(piece: Piece, more: Pads) -> Piece:
    """Return the convolution or pool with its own padding and what was padded before it."""
    pads = tuple(
        (own[0] + other[0], own[1] + other[1]) for own, other in zip(piece.pads, more, strict=True)
    )
    return Piece(piece.what, {**piece.fields, "padding": pads}, piece.arrays, pads)


def gate(what: str, branch: list[Piece], channels: int) -> Piece | None:
    """Return what a value times `branch` of itself is; None if that is no layer of the spec."""
    kinds = [piece.type for piece in branch]
    if kinds == ["activation"]:
        function = {"sigmoid": "silu", HARD_SIGMOID: "hard_swish"}.get(branch[0].fields["function"])
        return Piece(what, {"type": "activation", "function": function}) if function else None
    functions = []
    for kind in ("dense", "dense"):  # from the end; each may be followed by what it did not take
        function = "linear"
        if kinds and kinds[-1] == "activation":
            function = branch[len(kinds) - 1].fields["function"]
            kinds.pop()
        if not kinds or kinds.pop() != kind:
            return None
        functions.append(branch[len(kinds)].fields.get("activation", function))
    if kinds != ["global_avg_pool"] or HARD_SIGMOID in functions:
        return None
    reduce, expand = (piece for piece in branch if piece.type == "dense")
    if len(expand.arrays[0]["kernel"][0]) != channels:
        return None
    fields = {"type": "squeeze_excite", "units": reduce.fields["units"]}
    fields |= {"activation": functions[1], "gate": functions[0]}
    arrays = [{}, *(_with_bias(piece.arrays[0]) for piece in (reduce, expand))]
    return Piece(what, fields, arrays)


def _with_bias(arrays: dict[str, Array]) -> dict[str, Array]:
    """A block's dense layers always have a bias; none is the same as zeros."""
    return {"bias": np.zeros(arrays["kernel"].shape[-1], np.float32), **arrays}
