"""Reading an ONNX file: its size comes first, arrays are no larger than the bytes they have.

Arrays may lie in files beside it, never outside of its folder.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import UsageError
from harness.exchange.graph import Array, Refused, short
from harness.exchange.needed import needed

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto

MAX_BYTES = 2**31  # of a protocol buffer
MAX_NODES = 20_000
MAX_TEXT = 200
OLDEST_OPSET = 7  # the first in which BatchNormalization and broadcasting are what they are now
NEWEST_OPSET = 26
# Types of arrays, as numbered by the format, and bytes of a value.
WIDTHS = {1: 4, 11: 8, 10: 2, 16: 2, 6: 4, 7: 8, 9: 1}
KEPT_AS = {1: "float_data", 11: "double_data", 6: "int32_data", 7: "int64_data"}


def read_model(path: Path) -> ModelProto:
    """Read a file as far as a protocol buffer goes: no array is made yet.

    Raises:
        UsageError: there is no such file, it is too large, or no ONNX model.
        NotInstalledError: there is no package `onnx`.

    """
    onnx = needed("onnx")
    try:
        if not path.is_file():  # nor a device or a pipe, which might never end
            raise UsageError(f"no such file: {path}. Try: import-onnx FILE.onnx")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise UsageError(f"{path}: {size:,} bytes; an ONNX file has at most {MAX_BYTES:,}")
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    try:
        model: ModelProto = onnx.load_model_from_string(content)
    except Exception as error:  # whatever the library makes of hostile bytes
        reason = " ".join(str(error).split())[:MAX_TEXT]
        raise UsageError(f"{path}: damaged, or no ONNX file ({reason})") from None
    if not model.graph.node:
        raise UsageError(f"{path}: damaged, or no ONNX file (it has no nodes)")
    if (count := len(model.graph.node)) > MAX_NODES:
        raise UsageError(f"{path}: {count:,} nodes; allowed: {MAX_NODES:,}")
    return model


def opset(model: ModelProto) -> int:
    """Return the version of the standard operators.

    Raises:
        Refused: it is none that is known.

    """
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if len(versions) != 1 or not OLDEST_OPSET <= versions[0] <= NEWEST_OPSET:
        raise Refused(
            f"opset {', '.join(map(str, versions)) or 'not given'}; allowed: {OLDEST_OPSET} to "
            f"{NEWEST_OPSET}"
        )
    return int(versions[0])


def read_tensor(tensor: TensorProto, folder: Path, taken: dict[Path, int]) -> Array:
    """Return an array, copied; floats of any width as they are.

    `taken` counts the bytes that were read from each file beside the model.

    Raises:
        Refused: its type is none that is allowed, its size is not that of its bytes, or it lies
            outside of `folder`.

    """
    onnx = needed("onnx")
    name = short(tensor.name)
    if tensor.data_type not in WIDTHS:
        raise Refused(f"array {name}: type {tensor.data_type}; allowed: floats, int32, int64, bool")
    if len(tensor.dims) > 8 or any(size < 0 for size in tensor.dims):
        raise Refused(f"array {name}: sizes {list(tensor.dims)[:9]}")
    count, width = math.prod(tensor.dims), WIDTHS[tensor.data_type]
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        content = _external(tensor, folder, count * width, taken)
        return np.frombuffer(content, kind).reshape(tuple(tensor.dims)).copy()
    if tensor.HasField("raw_data"):
        has_all = len(tensor.raw_data) == count * width
    else:
        has_all = len(getattr(tensor, KEPT_AS.get(tensor.data_type, "int32_data"))) == count
    if not has_all:
        raise Refused(f"array {name}: sizes {list(tensor.dims)} are not those of its bytes")
    found: Array = np.array(onnx.numpy_helper.to_array(tensor))
    return found


def _external(tensor: TensorProto, folder: Path, size: int, taken: dict[Path, int]) -> bytes:
    """Return the bytes of an array that lies in a file beside the model."""
    facts: dict[str, Any] = {entry.key: entry.value for entry in tensor.external_data}
    name, location = short(tensor.name), str(facts.get("location", ""))
    try:
        path = (folder / location).resolve()
        is_inside = path.is_relative_to(folder.resolve()) and not Path(location).is_absolute()
        if not is_inside or not path.is_file():
            raise Refused(
                f"array {name}: lies in {short(location)}; allowed: a file in the model's folder"
            )
        offset = int(facts.get("offset", 0))
        length = int(facts.get("length", size))
        taken[path] = taken.get(path, 0) + size
        if taken[path] > path.stat().st_size:
            raise Refused(f"array {name}: {short(location)} is smaller than what lies in it")
        if length != size or not 0 <= offset <= path.stat().st_size - size:
            raise Refused(f"array {name}: {size} bytes are not all in {short(location)}")
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read(size)
    except Refused:
        raise
    except (OSError, ValueError) as error:
        raise Refused(f"array {name}: cannot read {short(location)} ({error})") from None
    if len(content) != size:
        raise Refused(f"array {name}: {size} bytes are not all in {short(location)}")
    return content
