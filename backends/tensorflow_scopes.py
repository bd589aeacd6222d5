"""The functions of a TensorFlow graph: one for each family of blocks, and the network itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

from backends.tensorflow_blocks import (
    Flow,
    renamed,
    takes_training,
    write_block,
)
from backends.tensorflow_calls import NAMED, Call, shape, write_call
from backends.tensorflow_convolutions import kernel_shape
from backends.tensorflow_helpers import HELPERS
from backends.tensorflow_layers import layer_calls, model_docstring
from backends.tensorflow_norms import CLASS_NAMES, norm_lacks, norm_options
from backends.wording import DOCSTRINGS, numbers_of, spelled
from harness.contract import SourceWriter
from harness.spec import (
    BatchNorm,
    Block,
    Conv,
    Dropout,
    Family,
    Network,
    Node,
    Parameter,
    Part,
    Run,
    Spec,
    families,
    stage_items,
)

DROPOUT_SEED = '''def dropout_seed():
    """A random stream of its own for every seed, step and layer, of which it keeps count."""
    with tf.variable_scope(tf.VariableScope(tf.AUTO_REUSE, "")):  # outside of all blocks
        seed = tf.get_variable("seed", [], tf.int64, tf.zeros_initializer(), trainable=False)
    layers = tf.get_collection_ref("dropout_layers")
    layers.append(len(layers))
    step = tf.train.get_or_create_global_step()
    return tf.random.experimental.stateless_fold_in(tf.stack([seed, step]), layers[-1])

'''

DISTRIBUTIONS = {  # TensorFlow's names
    "uniform": "uniform",
    "normal": "untruncated_normal",
    "truncated": "truncated_normal",
}

# Functions that generated sources have anyway, and names of variables and arguments in them.
RESERVED = {
    *HELPERS,
    *CLASS_NAMES,
    *("dropout_seed", "loss_fn", "make_optimizer", "network", "predict", "train"),
    *("bias", "channels", "dilation", "gate", "groups", "i", "kernel", "kernel_size", "padding"),
    *("scale", "stride", "units"),
}


def function_name(family: Family) -> str:
    """Return what the function of a family is called: BasicBlock is `basic_block`."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", family.name).lower()
    return f"{name}_block" if name in RESERVED else name


def network_source(spec: Spec, network: Network) -> str:
    """Write the functions: those of the blocks, then `network`."""
    scheme, _, distribution = str(spec.initializer).partition("_")
    write = SourceWriter()
    functions = _Functions(network, DISTRIBUTIONS[distribution] if scheme == "glorot" else "")
    if network.dropouts:
        write(DROPOUT_SEED)
    for text in functions.texts.values():
        write(text + "\n\n")
    write("def network(x, training):")
    write(model_docstring(spec, network), 1)
    functions.writing_flow(write, 1)(network.parts, "x", "x")
    write("return x\n\n", 1)
    return write.text()


def _argument(name: str) -> str:
    """Return the name of a symbol in a function, where a kernel is a variable."""
    return "kernel_size" if name == "kernel" else name


