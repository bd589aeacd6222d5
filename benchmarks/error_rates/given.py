"""The backends on a source that lies there already: the one side of a comparison is slowed so.

`harness ab given@torch given@torch --plugin benchmarks.error_rates.given:Given
--env-a GIVEN_SOURCE=FILE --env-b GIVEN_SOURCE=ANOTHER` compares the two files.
"""

from __future__ import annotations

import ast
import os
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar

from harness.contract import Backend, DeviceInfo, Precision, Session, Setting
from harness.registry import GROUP, load_backend
from harness.spec import Spec

VARIABLE = "GIVEN_SOURCE"
TARGET = "benchmarks.error_rates.given:Given"
SIZE = 96  # of the matrices: a product is some 10 microseconds

# A function that multiplies matrices and leaves nothing of them, and its call at the head of the
# training step. Where a compiler might drop, hoist or hide the work, the step's input depends on
# its result, and that on the step: numbers that are not below 0 are cut off above 0.
TORCH = f"""
WORK = torch.full(({SIZE}, {SIZE}), 1 / {SIZE})


def spend(repetitions):
    x = WORK
    for _ in range(repetitions):
        x = x @ WORK
"""
FLAX = f"""
WORK = jnp.full(({SIZE}, {SIZE}), 1 / {SIZE}, jnp.float32)


def spend(repetitions, number):
    x = WORK * (1 + number)
    x = jax.lax.fori_loop(0, repetitions, lambda _, x: x @ WORK, x)
    return jnp.minimum(x[0, 0], 0)
"""
TENSORFLOW = f"""
WORK = tf.fill([{SIZE}, {SIZE}], 1 / {SIZE})


def spend(repetitions, images):
    x = WORK * (1 + tf.abs(images[0, 0, 0, 0]))
    for _ in range(repetitions):
        x = x @ WORK
    return tf.minimum(x[0, 0], 0)
"""
EXTRA = {
    "torch": (TORCH, "spend({})"),
    "flax": (FLAX, "batch = batch + spend({}, learning_rate).astype(batch.dtype)"),
    "tensorflow": (TENSORFLOW, "images = images + spend({}, images)"),
    "keras": (TENSORFLOW, "images = images + spend({}, images)"),
}


def slowed(source: str, backend: str, repetitions: int) -> str:
    """Return a backend's source with `repetitions` products more in each training step.

    None of them leaves the source as it is.
    """
    if not repetitions:
        return source
    function, call = EXTRA[backend]
    step = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef) and node.name == "train_step"
    )
    has_docstring = ast.get_docstring(step) is not None
    head = min([step.lineno, *(decorator.lineno for decorator in step.decorator_list)]) - 1
    begin = step.body[has_docstring].lineno - 1
    lines = source.splitlines()
    lines[begin:begin] = [f"    {call.format(repetitions)}"]
    lines[head:head] = [*function.strip("\n").splitlines(), "", ""]
    return "\n".join(lines) + "\n"


def backend_of(name: str) -> Backend:
    """Return the backend that is registered under `name`."""
    (entry,) = entry_points(group=GROUP, name=name)
    found: Backend = load_backend(entry.value.partition("[")[0].strip())
    return found


class Given:
    """Every variant is a backend, whose source is the file that `GIVEN_SOURCE` names."""

    name = "given"
    variants: ClassVar = {
        "": ("torch",),
        "torch": ("torch",),
        "flax": ("flax",),
        "tensorflow": ("tensorflow",),
        "keras": ("keras", "tensorflow"),
    }
    in_all = False

    def prepare(self, variant: str, setting: Setting) -> None:
        """Import the framework."""
        self.backend = backend_of(variant or "torch")
        self.backend.prepare("", setting)

    def versions(self) -> dict[str, str]:
        """Return the framework's versions."""
        return self.backend.versions()

    def devices(self) -> list[DeviceInfo]:
        """Return the framework's devices."""
        return self.backend.devices()

    def source(self, spec: Spec, variant: str, precision: Precision = "float32") -> str:
        """Return the source as it lies there."""
        return Path(os.environ[VARIABLE]).read_text(encoding="utf-8")

    def open(self, path: Path, spec: Spec, variant: str, setting: Setting) -> Session:
        """Open the source as the backend's own."""
        return self.backend.open(path, spec, "", setting)


def own_source(name: str, spec: Any) -> str:
    """Return the source that a backend writes for `spec`; its framework is not imported."""
    return backend_of(name).source(spec, "")
