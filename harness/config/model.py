"""What a project's file may say: every field is called as the option of the command line is.

Axes have their plural, and hold several values. What is left out is as on the command line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from harness.contract import Precision
from harness.errors import UsageError, did_you_mean
from harness.run.environment import Environment
from harness.run.limits import SILENCE, parse_memory, parse_timeout
from harness.run.plan import (
    MOST_BATCH,
    MOST_EPOCHS,
    MOST_RETRIES,
    MOST_SEEDS,
    MOST_TIMEOUT,
    DeviceRequest,
    Stream,
)
from harness.verdict.compare import DIFFERENCES
from harness.verdict.limits import parse_limits, parse_share

MOST_VALUES = 1000  # of an axis


class Section(BaseModel):
    """Base of every part: strict types, no unknown fields, names with hyphens."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        alias_generator=lambda name: name.replace("_", "-"),
    )


def _different(values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    if values is not None and not values:
        raise ValueError("is empty; allowed: one value or more")
    for place, value in enumerate(values or ()):
        if values and value in values[:place]:
            raise ValueError(f"has {value!r} twice; allowed: each value once")
    return values


def _read_by(parse: Callable[[str], object]) -> AfterValidator:
    """Have a text read as the command line reads it, whose message begins with the option."""

    def check(value: str) -> str:
        try:
            parse(value)
        except UsageError as error:
            text = str(error).partition(" Try: ")[0]
            _, is_allowed, allowed = text.partition("; allowed: ")
            if is_allowed and "unknown" not in text:
                raise ValueError(f"does not fit; allowed: {allowed}") from None
            raise ValueError(text.partition(": ")[2] or text) from None
        return value

    return AfterValidator(check)


def _parse_seconds(text: str) -> None:
    """See that `--timeout` would take it.

    Raises:
        UsageError: it would not.

    """
    seconds, phases = parse_timeout(text)
    if not all(1.0 <= limit <= MOST_TIMEOUT for limit in (seconds, *phases.values())):
        raise UsageError(f"--timeout; allowed: 1 to {MOST_TIMEOUT:g} seconds")


def _as_text(value: object) -> object:
    """Take a plain number for what `--timeout` takes."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(value) if is_number else value


def _difference(value: str) -> str:
    allowed = (*DIFFERENCES, "all")
    if value not in allowed:
        hint = did_you_mean(value, allowed)
        raise ValueError(f"is unknown; allowed: {', '.join(allowed)}.{hint}")
    return value


Several = Field(max_length=MOST_VALUES)
Words = Annotated[tuple[str, ...], AfterValidator(_different), Several]
Batch = Annotated[int, Field(ge=1, le=MOST_BATCH)]
Share = Annotated[str, _read_by(lambda text: parse_share("", text))]


class Combination(Section):
    """Part of a combination: all that have these values are meant; words may be globs."""

    model: str | None = None
    dataset: str | None = None
    device: str | None = None
    batch_size: Batch | None = None
    precision: str | None = None


class Matrix(Section):
    """Runs: one for each model, dataset, device, batch size and precision, with all backends.

    Those of `exclude` are left out. The other fields hold for all of them.
    """

    models: Words
    datasets: Words = ("digits",)
    backends: Words = ("all",)
    devices: Annotated[tuple[DeviceRequest, ...], AfterValidator(_different), Several] = ("all",)
    batch_sizes: Annotated[tuple[Batch, ...] | None, AfterValidator(_different), Several] = None
    precisions: Annotated[tuple[Precision, ...], AfterValidator(_different), Several] = ("float32",)
    exclude: Annotated[tuple[Combination, ...], Several] = ()

    plugins: tuple[str, ...] = ()
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] = 3
    fit: bool = False
    epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS)] | None = None
    environment: Environment = "tuned"
    threads: Annotated[int, Field(ge=1)] | None = None
    target_accuracy: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    block_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    stream: Stream = "auto"
    timeout: Annotated[str, BeforeValidator(_as_text), _read_by(_parse_seconds)] = "900"
    silence: Annotated[float, Field(ge=1.0, le=MOST_TIMEOUT)] = SILENCE
    memory: Annotated[str, _read_by(parse_memory)] | None = None
    retries: Annotated[int, Field(ge=0, le=MOST_RETRIES)] = 0
    save_weights: bool = False
    no_limit: bool = False
    log_to: str | None = None


class Gate(Section):
    """What `compare` and `ab` judge by, where the command line does not say otherwise."""

    fail_on: Annotated[str, _read_by(parse_limits)] | None = None
    allow_changed: tuple[Annotated[str, AfterValidator(_difference)], ...] = ()
    inconclusive_ok: bool = False
    threshold: Share | None = None
    tolerance: Share | None = None


class Config(Section):
    """The whole of it: `[tool.harness]` in pyproject.toml, or a file of its own."""

    matrix: Matrix | None = None
    gate: Gate = Gate()
