"""The classes of a Flax model: one for each family of blocks, and the model itself."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import groupby
from textwrap import indent

from backends.flax_initializers import Initializers
from backends.flax_model import (
    SHAPES,
    WIDTH,
    activated,
    call,
    constructor,
    forward,
    own_layers,
    wrapped,
)
from backends.wording import DOCSTRINGS, axes_of, loop_of, numbers_of, spelled
from harness.contract import SourceWriter
from harness.spec import (
    BatchNorm,
    Block,
    Conv,
    Conv2DTranspose,
    Dropout,
    Families,
    Family,
    GroupNorm,
    LayerNorm,
    Network,
    Node,
    Part,
    Run,
    Spec,
    families,
    stage_items,
)
from harness.spec.nodes import leaves

INPUTS = {  # by axes: their name, their layout and a window's
    1: ("signals", "NLC", "k"),
    2: ("images", "NHWC", "kh, kw"),
    3: ("volumes", "NDHWC", "kd, kh, kw"),
}


def write_model(write: SourceWriter, spec: Spec, network: Network, mixed: bool) -> None:
    """Write the classes: what nnx lacks, the blocks, and the model."""
    initializers = Initializers(spec)
    classes = _Classes(network, initializers, mixed)
    text = "\n\n".join([*classes.texts.values(), _model(network, classes)])
    for definition in initializers.texts(network):
        write(definition)
    for layer in own_layers(text, axes_of(network), mixed):
        write(layer)
    write(text + "\n")


def _model(network: Network, classes: _Classes) -> str:
    write = SourceWriter()
    write("class Model(nnx.Module):")
    _write_docstring(write, network, classes.mixed)
    write("def __init__(self, *, rngs):", 1)
    for statement in classes.constructors(network.parts) or ["pass"]:
        write(statement, 2)
    write()
    _write_signature(write, network)
    if classes.mixed:
        write("x = x.astype(jnp.bfloat16)", 2)
    for statement in _flow(network.parts, "x", "x", classes.mixed):
        write(statement, 2)
    write(f"return x{'.astype(jnp.float32)' if classes.mixed else ''}", 2)
    return write.text()


def layout_of(network: Network) -> tuple[str, str]:
    """Return what the inputs are called, and their shape: `("images", "[n, h, w, c]")`."""
    axes = axes_of(network)
    return INPUTS[axes][0], SHAPES[axes]


def _write_docstring(write: SourceWriter, network: Network, mixed: bool) -> None:
    shape = ", ".join(map(str, network.input_shape))
    inputs, layout, window = INPUTS[axes_of(network)]
    outputs = network.output_shape[0]
    layers = [node.layer for node in network.nodes]
    grouped = any(isinstance(layer, Conv) and layer.groups != 1 for layer in layers)
    inside = "in / groups" if grouped else "in"
    write(f'"""From {inputs} [n, {shape}] to logits [n, {outputs}].\n', 1)
    kernels = f"kernels [{window}, {inside}, out]"
    write(f"{inputs.capitalize()} are {layout} and {kernels} throughout, so that flattening", 1)
    write('needs no transpose; padding "SAME" is TensorFlow\'s.', 1)
    if any(isinstance(layer, Conv2DTranspose) for layer in layers):
        write("A transposed convolution's kernel is not flipped: it is the mirror image of", 1)
        write("TensorFlow's and torch's. Its padding is of what it slides over.", 1)
    if any(isinstance(layer, BatchNorm | LayerNorm | GroupNorm) for layer in layers):
        write("Variances are taken in two passes: nnx's fast one, E[x^2] - E[x]^2, cancels.", 1)
    if network.statistics:
        write("Running variances are as biased as the batch's; momentum is their decay.", 1)
    if mixed:
        write(
            "A layer's dtype is what it computes in: that of norms is float32, as bfloat16 would", 1
        )
        write("round their scales. All parameters are float32.", 1)
    write('"""\n', 1)


def _write_signature(write: SourceWriter, network: Network) -> None:
    """Write the head of `__call__`: batch norm and dropout have to know what they are for."""
    if network.statistics and network.dropouts:
        write("def __call__(self, x, *, training=False, rngs=None):", 1)
        write('"""In training, use and gather statistics of the batch; drop out by `rngs`."""', 2)
    elif network.statistics:
        write("def __call__(self, x, *, training=False):", 1)
        write('"""In training, use and gather statistics of the batch; else the gathered."""', 2)
    elif network.dropouts:
        write("def __call__(self, x, *, rngs=None):", 1)
        write('"""Drop out with random numbers from `rngs`; without them, evaluate."""', 2)
    else:
        write("def __call__(self, x):", 1)