class _Functions:
    """The texts of the families' functions, by name, each after those that it uses.

    `glorot` is the distribution of kernels whose variance depends on their outputs, too.
    """

    def __init__(self, network: Network, glorot: str) -> None:
        self.glorot = glorot
        self.families = families(network)
        self.texts: dict[str, str] = {}
        self.bodies: dict[str, str] = {}  # the same without their signatures
        for family in self.families.all:
            self.texts[family.name] = self._function(family)

    def _function(self, family: Family) -> str:
        block, body = renamed(family.pattern, _argument), SourceWriter()
        write_block(body, block, self.writing_flow(body, 1), 1)
        self.bodies[family.name] = "\n".join(body.lines)
        write = SourceWriter()
        arguments = family.arguments(block, self.bodies[family.name])
        names = ["x", *map(_argument, arguments), *self._training(block)]
        write_call(write, Call(f"def {function_name(family)}", tuple(names)), 0, end=":")
        write(f'"""{DOCSTRINGS[block.kind]}"""', 1)
        write(self.bodies[family.name])
        return write.text().rstrip("\n")

    def _training(self, block: Block) -> list[str]:
        return ["training"] if takes_training(block) else []

    def _call(self, run: Run, target: str, source: str, first: int) -> Call:
        """Return the statement that applies a run's block, or the one numbered `i`."""
        number = f"(i - {first})" if first else "i"
        arguments = {_argument(name): value for name, value in numbers_of(run, number).items()}
        training = [f"{name}={name}" for name in self._training(run.blocks[0])]
        values = (source, *spelled(arguments), *training)
        return Call(f"{target} = {function_name(run.family)}", values)

    def writing_flow(self, write: SourceWriter, indent: int) -> Flow:
        """Return what writes the statements that send `source` through parts, to `target`."""

        def flow(parts: Sequence[Part], target: str, source: str) -> None:
            for part in parts:
                if isinstance(part, Node):
                    _write_layer(write, part, target, source, indent, self.glorot)
                elif part.is_stage:
                    self._write_stage(write, part, part.name, target, source, indent)
                else:
                    family = self.families.of(part)
                    arguments = family.arguments(part, self.bodies[family.name])
                    write(f'with tf.variable_scope("{part.name}"):', indent)
                    run = Run(family, (part,), arguments, {})
                    write_call(write, self._call(run, target, source, 0), indent + 1)
                source = target

        return flow

    def _write_stage(
        self, write: SourceWriter, stage: Block, scope: str, target: str, source: str, indent: int
    ) -> None:
        """Write a scope, and in it those of its blocks, which are numbered."""
        items, number = stage_items(stage, self.families, self.bodies), 0
        if len(stage.children) == 1:  # one scope for both
            prefix = f"{scope}/"
        else:
            write(f'with tf.variable_scope("{scope}"):', indent)
            indent, prefix = indent + 1, ""
        for item in items:
            if isinstance(item, Block):
                place = f"{prefix}{number}"
                self._write_stage(write, item, place, target, source, indent)
                number += 1
            elif len(item.blocks) == 1:
                write(f'with tf.variable_scope("{prefix}{number}"):', indent)
                write_call(write, self._call(item, target, source, number), indent + 1)
                number += 1
            else:
                if target != source:
                    write(f"{target} = {source}", indent)
                end = number + len(item.blocks)
                write(f"for i in range({f'{number}, ' if number else ''}{end}):", indent)
                write('with tf.variable_scope(f"{i}"):', indent + 1)
                write_call(write, self._call(item, target, target, number), indent + 2)
                number = end
            source = target


def _write_layer(
    write: SourceWriter, node: Node, target: str, source: str, indent: int, glorot: str
) -> None:
    name = node.name
    named = f'name="{name}"'
    if isinstance(node.layer, Dropout):
        if target != source:
            write(f"{target} = {source}", indent)
        write("if training:", indent)
        arguments = (target, repr(node.layer.rate), "dropout_seed()", named)
        dropout = Call(f"{target} = tf.nn.experimental.stateless_dropout", arguments)
        write_call(write, dropout, indent + 1)
        return
    if node.layer.type in CLASS_NAMES:
        training = ["training=training"] if isinstance(node.layer, BatchNorm) else []
        arguments = (source, *norm_options(node), *training, *norm_lacks(node))
        write(f'with tf.variable_scope("{name}"):', indent)
        write_call(write, Call(f"{target} = {node.layer.type}", arguments), indent + 1)
        return
    *before, last = layer_calls(node, "", target, source)
    if node.parameters:
        write(f'with tf.variable_scope("{name}"):', indent)
        for parameter in node.parameters:
            write_call(write, _variable(node, parameter, glorot), indent + 1)
        for call in (*before, last):
            write_call(write, call, indent + 1)
        return
    for call in before:
        write_call(write, call, indent)
    head = last.head.removeprefix(f"{target} = ") if isinstance(last, Call) else ""
    if isinstance(last, Call) and head.startswith("tf.") and head not in NAMELESS:
        write_call(write, Call(last.head, (*last.arguments, named)), indent)
    else:
        write_call(write, last, indent, name)


def _variable(node: Node, parameter: Parameter, glorot: str) -> Call:
    """Return the statement that gets a parameter's variable."""
    role = parameter.role
    sizes = kernel_shape(node) if role == "kernel" else shape(parameter.shape)
    first: tuple[str | Call, ...] = () if role == "kernel" else (initializer(parameter.begins_at),)
    layer = node.layer
    if role == "kernel" and glorot and isinstance(layer, Conv) and layer.groups != 1:
        # TensorFlow would count the outputs of all groups for each input.
        channels = node.input_shape[-1]
        scale = f"2 * {channels} / ({channels} + {layer.filters})"
        scale = "1.0" if channels == layer.filters else scale
        arguments = (scale, '"fan_in"', f'"{glorot}"')
        first = (Call("tf.variance_scaling_initializer", arguments),)
    return Call(f"{role} = tf.get_variable", (f'"{role}"', sizes, "x.dtype", *first))


def initializer(value: float) -> str:
    """Return the initializer that makes all values the same."""
    known = f"tf.{NAMED.get(value)}_initializer()"
    return known if value in NAMED else f"tf.constant_initializer({value!r})"


NAMELESS = {"tf.nn.silu"}  # which takes no name
