"""`--fail-on train:5%,accuracy:1pt,memory:10%`: which measures are judged, and how strictly."""

from __future__ import annotations

import re
from collections.abc import Collection

from harness.errors import UsageError, did_you_mean

MEASURES = ("train", "predict", "compile", "memory", "accuracy")
DEFAULT = "train:2.5%,accuracy:1pt,memory:10%"
FORM = re.compile(r"([a-z]+):(\d+(?:\.\d+)?)\s*(%|pt)")
MOST = 1000.0


def parse_limits(text: str, allowed: Collection[str] = MEASURES) -> dict[str, float]:
    """Return the threshold of each measure, as a share: `5%` and `5pt` are .05.

    Raises:
        UsageError: a part is no measure and limit; the message says what is.

    """
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = FORM.fullmatch(part)
        name, number, unit = match.groups() if match else (part.partition(":")[0], "", "")
        if name not in allowed:
            raise UsageError(
                f"--fail-on {part!r}: unknown measure {name!r}; allowed: {', '.join(allowed)}."
                f"{did_you_mean(name, allowed)} Try: --fail-on train:5%"
            )
        wanted = "pt" if name == "accuracy" else "%"
        if unit != wanted or not 0 < float(number) <= MOST:
            example = "accuracy:1pt" if name == "accuracy" else f"{name}:5%"
            raise UsageError(
                f"--fail-on {part!r}; allowed: a number above 0, then {wanted}. "
                f"Try: --fail-on {example}"
            )
        found[name] = float(number) / 100
    if not found:
        raise UsageError(f"--fail-on {text!r} names no measure. Try: --fail-on {DEFAULT}")
    return found


def parse_share(option: str, text: str) -> float:
    """Return a share from `2.5%`; the sign may be left out.

    Raises:
        UsageError: it is no number above 0.

    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%?", text.strip())
    if not match or not 0 < float(match[1]) <= MOST:
        raise UsageError(f"{option} {text!r}; allowed: a number above 0, in %. Try: {option} 5%")
    return float(match[1]) / 100
