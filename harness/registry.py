"""Which backends there are: entry points of the group `harness.backends`.

The harness itself never imports a backend. `describe` asks a short-lived process to load the
classes (which do not import their frameworks) and say what they are.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from importlib.metadata import entry_points, packages_distributions, version
from typing import Any

from harness.errors import HarnessError, NotInstalledError, UsageError, did_you_mean

GROUP = "harness.backends"
DESCRIBE_SECONDS = 120.0
MARK = "harness.backends="  # begins the line that describes them, among what plug-ins print


@dataclass(frozen=True)
class BackendInfo:
    """One variant of a backend, as a user names it.

    `target` is `module:Class`; `missing` lists modules that are not installed; `versions` those
    of the modules it imports, from their metadata; `error` says why the class does not load.
    """

    backend: str
    variant: str
    target: str
    in_all: bool
    missing: tuple[str, ...]
    versions: dict[str, str]
    install: str
    error: str = ""

    @property
    def label(self) -> str:
        """`torch`, or `torch@compile`."""
        return f"{self.backend}@{self.variant}" if self.variant else self.backend


def load_backend(target: str) -> Any:
    """Import the class `module:Class` and make one; only a worker does this."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)()


def describe_here() -> list[BackendInfo]:
    """Load every registered class in this process, and describe its variants."""
    found: dict[str, BackendInfo] = {}
    distributions = packages_distributions()
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        target, bracket, extras = entry.value.replace(" ", "").partition("[")
        package = entry.dist.name if entry.dist else "cnn-harness"
        install = f'pip install "{package}{bracket}{extras}"'
        try:
            infos = _variants(entry.name, target, install, distributions)
        except (Exception, SystemExit) as error:  # a broken plug-in must not hide the others
            reason = f"{type(error).__name__}: {error}"
            infos = [BackendInfo(entry.name, "", target, False, (), {}, install, reason)]
        found |= {info.label: info for info in infos}
    return list(found.values())


def _variants(
    name: str, target: str, install: str, distributions: Mapping[str, list[str]]
) -> list[BackendInfo]:
    """Load one class and describe what it offers."""
    backend = load_backend(target)
    in_all = bool(backend.in_all)
    infos = []
    for variant, modules in backend.variants.items():
        missing = tuple(m for m in modules if not _is_installed(m))
        versions = {
            m: version(distributions[m][0])
            for m in modules
            if m not in missing and m in distributions
        }
        infos.append(BackendInfo(name, variant, target, in_all, missing, versions, install))
    return infos


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a.b, where there is no a
        return False


def describe() -> list[BackendInfo]:
    """Describe all registered backends, from a process of their own.

    Raises:
        HarnessError: that process failed.

    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", "from harness import registry; registry.print_description()"],
            capture_output=True,
            text=True,
            timeout=DESCRIBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HarnessError(
            f"cannot list the backends: a plug-in did not load in {DESCRIBE_SECONDS:g} s"
        ) from None
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode != 0 or not lines:
        raise HarnessError(f"cannot list the backends:\n{done.stderr.strip()[-2000:]}")
    return [
        BackendInfo(**{**item, "missing": tuple(item["missing"])})
        for item in json.loads(lines[0].removeprefix(MARK))
    ]


def print_description() -> None:
    """Print `describe_here` as one line of JSON, whatever plug-ins print; for `describe`."""
    infos = [asdict(info) for info in describe_here()]
    print(f"\n{MARK}{json.dumps(infos)}")


def select(
    request: str, known: list[BackendInfo]
) -> tuple[list[BackendInfo], list[tuple[BackendInfo, str]]]:
    """Resolve `all`, names, `name@variant` and globs, separated by commas.

    Returns:
        The chosen ones in the order asked for, and those that `all` or a glob left out because
        they are not installed, each with the reason.

    Raises:
        UsageError: a part names nothing; the message lists what there is.
        NotInstalledError: a backend named in full lacks its framework; the message has the line
            that installs it.

    """
    chosen: dict[str, BackendInfo] = {}
    skipped: dict[str, tuple[BackendInfo, str]] = {}
    parts = [part.strip() for part in request.split(",") if part.strip()]
    if not parts:
        raise UsageError(f"--backend {request!r} leaves no backend to run. Try: --backend all")
    for part in parts:
        for info in _matches(part, known):
            reason = info.error or (f"{', '.join(info.missing)} not installed" * bool(info.missing))
            if not reason:
                chosen[info.label] = info
            elif part == info.label:
                raise NotInstalledError(f"backend {part!r}: {reason}. Try: {info.install}")
            else:
                skipped[info.label] = (info, f"{reason}. To add it: {info.install}")
    if not chosen:
        reasons = "".join(f"\n  {info.label}: {why}" for info, why in skipped.values())
        raise UsageError(
            f"--backend {request!r} leaves no backend to run.{reasons}\n"
            'Try: pip install "cnn-harness[all]"'
        )
    return list(chosen.values()), list(skipped.values())


def _matches(part: str, known: list[BackendInfo]) -> list[BackendInfo]:
    if part == "all":
        return [info for info in known if info.in_all and not info.variant]
    found = [info for info in known if fnmatchcase(info.label, part)]
    if not found:
        labels = [info.label for info in known]
        raise UsageError(
            f"unknown backend {part!r}; known: {', '.join(labels)}, all, and globs."
            f"{did_you_mean(part, labels)} Try: python -m harness backends"
        )
    return found