class _Classes:
    """The texts of the families' classes, by name, each after those that it uses."""

    def __init__(self, network: Network, initializers: Initializers, mixed: bool) -> None:
        self.initializers = initializers
        self.families: Families = families(network)
        self.mixed = mixed
        self.texts: dict[str, str] = {}
        self.drawing: set[str] = set()  # those that draw initial values
        self.bodies: dict[str, str] = {}  # without head and docstring: what names the arguments
        for family in self.families.all:
            self._add(family)

    def _add(self, family: Family) -> None:
        block = family.pattern
        made = self.constructors(block.children)
        statements = _block_statements(block, self.mixed)
        self.bodies[family.name] = "\n".join([*made, *statements])
        if any("rngs=rngs" in statement for statement in made):
            self.drawing.add(family.name)
        write = SourceWriter()
        write(f"class {family.name}(nnx.Module):")
        write(f'"""{DOCSTRINGS[block.kind]}"""\n', 1)
        if made:
            arguments = [*self._arguments(family, block), *self._keyword_only(family)]
            write(f"{wrapped('def __init__', ['self', *arguments], WIDTH - 5, fits=True)}:", 1)
            for statement in made:
                write(statement, 2)
            write()
        modes = _modes(block)
        write(f"def __call__({', '.join(['self', 'x', *(['*'] if modes else []), *modes])}):", 1)
        for statement in statements:
            write(statement, 2)
        self.texts[family.name] = write.text()

    def constructors(self, parts: Sequence[Part]) -> list[str]:
        """Return the statements of `__init__` that make the parts."""
        statements = []
        for part in parts:
            if isinstance(part, Node):
                statements += [constructor(part, self.mixed, self.initializers.arguments(part))]
            elif part.is_stage:
                statements += [f"self.{part.name} = {self._stage(part, 2, f'self.{part.name} = ')}"]
            else:
                family = self.families.of(part)
                arguments = spelled(self._arguments(family, part))
                arguments += self._rngs(family)
                statements += [call(f"self.{part.name}", family.name, arguments)]
        return [statement for statement in statements if statement]

    def _arguments(self, family: Family, block: Block) -> dict[str, int]:
        return family.arguments(block, self.bodies[family.name])

    def _rngs(self, family: Family) -> list[str]:
        """Return the argument for random initial values, where the class has any."""
        return ["rngs=rngs"] if family.name in self.drawing else []

    def _keyword_only(self, family: Family) -> list[str]:
        return ["*", "rngs"] if self._rngs(family) else []

    def _stage(self, stage: Block, depth: int, start: str = "") -> str:
        """Return an nnx.List of blocks, with loops where they repeat, as ruff has it at a depth."""
        items = stage_items(stage, self.families, self.bodies)
        if len(items) == 1 and isinstance(items[0], Run):
            function, arguments, loop = self._run(items[0])
            line = f"nnx.List([{function}({', '.join(arguments)}){' ' * bool(loop)}{loop}])"
            if len(start + line) <= WIDTH - 4 * depth - (not start):
                return line
        lines = [
            self._item(item, depth + 2) if isinstance(item, Run) else self._stage(item, depth + 2)
            for item in items
        ]
        inside = indent("".join(f"{line},\n" for line in lines), " " * 8)
        return f"nnx.List(\n    [\n{inside}    ]\n)"

    def _run(self, run: Run) -> tuple[str, list[str], str]:
        """Return a call, as function and arguments, and the loop that it is made in."""
        arguments = numbers_of(run)
        loop = loop_of(run)
        values = [*spelled(arguments), *self._rngs(run.family)]
        return run.family.name, values, loop if len(run.blocks) > 1 else ""

    def _item(self, run: Run, depth: int) -> str:
        """Return one item of a list: a block, or a loop over blocks."""
        function, arguments, loop = self._run(run)
        room = WIDTH - 4 * depth - 1  # a comma follows
        if not loop:
            return wrapped(function, arguments, room, fits=True)
        line = f"*[{function}({', '.join(arguments)}) {loop}]"
        if len(line) <= room:
            return line
        made = wrapped(function, arguments, room - 3, fits=True)
        return "*[\n" + indent(f"{made}\n{loop}", "    ") + "\n]"


