"""Weights in one file, in canonical layout, with the spec that they belong to.

The format is safetensors: a JSON header and raw arrays, never code. A tensor is called by its
path in the network, such as `conv1.kernel`, and running statistics are among them. The file's
metadata holds the spec itself, so that whoever finds the file knows what it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

import harness
from harness.errors import SpecError, UsageError
from harness.output import put_whole, write_whole
from harness.run.durable import storing
from harness.spec import Spec, infer, parse_spec_json

Array = NDArray[Any]

FORMAT = "cnn-harness weights 1"
DTYPES = ("F32", "F64")
MAX_SPEC_BYTES = 4_000_000  # of the spec's JSON
LISTED = 3  # names in a message; the rest is counted


# Arrays have no single truth value, so the generated __eq__ would only raise.
@dataclass(frozen=True, eq=False)
class Weights:
    """The arrays of one network by path, its spec, and where they come from.

    `facts` is the file's metadata but for the spec: backend, device, seed, versions.
    """

    arrays: dict[str, Array]
    spec: Spec
    facts: dict[str, str]


def write_weights(
    path: Path, spec: Spec, arrays: Mapping[str, Array], facts: Mapping[str, str]
) -> None:
    """Write all parameters and statistics of `spec` to `path`, whole or not at all.

    Raises:
        UsageError: the file cannot be written there.

    """
    write_whole(path, _writing(spec, arrays, facts))


def keep_weights(
    path: Path, spec: Spec, arrays: Mapping[str, Array], facts: Mapping[str, str]
) -> None:
    """Write what a run has trained, as `write_weights`.

    Raises:
        StorageError: the disk is full or broken.

    """
    with storing(path):
        put_whole(path, _writing(spec, arrays, facts))


def _writing(
    spec: Spec, arrays: Mapping[str, Array], facts: Mapping[str, str]
) -> Callable[[Path], None]:
    """Return what writes them all to a path."""
    metadata = {
        "format": FORMAT,
        "harness_version": harness.__version__,
        "spec_name": spec.name,
        "spec_hash": spec.hash,
        "spec": spec.model_dump_json(),
        **facts,
    }
    plain = {name: np.ascontiguousarray(arrays[name]) for name in shapes(spec)}

    def write(temporary: Path) -> None:
        temporary.touch()
        mode = temporary.stat().st_mode  # as any new file's; the library's is its owner's alone
        try:
            save_file(plain, str(temporary), metadata)
        except SafetensorError as error:  # which it raises of a full disk as well
            raise OSError(str(error)) from None
        temporary.chmod(mode)

    return write


def shapes(spec: Spec) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter and statistic of `spec` by path."""
    network = infer(spec)
    return {p.path: p.shape for p in (*network.parameters, *network.statistics)}


def read_weights(path: Path, spec: Spec | None = None) -> Weights:
    """Read weights for `spec`; None: for the spec that the file holds.

    Names, shapes and types are checked before an array is read, values before they are returned.

    Raises:
        UsageError: the file is missing, damaged, or holds weights of another network.

    """
    if not path.is_file():  # nor a device or a pipe, which might never end
        raise UsageError(f"no such file of weights: {path}. Try: run --save-weights")
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            found = spec or _spec_within(path, metadata.get("spec"))
            _check_listing(path, found, file)
            arrays = {name: np.array(file.get_tensor(name)) for name in shapes(found)}
    except UsageError:
        raise
    except Exception as error:  # whatever a library makes of hostile bytes
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"cannot read weights from {path}: damaged, or no safetensors file ({reason})"
        ) from None
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UsageError(f"{path}: {name} holds values that are not finite: nothing to use")
    metadata.pop("spec", None)
    return Weights(arrays, found, metadata)


def _spec_within(path: Path, text: str | None) -> Spec:
    """Return the spec that the file's metadata holds."""
    advice = "Try: --model with the name or the file of the model that was trained"
    if text is None:
        raise UsageError(f"{path}: holds no spec of its network. {advice}")
    if len(text) > MAX_SPEC_BYTES:
        raise UsageError(f"{path}: its spec is longer than {MAX_SPEC_BYTES} bytes. {advice}")
    try:
        return parse_spec_json(text, str(path))
    except SpecError as error:
        problem = error.problems[0]
    raise UsageError(f"{path}: its spec is not valid: {problem}. {advice}")


def _check_listing(path: Path, spec: Spec, file: Any) -> None:
    """See that the file has the arrays of `spec`, and no others, before any is read."""
    wanted, names = shapes(spec), set(file.keys())
    unfit = f"{path} does not fit model {spec.name!r}"
    if missing := [name for name in wanted if name not in names]:
        raise UsageError(f"{unfit}: it lacks {_some(missing)}")
    if unknown := sorted(names - wanted.keys()):
        raise UsageError(f"{unfit}, which has no {_some(unknown)}")
    for name, shape in wanted.items():
        part = file.get_slice(name)
        if tuple(part.get_shape()) != shape:
            raise UsageError(
                f"{unfit}: {name} has the shape {list(part.get_shape())}, "
                f"the model's has {list(shape)}"
            )
        if part.get_dtype() not in DTYPES:
            raise UsageError(
                f"{path}: {name} is of type {part.get_dtype()}; allowed: {', '.join(DTYPES)}"
            )


def _some(names: Collection[str]) -> str:
    shown = ", ".join(_short(name) for name in list(names)[:LISTED])
    return f"{shown} and {len(names) - LISTED} more" if len(names) > LISTED else shown


def _short(name: str) -> str:
    """Quote a name that a stranger gave: it may be long, or hold line ends."""
    return repr(name if len(name) <= 60 else name[:57] + "...")
