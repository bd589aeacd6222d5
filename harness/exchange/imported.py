"""A network of another tool's file as a spec with its weights, and both as files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import SpecError, UsageError
from harness.exchange.graph import Array, Graph, Refused, refusal
from harness.exchange.pieces import listed
from harness.exchange.recovery import recover
from harness.exchange.toml import spec_toml
from harness.output import write_whole
from harness.run.weights import shapes, write_weights
from harness.spec import Spec, infer, parse_spec
from harness.spec.blocks import has_activation, last_activation
from harness.spec.load import MAX_FILE_BYTES, describe_errors


@dataclass(frozen=True, eq=False)
class Imported:
    """A spec, the text of its file, and all arrays by path, float32."""

    spec: Spec
    text: str
    arrays: dict[str, Array]


def build(graph: Graph, source: str) -> Imported:
    """Return the spec that computes what `graph` does; `source` is the file's name.

    The training is the default one, with the loss that the output asks for.

    Raises:
        UsageError: parts of the graph cannot be said in a spec; the message names them all.

    """
    try:
        pieces = recover(graph)
    except Refused as error:
        raise refusal(source, str(error).split("\n")) from None
    fields: dict[str, Any] = {
        "name": spec_name(source),
        "description": f"Imported from {_printable(source)}",
        "input": graph.shape(0),
        "layers": listed(pieces),
    }
    try:
        spec = Spec.model_validate(fields)
        if loss := _loss(spec):
            fields["training"] = {"loss": loss}
            spec = Spec.model_validate(fields)
        network = infer(spec)
    except ValidationError as error:
        raise refusal(source, describe_errors(error)) from None
    except SpecError as error:
        raise refusal(source, error.problems) from None
    text = spec_toml(fields)
    if len(text.encode()) > MAX_FILE_BYTES:
        raise refusal(source, [f"so many layers that its spec exceeds {MAX_FILE_BYTES} bytes"])
    assert parse_spec(text, source) == spec
    leaves = [arrays for piece in pieces for arrays in piece.leaves()]
    arrays: dict[str, Array] = {}
    for node, given in zip(network.nodes, leaves, strict=True):
        arrays |= {f"{node.path}.{role}": array for role, array in given.items()}
    assert {path: array.shape for path, array in arrays.items()} == shapes(spec)
    return Imported(spec, text, arrays)


def _loss(spec: Spec) -> str | None:
    """Return the loss that suits the output, if that is not the default one.

    Of a single output cross_entropy would always be 0: that is a probability or a value.
    """
    last = spec.layers[-1]
    if has_activation(last) and last_activation(last) == "sigmoid":  # which the loss takes over
        return "binary_cross_entropy"
    return "mean_squared_error" if infer(spec).output_shape == (1,) else None


def write_imported(found: Imported, folder: Path, source: Path) -> tuple[Path, Path]:
    """Write the spec and its weights into `folder`, made if there is none; return both paths.

    Raises:
        UsageError: that is not possible.

    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make the folder {folder}: {error.strerror}. Try: -o with another"
        ) from None
    model = folder / f"{found.spec.name}.toml"
    weights = model.with_suffix(".safetensors")
    write_weights(weights, found.spec, found.arrays, {"imported_from": _printable(source.name)})
    write_whole(model, lambda path: path.write_text(found.text, encoding="utf-8"))
    return model, weights


def spec_name(source: str) -> str:
    """Return a file's name as a spec may be called: `My Net_2.onnx` is `my-net-2`."""
    name = re.sub(r"[^a-z0-9]+", "-", Path(source).stem.lower()).strip("-")
    return name[:64].strip("-") or "imported"


def _printable(name: str) -> str:
    kept = (c if c.isprintable() and c not in '"\\' else "?" for c in name)
    return "".join(kept)[:200].encode(errors="replace").decode()
