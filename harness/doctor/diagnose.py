"""All that is looked at, in the order in which it is shown."""

from __future__ import annotations

from collections.abc import Callable

from harness import registry
from harness.doctor.backends import look_at_backends, missing_backends
from harness.doctor.finding import Finding
from harness.doctor.load import look_at_load
from harness.doctor.machine import look_at_machine
from harness.doctor.packages import look_at_packages
from harness.doctor.places import look_at_caches, look_at_data, look_at_environment
from harness.errors import HarnessError, NotInstalledError, UsageError


def diagnose(backend: str = "all", tell: Callable[[str], None] = lambda _: None) -> list[Finding]:
    """Look at everything; `backend` names those whose frameworks are imported, as for `run`.

    The machine's load comes first, before workers load it. `tell` hears what is being done.

    Raises:
        UsageError: there is no such backend.

    """
    tell("watching the machine")
    load = look_at_load()
    known = registry.describe()
    found = [*look_at_packages(), *_backends(backend, known, tell)]
    found += [*look_at_machine(), *load, *look_at_environment(known)]
    return [*found, *look_at_data(), *look_at_caches()]


def _backends(
    request: str, known: list[registry.BackendInfo], tell: Callable[[str], None]
) -> list[Finding]:
    """Return what became of each that was asked for, whether or not it is installed."""
    try:
        chosen, skipped = registry.select(request, known, predicting="float32")
    except (NotInstalledError, UsageError) as error:
        if str(error).startswith("unknown backend"):
            raise
        said, _, mend = str(error).rpartition("Try: ")
        return [Finding("backends", request, "wrong", said.partition("\n")[0].rstrip(". "), mend)]
    named = [info for info, _ in skipped]
    broken = [(info, info.error) for info in known if info.error and info not in named]
    try:
        found = look_at_backends(chosen, tell)
    except (HarnessError, OSError) as error:
        found = [Finding("backends", request, "wrong", f"no worker can be started: {error}")]
    return [*found, *missing_backends([*skipped, *(broken if request == "all" else [])])]
