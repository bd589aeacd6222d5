"""The user's environment variables, the data sets that are here, and what lies in the cache."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness import data
from harness.data.store import cache_folder
from harness.doctor.finding import Finding, size_of
from harness.doctor.machine import nearest
from harness.errors import HarnessError
from harness.registry import BackendInfo
from harness.run.environment import SILENT, TUNED

ALLOCATORS = ("jemalloc", "tcmalloc", "mimalloc")


def look_at_environment(
    backends: Sequence[BackendInfo], environment: Mapping[str, str] = os.environ
) -> list[Finding]:
    """Return what of the user's own variables wins over what the harness would set."""
    found = [*_waiting(environment), *_allocator(environment), *_tuned(backends, environment)]
    if environment.get("CUDA_VISIBLE_DEVICES") is not None:
        value = environment["CUDA_VISIBLE_DEVICES"]
        said = f"{value!r}: frameworks see these GPUs only"
        mend = "unset CUDA_VISIBLE_DEVICES, for all of them"
        found.append(Finding("environment", "CUDA_VISIBLE_DEVICES", "note", said, mend))
    if environment.get("PYTHONDONTWRITEBYTECODE"):
        said = "set: where there is no byte code, every import compiles, and is timed so"
        mend = "unset PYTHONDONTWRITEBYTECODE"
        found.append(Finding("environment", "PYTHONDONTWRITEBYTECODE", "note", said, mend))
    if not found:
        said = "nothing is set that changes what is measured"
        found.append(Finding("environment", "variables", "ok", said))
    return found


def _waiting(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what would let the threads of an idle worker spin."""
    for name, value in SILENT.items():
        own = environment.get(name, value)
        if own.lower() != value.lower():
            said = f"{own!r}: a worker that waits for its turn keeps cores busy"
            yield Finding("environment", name, "wrong", said, f"unset {name}")


def _allocator(environment: Mapping[str, str]) -> Iterator[Finding]:
    library = platform.libc_ver()[0]
    preloaded = environment.get("LD_PRELOAD", "")
    if any(name in preloaded for name in ALLOCATORS):
        said = f"LD_PRELOAD={preloaded}: in both environments, tuned and stock, this allocates"
        yield Finding("environment", "allocator", "note", said, "unset LD_PRELOAD, for glibc's own")
    elif platform.system() == "Linux" and library != "glibc":
        said = f"{library or 'not glibc'}: the tuned environment's settings of it are not read"
        yield Finding("environment", "allocator", "note", said, "measure on a system with glibc")


def _tuned(backends: Sequence[BackendInfo], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what the tuned environment would set otherwise."""
    wanted = dict(TUNED)
    for info in backends:
        wanted |= info.tuned
    for name, value in wanted.items():
        if environment.get(name, value) != value:
            said = f"{environment[name]!r} wins over what --environment tuned sets: {value!r}"
            yield Finding("environment", name, "note", said, f"unset {name}")


def look_at_data(environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Return whether a data set can be loaded at once, and which published ones are here."""
    try:
        loaded = data.load("digits")
    except (HarnessError, ImportError) as error:
        mend = "pip install scikit-learn"
        found = [Finding("data", "digits", "wrong", str(error).partition("\n")[0], mend)]
    else:
        count = len(loaded.train_images)
        found = [Finding("data", "digits", "ok", f"{count:,} images, with scikit-learn")]
    published = [info for info in data.catalog() if info.train is not None and ":" not in info.name]
    places = {info.name: info.where for info in published if info.name != "digits"}
    here = {name: where for name, where in places.items() if Path(where).is_dir()}
    found += [Finding("data", name, "ok", f"in {where}") for name, where in here.items()]
    if absent := [name for name in places if name not in here]:
        said = f"{', '.join(absent)}: not here yet; downloaded on first use"
        found.append(Finding("data", "others", "ok", said))
    return [*found, *_own_folder(environment, here)]


def _own_folder(environment: Mapping[str, str], here: Mapping[str, str]) -> Iterator[Finding]:
    own = environment.get("HARNESS_DATA")
    if not own:
        return
    folder = Path(own).expanduser()
    if not folder.is_dir():
        said = f"{own}: there is no such folder, and nothing is found in it"
        mend = "export HARNESS_DATA=FOLDER, or unset HARNESS_DATA"
        yield Finding("data", "HARNESS_DATA", "wrong", said, mend)
    elif not any(Path(where).is_relative_to(folder) for where in here.values()):
        said = f"{own}: holds no data set that the harness knows, as {own}/mnist would"
        mend = "export HARNESS_DATA=FOLDER of mnist, cifar10, ..., or unset it"
        yield Finding("data", "HARNESS_DATA", "wrong", said, mend)


def look_at_caches() -> list[Finding]:
    """Return what lies in the user's cache, and whether it may be written to."""
    folder = cache_folder()
    place = nearest(folder)
    if not os.access(place, os.W_OK):
        said = f"{place} may not be written to: every run measures and decodes anew"
        mend = f"chmod u+w {place}, or export XDG_CACHE_HOME=FOLDER"
        return [Finding("cache", str(folder), "wrong", said, mend)]
    if not folder.is_dir():
        return [Finding("cache", str(folder), "ok", "made when it is first needed")]
    found = []
    for path in sorted(folder.iterdir()):
        size, is_whole = _size(path)
        facts = {"folder": str(path), "bytes": size}
        if is_whole and os.access(path, os.W_OK):
            found.append(Finding("cache", path.name, "ok", f"{size_of(size)} in {path}", "", facts))
        else:
            said = f"{path} may not be read and written"
            found.append(Finding("cache", path.name, "wrong", said, f"rm -r {path}", facts))
    return found or [Finding("cache", str(folder), "ok", "empty")]


def _size(path: Path) -> tuple[int, bool]:
    """Return the bytes of all files in a folder, and whether all of it could be looked at."""
    unseen: list[OSError] = []
    total = 0
    if path.is_file():
        return path.stat().st_size, os.access(path, os.R_OK)
    for folder, _, names in os.walk(path, onerror=unseen.append):
        for name in names:
            try:
                total += (Path(folder) / name).lstat().st_size
            except OSError as error:
                unseen.append(error)
    return total, not unseen
