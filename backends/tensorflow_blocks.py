"""What blocks are in both of TensorFlow's dialects: the statements that join their branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backends.tensorflow_calls import Call, shape, write_call
from backends.tensorflow_layers import activated
from backends.wording import axes_of
from harness.contract import SourceWriter
from harness.spec import BatchNorm, Block, Dropout, Part
from harness.spec.nodes import leaves
from harness.spec.symbols import Symbol, slots, with_slots

Flow = Callable[[Sequence[Part], str, str], None]  # parts, target, source


def takes_training(part: Part) -> bool:
    """Whether anything in a block is otherwise in training than in evaluation."""
    inner = part.children if isinstance(part, Block) else (part,)
    return any(isinstance(node.layer, BatchNorm | Dropout) for node in leaves(inner))


def write_block(write: SourceWriter, block: Block, flow: Flow, indent: int) -> None:
    """Write what a block does to `x`, and what it returns; `flow` writes parts in a row."""
    match block.kind:
        case "sequence":
            flow(block.children, "x", "x")
            write("return x", indent)
        case "residual":
            body, shortcut = block.branches
            if shortcut:
                flow(shortcut, "shortcut", "x")
            else:
                write("shortcut = x", indent)
            flow(body, "x", "x")
            write(f"return {activated('x + shortcut', block.activation)}", indent)
        case "concat":
            names = [f"branch{n}" if branch else "x" for n, branch in enumerate(block.branches, 1)]
            for name, branch in zip(names, block.branches, strict=True):
                if branch:
                    flow(branch, name, "x")
            write_call(write, Call("return tf.concat", (shape(names), "axis=-1")), indent)
        case "gate":
            flow(block.children, "gate", "x")
            axes = ", tf.newaxis" * axes_of(block)
            write(f"return x * gate{f'[:{axes}, :]' if axes else ''}", indent)


def renamed(block: Block, rename: Callable[[str], str]) -> Block:
    """Return a pattern with other names for its symbols."""
    numbers = (
        Symbol(int(number), rename(number.name)) if isinstance(number, Symbol) else number
        for number in slots(block)
    )
    return with_slots(block, numbers)
