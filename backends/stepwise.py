"""Every layer's output, from the generated file itself, by running it statement by statement."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from types import CodeType
from typing import Any
from unittest import mock

from harness.spec import Address, Block, Network, Node, Part


def _as_it_is(output: Any) -> Any:
    return output


def layer_outputs(
    model: Any,
    network: Network,
    method: str,
    keep: Callable[[Any], Any] = _as_it_is,
    **arguments: Any,
) -> dict[str, Any]:
    """Call `model.method(**arguments)` and return the output of every layer by its path.

    In generated sources a layer is a statement that assigns, and that names it, as `self.conv1`
    does, or a comment at the end of its line; several in a row may name the same one. What the
    last of them assigns is the layer's output. Blocks are objects of generated classes, whose
    methods run in the same way. So the outputs are those of the code that is timed, whatever has
    become of it. `keep` makes of an output what is returned of it, before the next statement runs.

    Raises:
        LookupError: a layer is not named in the body of its class.

    """
    record: dict[str, Any] = {}
    owners = [(reach(model, place), block) for place, block in block_addresses(network.parts)]
    blocks = {id(owner): block for owner, block in owners}
    kinds = {type(owner) for owner, _ in owners}

    def run(function: Callable[..., Any], parts: Sequence[Part], given: dict[str, Any]) -> Any:
        nodes = [part for part in parts if isinstance(part, Node)]
        return _run(function, nodes, given, record, keep)

    def stepped(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *values: Any, **named: Any) -> Any:
            bound = inspect.signature(original).bind(self, *values, **named)
            bound.apply_defaults()
            return run(original, statements_order(blocks[id(self)]), bound.arguments)

        return call

    with _replaced(kinds, method, stepped):
        run(getattr(type(model), method), network.parts, {"self": model, **arguments})
    return {node.path: record[node.path] for node in network.nodes}


def function_outputs(
    module: Any,
    network: Network,
    functions: Iterable[str],
    place: Callable[[], Address],
    **arguments: Any,
) -> dict[str, Any]:
    """Call `module.network(**arguments)` and return the output of every layer by its path.

    As `layer_outputs`, but for blocks that are `functions` of the module, not objects: `place`
    returns the address of the block that is running.
    """
    record: dict[str, Any] = {}
    blocks = dict(block_addresses(network.parts))

    def run(function: Callable[..., Any], parts: Sequence[Part], given: dict[str, Any]) -> Any:
        nodes = [part for part in parts if isinstance(part, Node)]
        return _run(function, nodes, given, record, _as_it_is)

    def stepped(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any, **named: Any) -> Any:
            bound = inspect.signature(original).bind(*values, **named)
            return run(original, statements_order(blocks[place()]), bound.arguments)

        return call

    with ExitStack() as stack:
        for name in functions:
            replacement = stepped(getattr(module, name))
            stack.enter_context(mock.patch.object(module, name, replacement))
        run(module.network, network.parts, arguments)
    return {node.path: record[node.path] for node in network.nodes}


def reach(model: Any, address: Address) -> Any:
    """Return what lies at an address: attributes of generated classes, and places in lists."""
    for name in address:
        model = model[name] if isinstance(name, int) else getattr(model, name)
    return model


def block_addresses(parts: Sequence[Part], prefix: Address = ()) -> Iterator[tuple[Address, Block]]:
    """Yield each block that is an object of a class of its own, with its address."""
    for part in parts:
        if isinstance(part, Block):
            yield from _within(part, (*prefix, part.name))


def _within(block: Block, address: Address) -> Iterator[tuple[Address, Block]]:
    if block.is_stage:
        for index, child in enumerate(block.children):
            assert isinstance(child, Block)
            yield from _within(child, (*address, index))
    else:
        yield address, block
        yield from block_addresses(block.children, address)


def statements_order(block: Block) -> list[Part]:
    """Return the parts in the order of generated statements: a shortcut is taken first."""
    if block.kind == "residual":
        body, shortcut = block.branches
        return [*shortcut, *body]
    return list(block.children)


def running_order(parts: Sequence[Part]) -> Iterator[Node]:
    """Yield the nodes of `parts` and of all blocks in them as generated statements apply them."""
    for part in parts:
        if isinstance(part, Node):
            yield part
        else:
            yield from running_order(statements_order(part))


@contextmanager
def _replaced(
    kinds: set[type], method: str, by: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    originals = {kind: vars(kind)[method] for kind in kinds}
    try:
        for kind, original in originals.items():
            setattr(kind, method, by(original))
        yield
    finally:
        for kind, original in originals.items():
            setattr(kind, method, original)


@lru_cache(maxsize=1000)
def _statements(function: Callable[..., Any]) -> list[tuple[CodeType, str, str]]:
    """Return each statement's code, its text and the name it assigns to; of a return, its value."""
    text = textwrap.dedent(inspect.getsource(function))
    lines = text.splitlines()
    definition = ast.parse(text).body[0]
    assert isinstance(definition, ast.FunctionDef)
    label = f"<{function.__qualname__}>"
    found = []
    for statement in definition.body:
        written = "\n".join(lines[statement.lineno - 1 : statement.end_lineno])
        if isinstance(statement, ast.Return):
            assert statement.value is not None
            code = compile(ast.Expression(statement.value), label, "eval")
            found.append((code, written, "return"))
            break
        code = compile(ast.Module([statement], []), label, "exec")
        found.append((code, written, _target(statement)))
    return found


def _target(statement: ast.stmt) -> str:
    """Return the name that a statement assigns to; of a compound one, the last in its body."""
    if isinstance(statement, ast.Assign):
        return ast.unparse(statement.targets[0])
    body = statement.body if isinstance(statement, ast.If | ast.With) else []
    return next(filter(None, map(_target, reversed(body))), "")


def _run(
    function: Callable[..., Any],
    nodes: Sequence[Node],
    given: dict[str, Any],
    record: dict[str, Any],
    keep: Callable[[Any], Any],
) -> Any:
    """Run the body of `function`, note the output of each of its own layers, return its value.

    Layers come in their order: a statement belongs to the one reached last, or to the next.
    """
    scope = {**inspect.unwrap(function).__globals__, **given}
    reached = -1
    value = None
    for code, written, target in _statements(function):
        if target == "return":
            value = eval(code, scope)
            break
        exec(code, scope)
        if reached + 1 < len(nodes) and _is_named(nodes[reached + 1].name, written):
            reached += 1
        if reached >= 0 and _is_named(nodes[reached].name, written):
            record[nodes[reached].path] = keep(scope[target])
    missing = [node.path for node in nodes if node.path not in record]
    if missing:
        raise LookupError(f"{function.__qualname__} does not name the layers {missing}")
    return value


def _is_named(layer: str, statement: str) -> bool:
    """Whether a statement names a layer, rather than uses the same word in another sense."""
    ways = (
        rf"self\.{layer}(_kernel|_bias|_scale|_offset|_mean|_variance)?\b",
        rf'variable_scope\("{layer}"\)',
        rf'name="{layer}"',
        rf"# {layer}(:|$)",
    )
    return re.search("|".join(ways), statement, re.MULTILINE) is not None
