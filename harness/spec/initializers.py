"""How initial weights are chosen: drawn by a scheme, or all one value."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from harness.spec.layers import Model

Scheme = Literal[
    "glorot_uniform",
    "glorot_normal",
    "glorot_truncated",
    "he_uniform",
    "he_normal",
    "he_truncated",
    "lecun_uniform",
    "lecun_normal",
    "lecun_truncated",
]


class ConstantInitializer(Model):
    """All values the same: `{type = "constant", value = 0.1}`."""

    type: Literal["constant"]
    value: Annotated[float, Field(ge=-1000.0, le=1000.0)]


def _form(value: Any) -> str:
    return "table" if isinstance(value, dict | ConstantInitializer) else "word"


FORMS = ("word", "table")  # in the place of a type where a mistake lies
Constant = Annotated[ConstantInitializer, Tag("table")]
KernelInitializer = Annotated[
    Annotated[Literal[Scheme, "zeros"], Tag("word")] | Constant, Discriminator(_form)
]
BiasInitializer = Annotated[
    Annotated[Literal["zeros"], Tag("word")] | Constant, Discriminator(_form)
]


def constant_of(initializer: str | ConstantInitializer) -> float | None:
    """The value that all begin at; None where they are drawn."""
    if isinstance(initializer, ConstantInitializer):
        return initializer.value
    return 0.0 if initializer == "zeros" else None
