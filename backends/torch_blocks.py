"""The classes of a PyTorch model: one for each family of blocks, and the model itself."""

from __future__ import annotations

from collections.abc import Sequence

from backends.torch_initializers import write_initializer
from backends.torch_layers import (
    WIDTH,
    activation,
    write_call,
    write_constructor,
    write_forward,
    write_own_layers,
)
from backends.wording import DOCSTRINGS, axes_of, loop_of, numbers_of, spelled
from harness.contract import SourceWriter
from harness.spec import (
    Block,
    Family,
    GroupNorm,
    Network,
    Node,
    Part,
    Run,
    Spec,
    families,
    stage_items,
)
from harness.spec.nodes import leaves

INPUTS = {1: "signals", 2: "images", 3: "volumes"}


def write_model(write: SourceWriter, spec: Spec, network: Network, mixed: bool) -> None:
    """Write the classes: own layers, where torch's are otherwise, blocks, and the model."""
    write_own_layers(write, network, mixed)
    has_kernels = write_initializer(write, spec, network)
    classes = _Classes(network, mixed)
    for text in classes.texts.values():
        write(text + "\n\n")
    *sides, channels = spec.input
    shape = ", ".join(map(str, (channels, *sides)))
    write("class Model(nn.Module):")
    outputs = network.output_shape[0]
    write(f'"""From {INPUTS[len(sides)]} [n, {shape}] to logits [n, {outputs}]."""\n', 1)
    write("def __init__(self):", 1)
    write("super().__init__()", 2)
    classes.write_constructors(write, network.parts)
    if has_kernels:
        write("self.apply(initialize)", 2)
    write()
    write("def forward(self, x):", 1)
    if len(sides) > 1 and _normalises_images(network.parts):
        write("# In channels-last memory, a group norm of what needs no gradient crashes.", 2)
        # `contiguous` would do nothing to one channel, whose memory is in both formats at once.
        write("x = x.clone(memory_format=torch.contiguous_format)", 2)
    if mixed:
        write("x = x.bfloat16()", 2)
    _write_flow(write, network.parts, "x", "x", mixed)
    write(f"return x{'.float()' if mixed else ''}\n\n", 2)


def _normalises_images(parts: Sequence[Part], has_gradient: bool = False) -> bool:
    """Whether a group norm with parameters comes before any other layer with some.

    In training its input has no gradient then. The backward pass of torch 2.13 on the CPU writes
    one all the same, to where nothing is, if the input is in channels-last memory.
    """
    for part in parts:
        if isinstance(part, Block):
            if any(_normalises_images(branch, has_gradient) for branch in part.branches):
                return True
            has_gradient |= any(node.parameters for node in leaves((part,)))
        else:
            if isinstance(part.layer, GroupNorm) and part.parameters and not has_gradient:
                return True
            has_gradient |= bool(part.parameters)
    return False


class _Classes:
    """The texts of the families' classes, by name, each after those that it uses."""

    def __init__(self, network: Network, mixed: bool) -> None:
        self.families, self.mixed = families(network), mixed
        self.texts: dict[str, str] = {}
        self.bodies: dict[str, str] = {}  # without docstrings, whose words are no arguments
        for family in self.families.all:
            self.texts[family.name] = self._class(family)

    def _class(self, family: Family) -> str:
        block, body = family.pattern, SourceWriter()
        self.write_constructors(body, block.children)
        body("\ndef forward(self, x):", 1)
        _write_block(body, block, self.mixed)
        text = self.bodies[family.name] = body.text().rstrip("\n")
        write = SourceWriter()
        write(f"class {family.name}(nn.Module):")
        write(f'"""{DOCSTRINGS[block.kind]}"""\n', 1)
        write_call(write, "def __init__", ["self", *family.arguments(block, text)], 1, end=":")
        write("super().__init__()", 2)
        write(text)
        return write.text().rstrip("\n")

    def write_constructors(self, write: SourceWriter, parts: Sequence[Part]) -> None:
        """Write the lines of `__init__` that make the parts."""
        for part in parts:
            if isinstance(part, Node):
                write_constructor(write, part, self.mixed)
            elif part.is_stage:
                lines = self._stage(part, 2)
                write(f"self.{part.name} = {lines[0]}", 2)
                for line in lines[1:]:
                    write(line, 2)
            else:
                family = self.families.of(part)
                arguments = spelled(family.arguments(part, self.bodies[family.name]))
                write_call(write, f"self.{part.name} = {family.name}", arguments, 2)

    def _stage(self, stage: Block, depth: int) -> list[str]:
        """Return the lines of an nn.Sequential of blocks, with loops where they repeat.

        They are for a place that is indented `depth` times.
        """
        items = [
            self._run(item, depth + 1) if isinstance(item, Run) else self._stage(item, depth + 1)
            for item in stage_items(stage, self.families, self.bodies)
        ]
        if len(items) == 1 and len(items[0]) == 1 and len(items[0][0]) + 40 < WIDTH:
            return [f"nn.Sequential({items[0][0]})"]
        lines = ["nn.Sequential("]
        for item in items:
            lines += [f"    {line}" for line in item[:-1]]
            lines.append(f"    {item[-1]},")
        return [*lines, ")"]

    def _run(self, run: Run, depth: int) -> list[str]:
        """Return one item of a list: a block, or a loop over blocks."""
        arguments = numbers_of(run)
        call = SourceWriter()
        is_loop = len(run.blocks) > 1
        write_call(call, run.family.name, spelled(arguments), depth + is_loop, end=",")
        lines = [line.removeprefix("    " * (depth + is_loop)) for line in call.lines]
        lines[-1] = lines[-1].removesuffix(",")
        if not is_loop:
            return lines
        loop = loop_of(run)
        if len(lines) == 1 and 4 * depth + len(f"*[{lines[0]} {loop}],") <= WIDTH:
            return [f"*[{lines[0]} {loop}]"]
        return ["*[", *(f"    {line}" for line in lines), f"    {loop}", "]"]


def _write_flow(
    write: SourceWriter, parts: Sequence[Part], target: str, source: str, mixed: bool
) -> None:
    """Write the statements that send `source` through the parts, and leave it as `target`."""
    before = None
    for part in parts:
        if isinstance(part, Node):
            write_forward(write, part, mixed, target, source, before)
        else:
            write(f"{target} = self.{part.name}({source})", 2)
        source, before = target, part


def _write_block(write: SourceWriter, block: Block, mixed: bool) -> None:
    """Write what `forward` does to `x`, and what it returns."""
    match block.kind:
        case "sequence":
            _write_flow(write, block.children, "x", "x", mixed)
            write("return x", 2)
        case "residual":
            body, shortcut = block.branches
            if shortcut:
                _write_flow(write, shortcut, "shortcut", "x", mixed)
            else:
                write("shortcut = x", 2)
            _write_flow(write, body, "x", "x", mixed)
            if block.activation == "linear":
                write("return x + shortcut", 2)
            else:
                function, arguments = activation(
                    block.activation, "x + shortcut", block, may_overwrite=True
                )
                write(f"return {function}({', '.join(arguments)})", 2)
        case "concat":
            names = [f"branch{n}" if branch else "x" for n, branch in enumerate(block.branches, 1)]
            for name, branch in zip(names, block.branches, strict=True):
                _write_flow(write, branch, name, "x", mixed)
            write_call(write, "return torch.cat", [f"[{', '.join(names)}]", "dim=1"], 2)
        case "gate":
            _write_flow(write, block.children, "gate", "x", mixed)
            axes = axes_of(block)
            places = f"[:, :{', None' * axes}]" if axes else ""
            write(f"return x * gate{places}", 2)
