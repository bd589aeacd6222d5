"""From a Keras model, as `model.save("x.keras")` writes it, to a spec with its weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.exchange.graph import Graph, Refused, refusal, short
from harness.exchange.imported import Imported, build
from harness.exchange.keras_file import KerasWeights, read_archive
from harness.exchange.keras_layers import LAYERS, Tensor, Use

MAX_LAYERS = 10_000
MAX_DEPTH = 20  # of lists of tensors in a layer's call


def import_keras(path: Path) -> Imported:
    """Read a CNN from a .keras file; no code of it is run, and Keras is not needed.

    Raises:
        UsageError: the file cannot be read, or parts of the model cannot be said in a spec; the
            message names them all: layer, class, reason.
        NotInstalledError: there is no package `h5py`.

    """
    config, content = read_archive(path)
    try:
        layers, output = _layers(config)
    except Refused as error:
        raise refusal(str(path), [str(error)]) from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: config.json is damaged ({str(error)[:60]})") from None
    try:
        weights = KerasWeights(content)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    reader = _Reader(layers, weights)
    try:
        reader.run(output)
    except Refused as error:
        reader.problems.append(str(error))
    if reader.problems or reader.graph is None:
        raise refusal(str(path), reader.problems)
    return build(reader.graph, path.name)


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer as the configuration has it; `inputs` are the names of layers."""

    kind: str
    name: str
    config: dict[str, Any]
    inputs: tuple[str, ...]

    @property
    def what(self) -> str:
        """Its name and class, for messages."""
        return f"layer {short(self.name)} ({self.kind[:60]})"


def _layers(config: dict[str, Any]) -> tuple[list[Layer], str]:
    """Return the layers of a model in its own order, and the name of the last."""
    kind, inside = config.get("class_name"), config["config"]
    if kind not in ("Sequential", "Functional"):
        raise Refused(f"a model of class {short(str(kind))}; allowed: Sequential, Functional")
    entries = inside["layers"]
    if len(entries) > MAX_LAYERS:
        raise Refused(f"{len(entries)} layers; allowed: {MAX_LAYERS}")
    found: list[Layer] = []
    if kind == "Sequential" and entries[0]["class_name"] != "InputLayer":
        shape = inside.get("build_input_shape")
        found.append(Layer("InputLayer", "the input", {"batch_shape": shape}, ()))
    for entry in entries:
        own, name = entry["config"], str(entry["config"]["name"])
        if not isinstance(own, dict):
            raise Refused(f"layer {short(name)}: no settings")
        if kind == "Functional":
            inputs = _inputs(entry, name)
        else:
            inputs = (found[-1].name,) if found else ()
        is_own = entry.get("registered_name") not in (None, entry["class_name"])
        shown = f"{entry['registered_name']}" if is_own else str(entry["class_name"])
        found.append(Layer(shown, name, own, inputs))
    if kind == "Sequential":
        return found, found[-1].name
    outputs = inside["output_layers"]
    if outputs and isinstance(outputs[0], list):
        if len(outputs) != 1:
            raise Refused(f"{len(outputs)} outputs; allowed: one")
        outputs = outputs[0]
    return found, str(outputs[0])


def _inputs(entry: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return the layers whose outputs a layer is called with."""
    calls = entry["inbound_nodes"]
    if len(calls) > 1:
        raise Refused(f"layer {short(name)}: is used {len(calls)} times; allowed: once")
    return tuple(_tensors(calls[0]["args"], 0)) if calls else ()


def _tensors(value: Any, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise Refused("a layer is called with lists too deep")
    if isinstance(value, list):
        for item in value:
            yield from _tensors(item, depth + 1)
    elif isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        name, call, tensor = value["config"]["keras_history"]
        if (call, tensor) != (0, 0):
            raise Refused(f"an output of layer {short(str(name))} that is not its only one")
        yield str(name)


class _Reader:
    """Puts a model's layers into a graph, each after those that it takes its inputs from."""

    def __init__(self, layers: list[Layer], weights: KerasWeights) -> None:
        self.layers = {layer.name: layer for layer in layers}
        self.is_unique = len(self.layers) == len(layers)
        # In the model's order, by which Keras numbers them.
        self.keys = {layer.name: weights.key(layer.kind) for layer in layers}
        self.weights = weights
        self.graph: Graph | None = None
        self.known: dict[str, Tensor | None] = {}
        self.problems: list[str] = []

    def run(self, output: str) -> None:
        """Read all layers; what cannot be taken is listed in `problems`."""
        if not self.is_unique:
            raise Refused("two layers have the same name")
        for layer in self._ordered():
            try:
                self.known[layer.name] = self._layer(layer)
            except Refused as error:
                self.problems.append(f"{layer.what}: {error}")
                self.known[layer.name] = None
            except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
                self.problems.append(f"{layer.what}: its settings are damaged ({str(error)[:60]})")
                self.known[layer.name] = None
        if self.problems:
            return
        end = self.known.get(output)
        if end is None or self.graph is None:
            raise Refused(f"the output {short(output)} is made by no layer")
        if len(end.shape) != 1:
            raise Refused(f"the output is an image of {end.shape}; allowed: a flat one")
        self.graph.output = end.vertex

    def _ordered(self) -> list[Layer]:
        """Return the layers so that each comes after its inputs; leave out what waits forever."""
        missing = dict.fromkeys(self.layers, 0)
        users: dict[str, list[str]] = {}
        for layer in self.layers.values():
            for name in layer.inputs:
                if name not in self.layers:
                    raise Refused(f"{layer.what}: its input {short(name)} is no layer")
                missing[layer.name] += 1
                users.setdefault(name, []).append(layer.name)
        ready = [name for name, count in missing.items() if not count]
        ordered = []
        for name in ready:  # grows as it goes
            ordered.append(self.layers[name])
            for user in users.get(name, []):
                missing[user] -= 1
                if not missing[user]:
                    ready.append(user)
        waiting = [name for name, count in missing.items() if count]
        if waiting:
            raise Refused(f"layers in a circle: {', '.join(short(n) for n in waiting[:3])}")
        return ordered

    def _layer(self, layer: Layer) -> Tensor | None:
        if layer.kind == "InputLayer":
            return self._input(layer)
        if layer.kind not in LAYERS:
            raise Refused("is no layer that a spec has")
        inputs = [self.known[name] for name in layer.inputs]
        if None in inputs:
            return None
        if not inputs or self.graph is None:
            raise Refused("has no input")
        given = [tensor for tensor in inputs if tensor is not None]
        arrays = self.weights.arrays(self.keys[layer.name])
        use = Use(layer.kind, layer.what, layer.config, arrays, given, self.graph)
        return LAYERS[layer.kind](use)

    def _input(self, layer: Layer) -> Tensor:
        if self.graph is not None:
            raise Refused("is a second input; allowed: one")
        shape = layer.config.get("batch_shape") or ()
        sizes = list(shape)[1:10]
        if len(shape) not in (3, 4, 5) or not all(type(size) is int for size in sizes):
            raise Refused(
                f"batch_shape = {str(shape)[:60]}; allowed: [n, height, width, channels], or with "
                "one or three axes before the channels"
            )
        self.graph = Graph(tuple(sizes), self.weights.size)
        return Tensor(0, tuple(sizes))