def _modes(part: Part) -> list[str]:
    """Return what a block has to be told about its purpose, for the layers in it that ask."""
    layers = [node.layer for node in leaves((part,))]
    asked = {"training": BatchNorm, "rngs": Dropout}
    return [mode for mode, kind in asked.items() if any(isinstance(one, kind) for one in layers)]


def _flow(parts: Sequence[Part], target: str, source: str, mixed: bool) -> list[str]:
    """Return the statements that send `source` through the parts, and leave it as `target`."""
    statements = []
    for part in parts:
        if isinstance(part, Node):
            statements += forward(part, mixed, target, source)
        elif part.is_stage:
            if target != source:
                statements += [f"{target} = {source}"]
            statements += _stage_flow(part, f"self.{part.name}", target)
        else:
            statements += [_applied(part, f"self.{part.name}", target, source)]
        source = target
    return statements


def _applied(block: Block, name: str, target: str, source: str, depth: int = 2) -> str:
    modes = [f"{mode}={mode}" for mode in _modes(block)]
    return call(target, name, [source, *modes], depth=depth)


def _stage_flow(stage: Block, name: str, target: str, depth: int = 2) -> list[str]:
    """Return the loops over the blocks of a stage, which may be told different things."""
    statements: list[str] = []
    index = 0
    for _, group in groupby(stage.children, _asked):
        blocks = [part for part in group if isinstance(part, Block)]
        end = index + len(blocks)
        if len(blocks) == 1 < len(stage.children):
            statements += _step(blocks[0], f"{name}[{index}]", target, depth)
        else:
            is_whole = len(blocks) == len(stage.children)
            # Lists of lists are looped over by variables of their own.
            inner = f"blocks{depth - 1}" if blocks[0].is_stage else "block"
            statements += [f"for {inner} in {name}{'' if is_whole else f'[{index}:{end}]'}:"]
            body = "\n".join(_step(blocks[0], inner, target, depth + 1))
            statements += [indent(body, "    ")]
        index = end
    return statements


def _step(block: Block, name: str, target: str, depth: int) -> list[str]:
    """Return the statements that apply one item of a stage."""
    if block.is_stage:
        return _stage_flow(block, name, target, depth)
    return [_applied(block, name, target, target, depth)]


def _asked(part: Part) -> Hashable:
    """Return a key that is the same for items of a stage that one loop can run over."""
    assert isinstance(part, Block)
    if not part.is_stage:
        return tuple(_modes(part))
    keys = {_asked(child) for child in part.children}
    return ("stage", *keys) if len(keys) == 1 else part.path


def _block_statements(block: Block, mixed: bool) -> list[str]:
    """Return what `__call__` does to `x`, and what it returns."""
    match block.kind:
        case "sequence":
            return [*_flow(block.children, "x", "x", mixed), "return x"]
        case "residual":
            body, shortcut = block.branches
            statements = ["shortcut = x"]
            if shortcut:
                statements = _flow(shortcut, "shortcut", "x", mixed)
            statements += _flow(body, "x", "x", mixed)
            if block.activation == "linear":
                return [*statements, "return x + shortcut"]
            function, arguments = activated(block.activation, "x + shortcut")
            return [*statements, f"return {function}({', '.join(arguments)})"]
        case "concat":
            names = [f"branch{n}" if branch else "x" for n, branch in enumerate(block.branches, 1)]
            statements = [
                statement
                for name, branch in zip(names, block.branches, strict=True)
                for statement in _flow(branch, name, "x", mixed)
            ]
            return [*statements, _concatenated(names)]
        case "gate":
            axes = axes_of(block)
            shape = f"[:, {'None, ' * axes}:]" if axes else ""
            product = f"scaled(x, gate{shape})" if mixed else f"x * gate{shape}"
            return [*_flow(block.children, "gate", "x", mixed), f"return {product}"]


def _concatenated(names: list[str]) -> str:
    outputs = f"[{', '.join(names)}]"
    if len(outputs) > WIDTH - 13:  # then one a line, and each argument of the call too
        outputs = "[\n        " + ",\n        ".join(names) + ",\n    ]"
        return f"return jnp.concatenate(\n    {outputs},\n    axis=-1,\n)"
    return wrapped("return jnp.concatenate", [outputs, "axis=-1"], WIDTH - 8, fits=True)
