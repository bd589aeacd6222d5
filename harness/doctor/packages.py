"""Python, and the packages that the harness and its backends stand on, beside what is allowed."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import harness
from harness.doctor.finding import Finding
from harness.machine import may_have_gpu

PACKAGE = "cnn-harness"
NOT_LOOKED_AT = frozenset({"all", "test"})  # one holds the others, one is for its developers
FRAMEWORKS = frozenset({"tensorflow", "torch", "jax"})  # extras, of which one is needed
CONSTRAINTS = Path(harness.__file__).parents[1] / "constraints.txt"  # of a checkout


class Needed(NamedTuple):
    """A package, the extra that brings it ("" for what is always there), and what is allowed."""

    extra: str
    name: str
    allowed: SpecifierSet


def look_at_packages(constraints: Path = CONSTRAINTS) -> list[Finding]:
    """Return a finding for Python, each framework's packages, and each other extra."""
    tested = tested_versions(constraints)
    needed = list(needed_packages())
    found = [_python()]
    of_core = [_package(one, tested) for one in needed if not one.extra]
    found += [one for one in of_core if one.level == "wrong"] or [_summary(of_core)]
    frameworks = [_package(one, tested) for one in needed if one.extra in FRAMEWORKS]
    found += frameworks
    if not any(one.facts.get("installed") for one in frameworks):
        mend = f'pip install "{PACKAGE}[torch]"'
        found.append(Finding("packages", "frameworks", "wrong", "none is installed", mend))
    found += _other_extras([one for one in needed if one.extra not in {"", *FRAMEWORKS}], tested)
    return found


def needed_packages() -> Iterator[Needed]:
    """Yield what the installed package says that it needs, with each of its extras."""
    extras = ["", *(metadata(PACKAGE).get_all("Provides-Extra") or ())]
    for text in requires(PACKAGE) or ():
        try:
            one = Requirement(text)
        except InvalidRequirement:
            continue
        marker = one.marker
        for extra in extras:
            is_wanted = not extra if marker is None else marker.evaluate({"extra": extra})
            always = extra and marker is not None and marker.evaluate({"extra": ""})
            own = canonicalize_name(one.name) == canonicalize_name(PACKAGE)
            if is_wanted and not always and not own and extra not in NOT_LOOKED_AT:
                yield Needed(extra, one.name, one.specifier)


def tested_versions(constraints: Path) -> dict[str, str]:
    """Return the versions that the tests were last run with; none where there is no checkout."""
    try:
        text = constraints.read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE)
    return {canonicalize_name(name): number for name, number in pairs}


def installed_version(name: str) -> str | None:
    """Return the version of a package; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _python() -> Finding:
    allowed = SpecifierSet(metadata(PACKAGE)["Requires-Python"] or "")
    number = platform.python_version()
    facts = {"installed": number, "allowed": str(allowed), "executable": sys.executable}
    said = f"{number} ({_range(allowed, '')}), {sys.executable}"
    if number in allowed:
        return Finding("packages", "python", "ok", said, "", facts)
    return Finding("packages", "python", "wrong", said, "make PYTHON=python3.12 run", facts)


def _range(allowed: SpecifierSet, tested: str) -> str:
    words = [f"allowed: {_ordered(allowed) or 'any'}", f"tested: {tested}" if tested else ""]
    return "; ".join(filter(None, words))


def _ordered(allowed: SpecifierSet) -> str:
    """Return `>=2,<3`, lower bounds first, as it is written in the project's own file."""
    return ",".join(sorted(map(str, allowed), key=lambda one: (one[0] != ">", one)))


def _package(needed: Needed, tested: dict[str, str]) -> Finding:
    """Say whether a package is there, in a version that is allowed."""
    installed = installed_version(needed.name)
    known = tested.get(canonicalize_name(needed.name), "")
    facts = {
        "extra": needed.extra,
        "installed": installed,
        "allowed": _ordered(needed.allowed),
        "tested": known or None,
    }
    limits = _range(needed.allowed, known)
    mend = f'pip install "{needed.name}{_ordered(needed.allowed)}"'
    if installed is None:
        said = f"not installed ({limits})"
        if not needed.extra:
            return Finding("packages", needed.name, "wrong", said, mend, facts)
        mend = f'pip install "{PACKAGE}[{needed.extra}]"'
        return Finding("packages", needed.name, "note", said, mend, facts)
    said = f"{installed} ({limits})"
    if not needed.allowed.contains(installed, prereleases=True):
        return Finding("packages", needed.name, "wrong", said, mend, facts)
    return Finding("packages", needed.name, "ok", said, "", facts)


def _summary(found: list[Finding]) -> Finding:
    facts = {one.subject: one.facts["installed"] for one in found}
    said = f"{harness.__version__}, and the {len(found)} packages that it always needs"
    return Finding("packages", PACKAGE, "ok", said, "", facts)


def _other_extras(needed: list[Needed], tested: dict[str, str]) -> Iterator[Finding]:
    """Yield a line for each other extra: what is missing of it is missed by some commands only."""
    for extra in dict.fromkeys(one.extra for one in needed):
        if extra == "gpu" and not may_have_gpu():
            continue
        found = [_package(one, tested) for one in needed if one.extra == extra]
        facts = {one.subject: one.facts["installed"] for one in found}
        if bad := [one for one in found if one.level == "wrong"]:
            yield from bad
        elif missing := [one.subject for one in found if one.level == "note"]:
            said = f"{', '.join(missing)} not installed; not needed for run"
            mend = f'pip install "{PACKAGE}[{extra}]"'
            yield Finding("packages", f"[{extra}]", "note", said, mend, facts)
        else:
            words = ", ".join(f"{name} {number}" for name, number in facts.items())
            yield Finding("packages", f"[{extra}]", "ok", words, "", facts)
