"""The two sides of a comparison: a backend, an interpreter, a checkout, environment variables."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from harness import registry
from harness.contract import Precision
from harness.errors import UsageError, WorkerError, did_you_mean
from harness.machine import commit
from harness.run.cell import Side
from harness.run.checked import network_hash
from harness.run.checkout import checkout, paths_of
from harness.run.environment import Environment
from harness.run.folder import now
from harness.run.pairs import Contestant, PairBench
from harness.run.plan import Stream

# Those of the command that a side may have for itself: what it computes stays the same.
OPTIONS = {
    "precision": get_args(Precision),
    "environment": get_args(Environment),
    "stream": get_args(Stream)[1:],
}


@dataclass(frozen=True)
class Wanted:
    """One side as it was asked for: `name` is A or B, the rest is empty where not given.

    `environment`, of variables, and `options`, of `OPTIONS`, hold NAME=VALUE.
    """

    name: str
    backend: str
    python: str = ""
    revision: str = ""
    environment: Sequence[str] = ()
    options: Sequence[str] = ()

    @property
    def is_elsewhere(self) -> bool:
        """Whether its worker runs other code than the harness itself."""
        return bool(self.python or self.revision)

    @property
    def description(self) -> str:
        """The backend, and what is special to the side."""
        parts = [self.python, self.revision, *self.environment, *self.options]
        return " ".join([self.backend, *(f"[{part}]" for part in parts if part)])


@contextmanager
def contestant(
    wanted: Wanted, known: list[registry.BackendInfo] | None = None
) -> Iterator[Contestant]:
    """Find a side's backend where its worker will find it; a checkout ends with the context.

    `known` are the backends of the harness's own interpreter, looked up if not given.

    Raises:
        UsageError: there is no such interpreter, revision, variable or backend, or the backends
            of that interpreter or revision cannot be listed.

    """
    letter = wanted.name.lower()
    environment = _named(wanted.environment, f"--env-{letter}", "NAME=1")
    python = _interpreter(wanted.python, f"--python-{letter}") if wanted.python else sys.executable
    if not wanted.revision:
        if wanted.python:
            # Its own packages, not those of the harness that asks.
            environment = {"PYTHONPATH": "", "PYTHONSAFEPATH": "1", **environment}
        yield _contestant(wanted, python, environment, known)
        return
    with checkout(wanted.revision, f"--checkout-{letter}") as place:
        paths = paths_of(place, "" if wanted.python else os.environ.get("PYTHONPATH", ""))
        environment = {"PYTHONPATH": paths, "PYTHONSAFEPATH": "1", **environment}
        found = _contestant(wanted, python, environment, known)
        _see_that_it_is_there(found, wanted, place)
        yield found


def _contestant(
    wanted: Wanted,
    python: str,
    environment: dict[str, str],
    known: list[registry.BackendInfo] | None,
) -> Contestant:
    if wanted.is_elsewhere or known is None:
        try:
            known = registry.describe(python, {**os.environ, **environment})
        except WorkerError as error:
            raise UsageError(
                f"side {wanted.name}: {error}\nTry: an interpreter that has cnn-harness, or a "
                "revision whose backends load"
            ) from None
    chosen, _ = registry.select(wanted.backend, known)
    if len(chosen) != 1:
        labels = ", ".join(info.label for info in chosen)
        raise UsageError(
            f"side {wanted.name}: {wanted.backend!r} is {len(chosen)} backends: {labels}. "
            f"Try: {chosen[0].label}"
        )
    return Contestant(wanted.name, chosen[0], Side(python, environment), _options(wanted))


def _see_that_it_is_there(found: Contestant, wanted: Wanted, place: Path) -> None:
    """See that a backend comes from the checkout: else both sides would run what is installed.

    Raises:
        UsageError: it does not; an older harness does not tell.

    """
    origin = found.info.origin
    if origin and not Path(origin).resolve().is_relative_to(place.resolve()):
        raise UsageError(
            f"--checkout-{wanted.name.lower()} {wanted.revision}: its packages are looked for at "
            f"its top and in src, and {found.info.label} is not there, but in {origin}. "
            "Try: from within the repository that has the backend"
        )


def _interpreter(text: str, option: str) -> str:
    found = shutil.which(Path(text).expanduser())
    if found is None:
        raise UsageError(f"{option} {text}: no such program. Try: {option} FOLDER/.venv/bin/python")
    # Absolute, but not resolved: a virtual environment's interpreter is a link.
    return os.path.abspath(found)  # noqa: PTH100 (Path.absolute leaves `..` in)


def _options(wanted: Wanted) -> dict[str, str]:
    option, example = f"--option-{wanted.name.lower()}", "precision=bfloat16"
    found = _named(wanted.options, option, example)
    for name, value in found.items():
        if name not in OPTIONS:
            raise UsageError(
                f"{option} {name}={value}; allowed: {', '.join(OPTIONS)}."
                f"{did_you_mean(name, OPTIONS)} Try: {option} {example}"
            )
        if value not in OPTIONS[name]:
            raise UsageError(
                f"{option} {name}={value}; allowed: {', '.join(OPTIONS[name])}."
                f"{did_you_mean(value, OPTIONS[name])} Try: {option} {name}={OPTIONS[name][0]}"
            )
    return found


def _named(given: Sequence[str], option: str, example: str) -> dict[str, str]:
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or "\0" in text:
            raise UsageError(f"{option} {text!r}; allowed: NAME=VALUE. Try: {option} {example}")
        found[name] = value
    return found


def provenance(bench: PairBench, wanted: Sequence[Wanted]) -> dict[str, Any]:
    """Return what was measured, on what, and with what on each side, as JSON wants it."""
    plan, shared = bench.bench.plan, bench.bench
    head, dirty = commit()
    return {
        "sides": {
            side.name: {
                "backend": side.backend,
                "python": side.python,
                "revision": side.revision,
                "environment": list(side.environment),
                "options": list(side.options),
                "versions": bench.versions.get(side.name, {}),
            }
            for side in wanted
        },
        "finished_at": now(),
        "model": plan.spec.name,
        "model_hash": plan.spec.hash,
        "network_hash": network_hash(plan.spec),
        "dataset": shared.dataset.name,
        "dataset_hash": shared.dataset.hash,
        "device": plan.device,
        "precision": plan.precision,
        "environment": plan.environment,
        "threads": plan.threads,
        "batch_size": plan.spec.training.batch_size,
        "block_steps": shared.block_steps,
        "rounds": bench.rounds,
        "machine_key": shared.machine_key,
        "commit": head,
        "dirty": dirty,
    }
