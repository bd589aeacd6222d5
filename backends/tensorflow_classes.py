"""The classes of a raw TensorFlow model: one for each family of blocks, and the model itself."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from backends.tensorflow_blocks import (
    Flow,
    renamed,
    takes_training,
    write_block,
)
from backends.tensorflow_calls import NAMED, WIDTH, Call, shape, write_call
from backends.tensorflow_convolutions import kernel_shape
from backends.tensorflow_layers import layer_calls, model_docstring
from backends.tensorflow_norms import CLASS_NAMES, norm_lacks, norm_options
from backends.wording import DOCSTRINGS, ORDERS, axes_of, loop_of, numbers_of, spelled
from harness.contract import SourceWriter
from harness.spec import (
    ActivationLayer,
    BatchNorm,
    Block,
    Conv,
    Dropout,
    Family,
    Flatten,
    Network,
    Node,
    Parameter,
    Part,
    Run,
    Spec,
    families,
    stage_items,
)
from harness.spec.nodes import leaves


def model_source(spec: Spec, network: Network, mixed: bool) -> str:
    """Write the classes: those of the blocks, then the model."""
    write, classes = SourceWriter(), _Classes(spec, network, mixed)
    for text in classes.texts.values():
        write(text + "\n\n")
    write("class Model(tf.Module):")
    write(model_docstring(spec, network) + "\n", 1)
    write("def __init__(self, dtype=tf.float32):", 1)
    write("super().__init__()", 2)
    if network.dropouts:
        write("self.rng = tf.random.Generator.from_seed(0)  # a variable: it can be reset", 2)
    classes.write_constructors(write, network.parts)
    write("\ndef __call__(self, x, training=False):", 1)
    if mixed:
        write("x = tf.cast(x, tf.bfloat16)", 2)
    classes.writing_flow(write)(network.parts, "x", "x")
    write(f"return {'tf.cast(x, tf.float32)' if mixed else 'x'}\n\n", 2)
    return write.text()


class _Classes:
    """The texts of the families' classes, by name, each after those that it uses."""

    def __init__(self, spec: Spec, network: Network, mixed: bool) -> None:
        self.mixed = mixed
        self.draws_by_groups = str(spec.initializer).startswith("glorot")
        self.families = families(network)
        self.texts: dict[str, str] = {}
        self.bodies: dict[str, str] = {}  # the same without their signatures
        for family in self.families.all:
            self.texts[family.name] = self._class(family)

    def _class(self, family: Family) -> str:
        block = family.pattern
        names = {part.name for part in block.children if isinstance(part, Block)}

        def attribute(name: str) -> str:
            return f"self._{name}" if name in names else f"self.{name}"

        start, forward = SourceWriter(), SourceWriter()
        applied = renamed(block, attribute)
        write_block(forward, applied, self.writing_flow(forward), 2)
        self.write_constructors(start, block.children)
        self.bodies[family.name] = "\n".join([*start.lines, *forward.lines])
        arguments = self._arguments(family, block)
        write = SourceWriter()
        write(f"class {family.name}(tf.Module):")
        write(f'"""{DOCSTRINGS[block.kind]}"""\n', 1)
        if arguments or start.lines:
            write_call(write, Call("def __init__", ("self", *arguments)), 1, end=":")
            write("super().__init__()", 2)
            if "rng" in arguments:
                write("self.rng = rng", 2)
            for name in arguments:
                if re.search(rf"{attribute(name)}\b", forward.text()) and name != "rng":
                    write(f"{attribute(name)} = {name}", 2)
            for line in start.lines:
                write(line)
            write("")
        training = ", training" if takes_training(block) else ""
        write(f"def __call__(self, x{training}):", 1)
        write("\n".join(forward.lines))
        return write.text().rstrip("\n")

    def _arguments(self, family: Family, block: Block) -> dict[str, str]:
        """Return the arguments of the class, each with its value for `block`."""
        values = family.arguments(block, self.bodies[family.name])
        return {name: str(value) for name, value in values.items()} | self._context(family)

    def _context(self, family: Family) -> dict[str, str]:
        """Return what a constructor is given that is no number of the block."""
        nodes = list(leaves(family.pattern.children))
        has_variables = any(node.parameters or node.statistics for node in nodes)
        context = {"dtype": "dtype"} if has_variables else {}
        if any(isinstance(node.layer, Dropout) for node in nodes):
            context["rng"] = "self.rng"
        return context

    def write_constructors(self, write: SourceWriter, parts: Sequence[Part]) -> None:
        """Write the lines of `__init__` that make variables and blocks."""
        for part in parts:
            if isinstance(part, Node) and part.layer.type in CLASS_NAMES:
                channels = str(part.input_shape[-1])
                values = (channels, *norm_options(part), "dtype=dtype", *norm_lacks(part))
                name = CLASS_NAMES[part.layer.type]
                write_call(write, Call(f"self.{part.name} = {name}", values), 2)
            elif isinstance(part, Node):
                for parameter in part.parameters:
                    write_call(write, self._variable(part, parameter), 2)
            elif part.is_stage:
                for line in self._stage(part, 2, f"self.{part.name} = ", ""):
                    write(line, 2)
            else:
                family = self.families.of(part)
                arguments = spelled(self._arguments(family, part))
                call = Call(f"self.{part.name} = {family.name}", tuple(arguments))
                write_call(write, call, 2)

    def _variable(self, node: Node, parameter: Parameter) -> Call:
        """Return the statement that makes a parameter's variable."""
        head = f"self.{node.name}_{parameter.role} ="
        if parameter.is_drawn:
            layer = node.layer
            is_by_groups = self.draws_by_groups and isinstance(layer, Conv) and layer.groups != 1
            groups = (f"groups={layer.groups}",) if is_by_groups else ()
            return Call(f"{head} weights", (kernel_shape(node), "dtype", *groups))
        sizes = kernel_shape(node) if parameter.role == "kernel" else shape(parameter.shape)
        first = parameter.begins_at
        value = Call("tf.fill", (sizes, f"tf.constant({first!r}, dtype)"))
        if first in NAMED:
            value = Call(f"tf.{NAMED[first]}", (sizes, "dtype"))
        return Call(f"{head} tf.Variable", (value,))

    def _stage(self, stage: Block, indent: int, before: str, after: str) -> list[str]:
        """Return the lines of a list of blocks, with loops where they repeat."""
        items = stage_items(stage, self.families, self.bodies)
        if len(items) == 1 and isinstance(run := items[0], Run):
            if len(run.blocks) > 1:
                return self._loop(run, indent, before, after)
            line = f"{before}[{self._first(run)}]{after}"
            if len(line) + 4 * indent <= WIDTH:
                return [line]
        lines = [f"{before}["]
        for item in items:
            if isinstance(item, Block):
                inner = self._stage(item, indent + 1, "", ",")
            elif len(item.blocks) > 1:
                inner = self._loop(item, indent + 1, "*", ",")
            else:
                inner = list(self._first(item).lines(indent + 1, ","))
            lines += [f"    {line}" for line in inner]
        return [*lines, f"]{after}"]

    def _first(self, run: Run) -> Call:
        """Return the call that makes a run's block, or the one numbered `i`."""
        arguments = numbers_of(run)
        return Call(run.family.name, tuple(spelled(arguments | self._context(run.family))))

    def _loop(self, run: Run, indent: int, before: str, after: str) -> list[str]:
        """Return a comprehension over blocks, broken as ruff would break it."""
        call = self._first(run)
        loop = loop_of(run)
        line, room = f"{before}[{call} {loop}]{after}", WIDTH - 4 * indent
        if len(line) <= room:
            return [line]
        inner = [f"{call} {loop}"]
        if len(inner[0]) > room - 4:
            inner = [*call.lines(indent + 1), loop]
        return [f"{before}[", *(f"    {line}" for line in inner), f"]{after}"]

    def writing_flow(self, write: SourceWriter) -> Flow:
        """Return what writes the statements that send `source` through parts, to `target`."""

        def flow(parts: Sequence[Part], target: str, source: str) -> None:
            for part in parts:
                if isinstance(part, Node):
                    _write_layer(write, part, self.mixed, target, source)
                elif part.is_stage:
                    if target != source:
                        write(f"{target} = {source}", 2)
                    _write_loops(write, part, target, f"self.{part.name}")
                else:
                    training = ", training" if takes_training(part) else ""
                    write(f"{target} = self.{part.name}({source}{training})", 2)
                source = target

        return flow


