"""Blocks of one structure, told from one another by numbers only: one class in generated source.

A person who writes a ResNet writes one class and gives it numbers: `BasicBlock(16, 32, stride=2)`.
So that a backend can do so too, blocks are grouped into families. Of each it gets a *pattern*: a
block in which every number that is not the same in all members is a `Symbol`, an integer that is
printed as its name. What writes a block of numbers writes a class of names, unchanged.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from typing import Any

from harness.spec.nodes import Block, Network
from harness.spec.symbols import Number, Symbol, hints, slots, structure, with_slots


@dataclass(frozen=True)
class Family:
    """Blocks that become one class of generated source.

    `pattern` is a member with symbols in the place of numbers that differ among `members`. It
    has no path: names in it begin at the class. `symbols` are in the order in which a person
    would list them: channels first.
    """

    name: str
    pattern: Block
    members: tuple[Block, ...]
    symbols: tuple[tuple[Symbol, int], ...]  # each with the slot that it stands for

    def arguments(self, block: Block, source: str) -> dict[str, Number]:
        """Return what the class's constructor is given to make `block`, by argument.

        Args:
            block: a member, or what has taken its place in another family's pattern.
            source: the text of the class; arguments that it does not name are left out.

        """
        numbers = slots(block)
        words = set(re.findall(r"\w+", source))
        return {symbol.name: numbers[slot] for symbol, slot in self.symbols if symbol.name in words}


@dataclass(frozen=True)
class Families:
    """The families of a network, inner ones first, and which of them a block belongs to."""

    all: tuple[Family, ...]
    by_structure: dict[Any, Family]

    def of(self, block: Block) -> Family:
        """Return the family of a block of the network, or of one in a pattern."""
        return self.by_structure[structure(block)]


CLASSES = {"sequence": "Block", "residual": "Residual", "concat": "Concat", "gate": "SqueezeExcite"}


# Classes that generated sources have anyway.
RESERVED_CLASSES = (
    *("AvgPool", "BatchNorm", "DepthwiseConv", "LayerNorm", "Linear", "Model", "TrainState"),
    *(f"LayerNorm{axes}d" for axes in (1, 2, 3)),
    *("Adam", "AdamW", "GroupNorm", "Momentum"),
)


def families(network: Network) -> Families:
    """Group the blocks of `network`, but for stages, which are lists of blocks.

    Two families that would have one name are told apart by a number.
    """
    members: dict[Any, list[Block]] = {}
    for block in network.blocks:
        if not block.is_stage:
            members.setdefault(structure(block), []).append(block)
    taken = set(RESERVED_CLASSES)
    found = {}
    for key, blocks in members.items():
        name = base = _class_name(blocks[0])
        number = 2
        while name in taken:
            name, number = f"{base}{number}", number + 1
        taken.add(name)
        found[key] = _family(name, tuple(blocks))
    return Families(tuple(found.values()), found)


def _class_name(block: Block) -> str:
    given = block.layer.family
    return "".join(map(str.capitalize, given.split("_"))) if given else CLASSES[block.kind]


def _family(name: str, members: tuple[Block, ...]) -> Family:
    """Make one argument of all slots whose numbers go together in every member."""
    columns = list(zip(*map(slots, members), strict=True))
    words = hints(members[0])
    varying: dict[tuple[int, ...], list[int]] = {}
    for slot, column in enumerate(columns):
        if len(set(column)) > 1:
            varying.setdefault(column, []).append(slot)
    used: set[str] = set()
    chosen: dict[tuple[int, ...], Symbol] = {}
    order: list[tuple[int, int, Symbol]] = []
    for column, places in varying.items():
        slot = min(places, key=lambda place: _PRIORITY.get(words[place], len(_PRIORITY)))
        symbol = Symbol(column[0], _argument(words, varying, slot, used))
        used.add(symbol.name)
        chosen[column] = symbol
        order.append((_rank(symbol.name), slot, symbol))
    listed = tuple((symbol, slot) for _, slot, symbol in sorted(order, key=lambda o: o[:2]))
    numbers = iter([chosen.get(column, column[0]) for column in columns])
    return Family(name, with_slots(replace(members[0], path=""), numbers), members, listed)


# Which slot names an argument, where several go together.
_PRIORITY = {"in_channels": 0, "out_channels": 1}


def _rank(name: str) -> int:
    """Order arguments as a person would: channels from the first to the last, then the rest."""
    if name in ("in_channels", "channels"):
        return 0
    if name.endswith("channels"):
        return 2 if name == "out_channels" else 1
    return 3


def _argument(
    words: list[str], varying: dict[tuple[int, ...], list[int]], slot: int, used: set[str]
) -> str:
    """Return the shortest name that says which number is meant.

    `stride` if all strides that differ among the members are the same number, else with the
    layer's name before it.
    """
    word = words[slot]
    ends = [
        {column for column, places in varying.items() if any(words[p] == end for p in places)}
        for end in _PRIORITY
    ]
    field = word.rpartition("_")[2]
    # The arguments that a field is the name of, where it is neither the block's input nor output.
    rivals = {
        column
        for column, places in varying.items()
        if column not in ends[0] | ends[1]
        and any(words[p].rpartition("_")[2] == field for p in places)
    }
    short = word
    if word in _PRIORITY:
        short = "channels" if ends[0] == ends[1] else word
    elif field == "filters" and len(rivals) == 1:
        short = "hidden_channels"
    elif field in ("stride", "kernel", "groups", "dilation", "padding") and len(rivals) == 1:
        short = field
    else:
        short = word.replace("_reduce_units", "_units")  # of a squeeze_excite
    name, number = short, 2
    while name in used:
        name, number = f"{short}{number}", number + 1
    return name


@dataclass(frozen=True)
class Run:
    """Blocks in a row of one family whose arguments are equal, or grow by the same amounts.

    `arguments` are the first's; `growth` has what each adds from one block to the next, for
    those that grow.
    """

    family: Family
    blocks: tuple[Block, ...]
    arguments: dict[str, Number]
    growth: dict[str, int]


MIN_GROWING = 3  # below that, writing the blocks out is easier to read


def stage_items(stage: Block, all_families: Families, sources: dict[str, str]) -> list[Run | Block]:
    """Split a stage into runs, each of which source can make in a loop, and stages within it.

    Args:
        stage: a block that `is_stage`.
        all_families: those of the network.
        sources: the text of each family's class, by the family's name.

    """
    items: list[Run | Block] = []
    left = [child for child in stage.children if isinstance(child, Block)]
    while left:
        if left[0].is_stage:
            items.append(left.pop(0))
            continue
        family = all_families.of(left[0])
        text = sources[family.name]
        keys = [None if child.is_stage else all_families.of(child).name for child in left]
        alike = left[: next((i for i, key in enumerate(keys) if key != family.name), len(left))]
        arguments = [family.arguments(block, text) for block in alike]
        length, growth = _length(arguments, {}), _growth(arguments)
        growing = _length(arguments, growth) if growth and length == 1 else 0
        if growing >= MIN_GROWING:
            length = growing
        else:
            growth = {}
        items.append(Run(family, tuple(left[:length]), arguments[0], growth))
        left = left[length:]
    return items


def _growth(arguments: list[dict[str, Number]]) -> dict[str, int]:
    """Return by how much the second block's arguments are above the first's."""
    if len(arguments) < 2 or any(isinstance(v, Symbol) for a in arguments for v in a.values()):
        return {}
    first, second = arguments[:2]
    return {name: second[name] - first[name] for name in first if second[name] != first[name]}


def _length(arguments: list[dict[str, Number]], growth: dict[str, int]) -> int:
    """Return how many blocks, from the first, follow the same growth."""
    length = 1
    for before, after in itertools.pairwise(arguments):
        expected = {
            name: value + growth[name] if name in growth else value
            for name, value in before.items()
        }
        if after != expected:
            break
        length += 1
    return length
