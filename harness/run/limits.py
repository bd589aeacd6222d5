"""How long a worker may take, how long it may be silent, and how much memory it may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.errors import UsageError

PHASES = ("import", "build", "compile", "train", "evaluate", "predict")
# What a command is part of; any other is `compile`, until a backend is warmed up, and then `train`.
_COMMANDS = {"prepare": "import", "open": "build", "evaluate": "evaluate", "predict": "predict"}
SILENCE = 60.0
# A block that takes this many times as long as the slowest before it is no slow block any more.
SLOWER = 20.0
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
LEAST_MEMORY, MOST_MEMORY = 10**7, 10**15


@dataclass(frozen=True)
class Limits:
    """Limits on one worker: seconds for an answer, by phase, and of silence; bytes of memory.

    A worker gives a sign of life with each answer, which while training is one for each block, and
    between the batches of an evaluation. What may compile has no limit on silence.
    """

    timeout: float = 900.0
    phases: Mapping[str, float] = field(default_factory=dict)
    silence: float = SILENCE
    memory: int | None = None

    def seconds(self, command: str, is_warm: bool) -> float:
        """Return the longest wait for the answer to a command."""
        phase = _COMMANDS.get(command, "train" if is_warm else "compile")
        return self.phases.get(phase, self.timeout)

    def silent(self, longest: float | None) -> float:
        """Return the longest silence of a worker that answers to the same command again.

        `longest` is how long it was silent before; None: it may have to compile first.
        """
        return float("inf") if longest is None else max(self.silence, SLOWER * longest)


def parse_timeout(text: str) -> tuple[float, dict[str, float]]:
    """Return seconds for all phases and for single ones, from `900` or `900,compile:1800`.

    Raises:
        UsageError: a phase is unknown, or a number is none; its range is `make_plan`'s to check.

    """
    default, phases = Limits.timeout, {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        phase, colon, number = part.rpartition(":")
        if colon and phase not in PHASES:
            raise UsageError(
                f"--timeout {part!r}; allowed: SECONDS, and PHASE:SECONDS with the phases "
                f"{', '.join(PHASES)}. Try: --timeout 900,compile:1800"
            )
        try:
            seconds = float(number)
        except ValueError:
            raise UsageError(
                f"--timeout {part!r}: {number!r} is no number of seconds. Try: --timeout 900"
            ) from None
        if colon:
            phases[phase] = seconds
        else:
            default = seconds
    return default, phases


def parse_memory(text: str) -> int:
    """Return bytes from `8GB`, `500 MB` or a number; units are powers of ten.

    Raises:
        UsageError: it is no size, or out of range.

    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)b?", text.strip().lower())
    size = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not LEAST_MEMORY <= size <= MOST_MEMORY:
        raise UsageError(f"--memory {text!r}; allowed: 10MB and more. Try: --memory 8GB")
    return int(size)