def _write_loops(write: SourceWriter, stage: Block, x: str, place: str) -> None:
    """Write loops over the list at `place`: one, but where not all of its blocks are alike."""

    def likeness(child: Part) -> tuple[bool, bool]:
        return isinstance(child, Block) and child.is_stage, takes_training(child)

    first = 0
    for (is_stage, in_training), group in itertools.groupby(stage.children, likeness):
        blocks = list(group)
        end = first + len(blocks)
        training = ", training" if in_training else ""
        if is_stage:
            for index, child in enumerate(blocks, first):
                assert isinstance(child, Block)
                _write_loops(write, child, x, f"{place}[{index}]")
        elif len(blocks) == 1 < len(stage.children):
            write(f"{x} = {place}[{first}]({x}{training})", 2)
        else:
            part = "" if len(blocks) == len(stage.children) else f"[{first or ''}:{end}]"
            write(f"for block in {place}{part}:", 2)
            write(f"{x} = block({x}{training})", 3)
        first = end


def _write_layer(write: SourceWriter, node: Node, mixed: bool, target: str, source: str) -> None:
    name, prefix = node.name, f"self.{node.name}_"
    if isinstance(node.layer, Dropout):
        if target != source:
            write(f"{target} = {source}", 2)
        write(f"if training:  # {name}", 2)
        x = target
        if mixed:
            write("# In float32: of bfloat16 there are 128 random numbers, too few for a rate.", 3)
            x = f"tf.cast({target}, tf.float32)"
        arguments = (x, repr(node.layer.rate), "self.rng.uniform")
        dropout = Call(f"{target} = tf.nn.experimental.general_dropout", arguments)
        write_call(write, dropout, 3)
        if mixed:
            write(f"{target} = tf.cast({target}, tf.bfloat16)", 3)
        return
    if node.layer.type in CLASS_NAMES:
        training = ", training" if isinstance(node.layer, BatchNorm) else ""
        write(f"{target} = self.{name}({source}{training})", 2)
        return
    *before, last = layer_calls(node, prefix, target, source, mixed)
    for call in before:
        write_call(write, call, 2)
    has_name = any(f"{prefix}{parameter.role}" in str(last) for parameter in node.parameters)
    write_call(write, last, 2, "" if has_name else _remark(node, str(last)))


def _remark(node: Node, call: str) -> str:
    """Return the layer's name, and what is worth saying about it if there is room."""
    remark = node.name
    if isinstance(node.layer, Flatten) and axes_of(node):
        remark += f": {ORDERS[axes_of(node)]}"
    elif isinstance(node.layer, ActivationLayer) and node.activation != node.layer.function:
        remark += f": its {node.layer.function} is in the loss"
    return remark if len(f"        {call}  # {remark}") <= WIDTH else node.name
