"""The model of a Keras source: layers in a row, or a graph with a function for each family."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterator, Sequence

from backends.keras_helpers import FUNCTIONS
from backends.keras_initializers import HELPERS
from backends.keras_layers import LayerWriter, Scope, layer_name, write_call
from backends.wording import DOCSTRINGS, axes_of, spelled
from harness.contract import SourceWriter
from harness.spec import Block, Family, Node, Part, Run, Spec, families, infer, stage_items

INPUTS = {1: "signals", 2: "images", 3: "volumes"}
WIDENED = "From here on all is float32: the loss, and the gradient of the logits."

# What else the sources call by a name of lower-case letters.
RESERVED_FUNCTIONS = {
    *dir(builtins),
    *(activation for functions in FUNCTIONS.values() for activation in functions),
    *HELPERS,
    *("cross_entropy", "evaluate", "gate", "i", "images", "jax", "jnp", "keras", "layers"),
    *(
        "loss_fn",
        "make_model",
        "make_optimizer",
        "name",
        "ops",
        "os",
        "partial",
        "pool_volumes",
        "predict",
    ),
    *("shortcut", "tf", "torch", "train", "train_step", "x"),
}


def write_model(write: SourceWriter, spec: Spec, framework: str, mixed: bool) -> None:
    """Write what the layers need, the functions of blocks, and `make_model`.

    Raises:
        NotImplementedError: Keras would call two layers by one name; the message has both.

    """
    network = infer(spec)
    layers, body = LayerWriter(spec, framework, network, mixed), SourceWriter()
    shape = ", ".join(map(str, spec.input))
    first = f"From {INPUTS[len(spec.input) - 1]} [n, {shape}] to logits"
    body("def make_model():")
    body(f'"""{first} [n, {network.output_shape[0]}]."""', 1)
    model = _Functions(layers)
    if network.blocks:
        model.write_graph(body)
    else:
        model.write_sequential(body)
    for text in (*layers.helpers.values(), *model.texts.values()):
        write(text.rstrip("\n") + "\n\n")
    write(body.text() + "\n")


class _Functions:
    """The functions of the families, by the family's name, each after those that it uses.

    `bodies` are the texts without the head, by which it is known what arguments they take.
    """

    def __init__(self, layers: LayerWriter) -> None:
        self.layers, self.spec = layers, layers.spec
        self.network = layers.network
        self.families = families(self.network)
        self.names = self._function_names()
        self.bodies: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        for family in self.families.all:
            self._write_function(family)

    def write_sequential(self, write: SourceWriter) -> None:
        """Write a model of nothing but layers in a row."""
        write("return keras.Sequential(", 1)
        write("[", 2)
        write(f'keras.Input({self.spec.input}, name="images"),', 3)
        for node in self.network.nodes:
            self._write_folded(write, node, 3)
            for call in self.layers.calls(node, Scope()):
                if call.comment:
                    write(f"# {call.comment}", 3)
                write_call(write, call.kind, call.arguments, 3, end="),")
        if self.layers.mixed:
            write(f"# {WIDENED}", 3)
            write_call(write, "layers.Activation", self._widening(), 3, end="),")
        write("]", 2)
        write(")\n", 1)

    def write_graph(self, write: SourceWriter) -> None:
        """Write a functional model."""
        write(f'images = keras.Input({self.spec.input}, name="images")', 1)
        self._write_flow(write, self.network.parts, Scope(), "x", "images")
        if self.layers.mixed:
            write(f"# {WIDENED}", 1)
            write_call(write, "x = layers.Activation", self._widening(), 1, end=")(x)")
        write("return keras.Model(images, x)\n", 1)

    def _widening(self) -> list[str]:
        """Return the arguments of a layer that does nothing, in float32."""
        return ['"linear"', 'dtype="float32"', self.layers.extra_name(Scope(), "logits")]

    def _function_names(self) -> dict[str, str]:
        """Return names in snake case that nothing else in the source has."""
        symbols = {symbol.name for family in self.families.all for symbol, _ in family.symbols}
        taken = RESERVED_FUNCTIONS | symbols
        names: dict[str, str] = {}
        for family in self.families.all:
            name = re.sub(r"(?<!^)(?=[A-Z])", "_", family.name).lower()
            while name in taken:
                name += "_block"
            taken.add(name)
            names[family.name] = name
        return names

    def _write_function(self, family: Family) -> None:
        block, body = family.pattern, SourceWriter()
        prefixes = tuple(f"{layer_name(member.path)}_" for member in family.members)
        self._write_block(body, block, Scope("{name}_", prefixes))
        text = body.text().rstrip("\n")
        write = SourceWriter()
        arguments = ["x", *family.arguments(block, text), "name"]
        write_call(write, f"def {self.names[family.name]}", arguments, 0, end="):")
        write(f'"""{DOCSTRINGS[block.kind]}"""', 1)
        write(text)
        self.bodies[family.name], self.texts[family.name] = text, write.text()

    def _write_block(self, write: SourceWriter, block: Block, scope: Scope) -> None:
        """Write what becomes of `x`, and what is returned."""
        match block.kind:
            case "sequence":
                self._write_flow(write, block.children, scope, "x", "x")
                write("return x", 1)
            case "residual":
                body, shortcut = block.branches
                if shortcut:
                    self._write_flow(write, shortcut, scope, "shortcut", "x")
                else:
                    write("shortcut = x", 1)
                self._write_flow(write, body, scope, "x", "x")
                self._write_sum(write, block, scope)
            case "concat":
                names = [f"branch{n}" if b else "x" for n, b in enumerate(block.branches, 1)]
                for name, branch in zip(names, block.branches, strict=True):
                    self._write_flow(write, branch, scope, name, "x")
                self._write_merge(write, "return", "Concatenate", scope, "concat", names)
            case "gate":
                self._write_flow(write, block.children, scope, "gate", "x")
                if axes := axes_of(block):
                    shape = str((*(1,) * axes, block.input_shape[-1]))
                    name = self.layers.extra_name(scope, "reshape")
                    write_call(write, "gate = layers.Reshape", [shape, name], 1, end=")(gate)")
                self._write_merge(write, "return", "Multiply", scope, "multiply", ["x", "gate"])

    def _write_sum(self, write: SourceWriter, block: Block, scope: Scope) -> None:
        is_linear = block.activation == "linear"
        start = "return" if is_linear else "x ="
        self._write_merge(write, start, "Add", scope, "add", ["x", "shortcut"])
        if not is_linear:
            arguments = [self.layers.function(block.activation)]
            arguments.append(self.layers.extra_name(scope, "out"))
            write_call(write, "return layers.Activation", arguments, 1, end=")(x)")

    def _write_merge(
        self, write: SourceWriter, start: str, kind: str, scope: Scope, local: str, of: list[str]
    ) -> None:
        name = self.layers.extra_name(scope, local)
        write_call(write, f"{start} layers.{kind}", [name], 1, end=f")([{', '.join(of)}])")

    def _write_flow(
        self, write: SourceWriter, parts: Sequence[Part], scope: Scope, target: str, source: str
    ) -> None:
        """Write the statements that send `source` through the parts, and leave it as `target`."""
        for part in parts:
            if isinstance(part, Node):
                self._write_folded(write, part, 1)
                for call in self.layers.calls(part, scope):
                    if call.comment:
                        write(f"# {call.comment}", 1)
                    start, end = f"{target} = {call.kind}", f")({source})"
                    write_call(write, start, call.arguments, 1, end)
                    source = target
            elif part.is_stage:
                self._write_stage(write, part, scope.prefix + part.name, target, source)
            else:
                name = scope.name(part.name)
                self._write_block_call(write, part, name, target, source)
            source = target

    def _write_stage(
        self, write: SourceWriter, stage: Block, prefix: str, target: str, source: str
    ) -> None:
        """Write the blocks of a stage, with loops where they repeat."""
        scope = Scope(f"{prefix}_")
        for item in stage_items(stage, self.families, self.bodies):
            if isinstance(item, Block):
                self._write_stage(write, item, scope.prefix + item.name, target, source)
                source = target
                continue
            for blocks in _numbered(item.blocks):
                if len(blocks) == 1:
                    name = scope.name(blocks[0].name)
                    self._write_block_call(write, blocks[0], name, target, source)
                else:
                    if source != target:
                        write(f"{target} = {source}", 1)
                    self._write_loop(write, item, blocks, scope.name("{i}"), target)
                source = target

    def _write_loop(
        self, write: SourceWriter, run: Run, blocks: Sequence[Block], name: str, target: str
    ) -> None:
        first, end = int(blocks[0].name), int(blocks[-1].name) + 1
        arguments = {
            argument: _linear(int(value) - run.growth[argument] * first, run.growth[argument])
            if argument in run.growth
            else str(value)
            for argument, value in self._arguments(blocks[0]).items()
        }
        write(f"for i in range({f'{first}, ' if first else ''}{end}):", 1)
        call = [target, *spelled(arguments), name]
        write_call(write, f"{target} = {self.names[run.family.name]}", call, 2)

    def _write_block_call(
        self, write: SourceWriter, block: Block, name: str, target: str, source: str
    ) -> None:
        arguments = {key: str(value) for key, value in self._arguments(block).items()}
        function = self.names[self.families.of(block).name]
        call = [source, *spelled(arguments), name]
        write_call(write, f"{target} = {function}", call, 1)

    def _arguments(self, block: Block) -> dict[str, int]:
        family = self.families.of(block)
        return family.arguments(block, self.bodies[family.name])

    def _write_folded(self, write: SourceWriter, node: Node, indent: int) -> None:
        """Write, before the last layer, what became of its activation."""
        if node is self.network.nodes[-1] and self.spec.folds_activation:
            folded = "softmax" if self.spec.training.loss == "cross_entropy" else "sigmoid"
            write(f"# Logits: the {folded} is part of the loss.", indent)


def _numbered(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Split blocks where their names do not count on."""
    row: list[Block] = []
    for block in blocks:
        is_next = row and row[-1].name.isdigit() and block.name == str(int(row[-1].name) + 1)
        if row and not is_next:
            yield row
            row = []
        row.append(block)
    yield row


def _linear(constant: int, growth: int) -> str:
    """Return `constant + growth * i`, as it is written by hand."""
    if growth < 0:
        return f"{constant} - {-growth} * i"
    term = f"{growth} * i" if growth != 1 else "i"
    if constant < 0:
        return f"{term} - {-constant}"
    return f"{constant} + {term}" if constant else term
