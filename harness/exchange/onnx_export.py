"""A spec and its parameters as an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from harness.errors import UsageError
from harness.exchange.needed import needed
from harness.output import write_whole
from harness.spec import Spec, infer, onnx_graph

if TYPE_CHECKING:
    from onnx import ModelProto

Array = NDArray[Any]

MAX_BYTES = 2**31 - 2**24  # of all arrays: a protocol buffer ends at 2 GiB


def write_onnx(path: Path, spec: Spec, arrays: Mapping[str, Array]) -> None:
    """Write `spec` with parameters and statistics `arrays` by path to an ONNX file.

    Raises:
        UsageError: the file cannot be written, or the network is too large for one.
        NotInstalledError: there is no package `onnx`.

    """
    content = onnx_model(spec, arrays).SerializeToString(deterministic=True)
    write_whole(path, lambda temporary: temporary.write_bytes(content))


def onnx_model(spec: Spec, arrays: Mapping[str, Array]) -> ModelProto:
    """Return the checked model; `arrays` are in canonical layout, and become float32.

    Raises:
        UsageError: the network is too large.
        NotInstalledError: there is no package `onnx`.

    """
    onnx = needed("onnx")
    network = infer(spec)
    size = 4 * sum(p.size for p in (*network.parameters, *network.statistics))
    if size > MAX_BYTES:
        raise UsageError(
            f"model {spec.name!r}: {size:,} bytes of parameters; an ONNX file holds {MAX_BYTES:,}"
        )
    model = onnx_graph(onnx, spec, arrays)
    onnx.checker.check_model(model, full_check=True)
    return model
