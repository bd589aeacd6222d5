"""Which backends there are: entry points of the group `harness.backends`, and plug-ins by target.

The harness itself never imports a backend. `describe` and `describe_plugin` ask a short-lived
process to load the classes (which do not import their frameworks) and say what they are.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from importlib.metadata import entry_points, packages_distributions, version
from typing import Any, NamedTuple

from harness.contract import Probing, faults_of
from harness.errors import (
    NotInstalledError,
    UsageError,
    WorkerError,
    did_you_mean,
)

GROUP = "harness.backends"
DESCRIBE_SECONDS = 120.0
DESCRIBING = """
import sys
from harness import registry
try:
    registry.print_description(sys.argv[1])
except TypeError:  # of an older harness, in another checkout
    registry.print_description()
"""
MARK = "harness.backends="  # begins the line that describes them, among what plug-ins print


@dataclass(frozen=True)
class BackendInfo:
    """One variant of a backend, as a user names it.

    `target` is `module:Class`; `missing` lists modules that are not installed; `versions` those
    of the modules it imports, from their metadata; `error` says why the class does not load;
    `precisions` are those that it can; `tuned` are environment variables of its own, for the
    tuned environment; `trains` is False where it only predicts; `probes` says whether it has work
    to measure the machine's limits with; `origin` is the file that the class was loaded from.
    """

    backend: str
    variant: str
    target: str
    in_all: bool
    missing: tuple[str, ...]
    versions: dict[str, str]
    install: str
    error: str = ""
    precisions: tuple[str, ...] = ("float32", "float64")
    tuned: Mapping[str, str] = field(default_factory=dict)
    trains: bool = True
    probes: bool = False
    origin: str = ""

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
    origin = getattr(sys.modules[target.partition(":")[0]], "__file__", None) or ""
    infos = []
    for variant, modules in backend.variants.items():
        missing = tuple(m for m in modules if not _is_installed(m))
        versions = {
            m: version(distributions[m][0])
            for m in modules
            if m not in missing and m in distributions
        }
        info = BackendInfo(name, variant, target, in_all, missing, versions, install)
        given = getattr(backend, "precisions", {}).get(variant, info.precisions)
        tuned = dict(getattr(backend, "tuned", {}).get(variant, {}))
        info = replace(info, precisions=tuple(given), tuned=tuned)
        trains, probes = bool(getattr(backend, "trains", True)), isinstance(backend, Probing)
        infos.append(replace(info, trains=trains, probes=probes, origin=origin))
    return infos


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a.b, where there is no a
        return False


def describe(
    python: str = sys.executable, environment: Mapping[str, str] | None = None
) -> list[BackendInfo]:
    """Describe all registered backends, from a process of their own.

    It is started with another `python`, or in another `environment`, where these are given.

    Raises:
        WorkerError: that process failed.

    """
    found, problem = _described("", python, environment)
    if found is None:
        raise WorkerError(f"cannot list the backends: {problem}", "crashed")
    return found


def describe_plugin(target: str) -> list[BackendInfo]:
    """Describe the variants of the class `module:Class`, whether it is registered or not.

    It is loaded in a process of its own: from the current folder, or from an installed package.

    Raises:
        UsageError: it cannot be loaded, or is no backend; the message says all that is wrong.
        WorkerError: it ended or blocked the process that loaded it.

    """
    module, colon, name = target.partition(":")
    if not colon or not name.isidentifier() or not all(map(str.isidentifier, module.split("."))):
        raise UsageError(
            f"--plugin {target!r}; allowed: module:Class, or module:Class@variant. "
            "Try: --plugin mypackage:MyBackend"
        )
    found, problem = _described(target)
    if found is None:
        raise WorkerError(f"--plugin {target}: {problem}", "crashed")
    if found[0].error:
        raise UsageError(f"--plugin {target}: {found[0].error}")
    return found


def _described(
    target: str, python: str = sys.executable, environment: Mapping[str, str] | None = None
) -> tuple[list[BackendInfo] | None, str]:
    """Have another process describe one class, or with "" all that are registered.

    Returns:
        What it said, or None and why it said nothing.

    """
    try:
        done = subprocess.run(
            [python, "-c", DESCRIBING, target],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DESCRIBE_SECONDS,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return None, f"a plug-in did not load in {DESCRIBE_SECONDS:g} s"
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode != 0 or not lines:
        said = done.stderr.strip()[-2000:]
        ended = f"the process that loads a plug-in ended with exit code {done.returncode}"
        return None, f"{ended}\n{said}" if said else ended
    return list(map(_info, json.loads(lines[0].removeprefix(MARK)))), ""


def _info(item: Mapping[str, Any]) -> BackendInfo:
    """Return what a process described; one of another harness may say more, or less."""
    known: dict[str, Any] = {n: item[n] for n in item if n in BackendInfo.__dataclass_fields__}
    for name in {"missing", "precisions"} & known.keys():
        known[name] = tuple(known[name])
    return BackendInfo(**known)


def print_description(target: str) -> None:
    """Print, for `_described`, one line of JSON, whatever plug-ins print."""
    infos = describe_plugin_here(target) if target else describe_here()
    print(f"\n{MARK}{json.dumps([asdict(info) for info in infos])}")


def describe_plugin_here(target: str) -> list[BackendInfo]:
    """Load one class in this process, and describe its variants, or say why it is no backend."""
    try:
        backend = _plugin(target)
        faults = faults_of(backend)
        if faults:
            raise LookupError(f"{target} is no backend: {'; '.join(faults)}. {_READ}")
        return _variants(backend.name, target, _INSTALL, packages_distributions())
    except LookupError as error:
        reason = str(error.args[0])
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
    return [BackendInfo("", "", target, False, (), {}, "", reason)]


_READ = "Read: docs/adding-a-backend.md"
_INSTALL = "pip install what its author names"


def _plugin(target: str) -> Any:
    """Import a class and make one.

    Raises:
        LookupError: there is no such module or class; the message says what there is.

    """
    module, _, name = target.partition(":")
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # of something that the module imports
        raise LookupError(
            f"there is no module {error.name!r}, in the current folder or installed in "
            f"{sys.prefix}. Try: pip install -e FOLDER_OF_THE_PLUG_IN"
        ) from None
    if not isinstance(getattr(loaded, name, None), type):
        own = [k for k, v in vars(loaded).items() if isinstance(v, type) and v.__module__ == module]
        classes = f"its own: {', '.join(own)}" if own else "it has none of its own"
        raise LookupError(f"module {module!r} has no class {name!r}; {classes}")
    return load_backend(target)


def as_installed(known: Sequence[BackendInfo]) -> list[BackendInfo]:
    """Return the same backends, none of which lacks its framework: for what does not need it."""
    return [replace(info, missing=()) for info in known]


class Choice(NamedTuple):
    """The backends chosen, those left out with the reason, and all there are."""

    chosen: list[BackendInfo]
    skipped: list[tuple[BackendInfo, str]]
    known: list[BackendInfo]


def choose(
    backend: str | None,
    plugins: Sequence[str],
    registered: Sequence[BackendInfo] | None = None,
    predicting: str = "",
) -> Choice:
    """Resolve what `--backend` names, and what `--plugin` does, each as often as it was given.

    Without either it is `all`. A plug-in's variants are known to `--backend`, too. `registered`
    are those that `describe` returns, where they are known already; `predicting` is as in
    `select`.

    Raises:
        UsageError: as `select` and `describe_plugin`; or a plug-in has the name of another backend.
        NotInstalledError: as `select`.
        WorkerError: as `describe_plugin`.

    """
    known = describe() if registered is None else list(registered)
    labels = []
    for plugin in plugins:
        target, at, variant = plugin.partition("@")
        found = describe_plugin(target)
        name = found[0].backend
        same = [info for info in known if info.backend == name]
        if any(info.target != target for info in same):
            raise UsageError(
                f"--plugin {plugin}: a backend named {name!r} is there already, {same[0].target}. "
                f"Try: another `name` in {target}"
            )
        allowed = [info.variant for info in found]
        if variant not in allowed or (at and not variant):
            there_are = ", ".join(filter(None, allowed)) or "none but the default one"
            raise UsageError(
                f"--plugin {plugin}: unknown variant {variant!r}; it has: {there_are}."
                f"{did_you_mean(variant, allowed)} Try: --plugin {target}"
            )
        known += [] if same else found
        labels.append(f"{name}@{variant}" if variant else name)
    if backend is not None or not labels:
        labels.append("all" if backend is None else backend)
    return Choice(*select(",".join(labels), known, predicting), known)


def select(
    request: str, known: list[BackendInfo], predicting: str = ""
) -> tuple[list[BackendInfo], list[tuple[BackendInfo, str]]]:
    """Resolve `all`, names, `name@variant` and globs, separated by commas.

    `predicting` is the precision of what is only to be predicted. Then `all` has also those that
    do nothing else; without it, they cannot be chosen.

    Returns:
        The chosen ones in the order asked for, and those that `all` or a glob left out because
        they are not installed or cannot do it, each with the reason.

    Raises:
        UsageError: a part names nothing, the message lists what there is; or a backend that only
            predicts is to train.
        NotInstalledError: a backend named in full lacks its framework; the message has the line
            that installs it.

    """
    chosen: dict[str, BackendInfo] = {}
    skipped: dict[str, tuple[BackendInfo, str]] = {}
    parts = [part.strip() for part in request.split(",") if part.strip()]
    if not parts:
        raise UsageError(f"--backend {request!r} leaves no backend to run. Try: --backend all")
    for part in parts:
        for info in _matches(part, known, bool(predicting)):
            reason = info.error or (f"{', '.join(info.missing)} not installed" * bool(info.missing))
            unable = "" if info.trains else _unable(info, predicting)
            if unable and part == info.label:
                raise UsageError(f"backend {part!r} {unable}")
            if unable:
                skipped[info.label] = (info, f"it {unable}")
            elif not reason:
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


def _unable(info: BackendInfo, predicting: str) -> str:
    """Return what keeps one that only predicts from being chosen, if anything does."""
    if not predicting:
        return f"only predicts. Try: python -m harness infer --backend {info.label}"
    if predicting not in info.precisions:
        able = " and ".join(info.precisions)
        return f"cannot predict in {predicting}; it can {able}. Try: --precision {able}"
    return ""


def _matches(part: str, known: list[BackendInfo], predicting: bool) -> list[BackendInfo]:
    if part == "all":
        others = [info for info in known if predicting and not info.trains]
        return [i for i in known if i.in_all and not i.variant] + others
    found = [info for info in known if fnmatchcase(info.label, part)]
    if not found:
        labels = [info.label for info in known]
        raise UsageError(
            f"unknown backend {part!r}; known: {', '.join(labels)}, all, and globs."
            f"{did_you_mean(part, labels)} Try: python -m harness backends"
        )
    return found
