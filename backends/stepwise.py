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
    it, as `self.conv1` does, or a comment on its line. Other statements just run. So the outputs
    are those of the code that is timed, whatever has become of it.

    Raises:
        LookupError: a layer is not named in the body.

    """
    text = textwrap.dedent(inspect.getsource(function))
    lines = text.splitlines()
    definition = ast.parse(text).body[0]
    assert isinstance(definition, ast.FunctionDef)
    names = list(layers)
    scope = {**inspect.unwrap(function).__globals__, **arguments}
    outputs: dict[str, Any] = {}
    for statement in definition.body:
        if isinstance(statement, ast.Return):
            break
        code = ast.Module([statement], type_ignores=[])
        exec(compile(code, f"<{function.__qualname__}>", "exec"), scope)
        written = "\n".join(lines[statement.lineno - 1 : statement.end_lineno])
        for name in names:
            if re.search(rf"\b{name}(_kernel|_bias)?\b", written):
                outputs[name] = scope["x"]
    missing = [name for name in names if name not in outputs]
    if missing:
        raise LookupError(f"{function.__qualname__} does not name the layers {missing}")
    return outputs
