"""Every layer's output, from the generated file itself, by running it statement by statement."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable
from typing import Any


def layer_outputs(
    function: Callable[..., Any], layers: Iterable[str], **arguments: Any
) -> dict[str, Any]:
    """Run the body of `function` and return the value of `x` after each layer.

    In generated sources the data flows through `x`, and the last statement of each layer names
    it, as `self.conv1` does, or a comment at the end of its line. Other statements just run. So
    the outputs are those of the code that is timed, whatever has become of it.

    Layers come in their order: a statement belongs to the one reached last, or to the next.

    Raises:
        LookupError: a layer is not named in the body.

    """
    text = textwrap.dedent(inspect.getsource(function))
    lines = text.splitlines()
    definition = ast.parse(text).body[0]
    assert isinstance(definition, ast.FunctionDef)
    names = list(layers)
    reached = -1
    scope = {**inspect.unwrap(function).__globals__, **arguments}
    outputs: dict[str, Any] = {}
    for statement in definition.body:
        if isinstance(statement, ast.Return):
            break
        code = ast.Module([statement], type_ignores=[])
        exec(compile(code, f"<{function.__qualname__}>", "exec"), scope)
        written = "\n".join(lines[statement.lineno - 1 : statement.end_lineno])
        if reached + 1 < len(names) and _is_named(names[reached + 1], written):
            reached += 1
        if reached >= 0 and _is_named(names[reached], written):
            outputs[names[reached]] = scope["x"]
    missing = [name for name in names if name not in outputs]
    if missing:
        raise LookupError(f"{function.__qualname__} does not name the layers {missing}")
    return outputs


def _is_named(layer: str, statement: str) -> bool:
    """Whether a statement names a layer, rather than uses the same word in another sense."""
    ways = (
        rf"self\.{layer}(_kernel|_bias)?\b",
        rf'variable_scope\("{layer}"\)',
        rf'name="{layer}"',
        rf"# {layer}(:|$)",
    )
    return re.search("|".join(ways), statement, re.MULTILINE) is not None
