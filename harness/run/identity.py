"""What must be the same when a run is gone on with: what is trained, on what, by which code."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import harness
from harness.data import Dataset
from harness.errors import UsageError
from harness.registry import BackendInfo
from harness.run.plan import Plan
from harness.spec import parameters_hash

SHOWN = 5  # differences in one message
MACHINE = ("cpu", "cpu_generation", "cpus_available", "architecture", "gpus", "machine_key")


def source_hash(root: Path) -> str:
    """Return twelve hex digits over a Python file, or all of a package, whatever git says of it."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def identity(plan: Plan, dataset: Dataset, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run is of, as JSON has it; `machine` is what `describe_machine` returns.

    How long to wait and how often to try again is not part of it.
    """
    return {
        "spec": json.loads(plan.spec.model_dump_json()),
        "dataset": {"name": dataset.name, "hash": dataset.hash},
        "backends": {info.label: _backend(info) for info in plan.backends},
        "reference": _backend(plan.reference),
        "device": plan.device,
        "seeds": len(plan.seeds),
        "precision": plan.precision,
        "environment": plan.environment,
        "threads": plan.threads,
        "block_steps": plan.block_steps,
        "initial_weights": None if plan.initial is None else parameters_hash(plan.initial),
        "save_weights": plan.save_weights,
        "target_accuracy": plan.target_accuracy,
        "stream": plan.stream,
        "limit": bool(plan.probing),
        "machine": {name: machine[name] for name in MACHINE},
        "versions": {
            "python": machine["python"],
            "harness": machine["harness"],
            "harness code": source_hash(Path(harness.__file__).parent),
        },
    }


def _backend(info: BackendInfo) -> dict[str, Any]:
    package = info.target.partition(":")[0].partition(".")[0]
    code = _package_hash(package)
    return {"target": info.target, "versions": dict(info.versions), "code": code}


@cache
def _package_hash(package: str) -> str:
    """Return the hash of a package's source, which is found and not imported; "" without one."""
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return ""
    if found is None or found.origin is None:
        return ""
    root = Path(found.origin)
    return source_hash(root.parent if root.name == "__init__.py" else root)


def refuse_changed(before: Mapping[str, Any], now: Mapping[str, Any], place: Path) -> None:
    """See that a run is gone on with as it was begun.

    Raises:
        UsageError: something differs; the message says what, and how.

    """
    found = list(differences(before, json.loads(json.dumps(now))))
    if found:
        more = f"\n  and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        lines = "".join(f"\n  {line}" for line in found[:SHOWN])
        raise UsageError(
            f"--resume {place}: what was begun there is not what would go on:{lines}{more}\n"
            "Rows of both would not be of one run. Try: undo the change, or --out with a new folder"
        )


def differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Yield each place in which two JSON values differ, with both values."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            inner = f"{path}.{key}" if path else str(key)
            yield from differences(before.get(key), now.get(key), inner)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for place, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from differences(old, new, f"{path}[{place}]")
    elif before != now:
        yield f"{path}: {_short(before)} then, {_short(now)} now"


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
