"""Backend and Session: all that the author of a backend must read.

A backend owns the maths of one framework and nothing else: the harness owns the data, the order
of samples, the initial weights, the clock and the verdict. A backend is a class without
constructor arguments, named by an entry point of the group `harness.backends`. It is loaded in a
worker process of its own, and imports its framework in `prepare`, not before.

At the border every array is NumPy, in canonical layout: images NHWC, convolution kernels
`[kh, kw, in, out]`, dense kernels `[in, out]`, flattening in NHWC order. Floating values are of the
type that the setting's `storage` names.

The calls come in this order: `prepare`, `versions`, `devices`, `source`, `open`; then, on the
session, `load` and `reset` before anything else, `close` last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from typing_extensions import get_protocol_members

from harness.spec import Spec

Device = Literal["cpu", "gpu"]
Precision = Literal["float32", "tf32", "float64", "bfloat16"]
Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]
Array = NDArray[Any]


@dataclass(frozen=True)
class Setting:
    """How a session is to run: one device, one precision, so many threads.

    `float32` and `float64` are the type of everything. `tf32` is float32 in which convolutions and
    products of matrices, and these only, may round what they multiply to ten bits of mantissa; it
    is for GPUs, and by the framework's own switch. `bfloat16` is mixed precision, the same in
    every backend:

    - kept and computed in float32: parameters, the gradients that the optimizer gets, its slots
      and its arithmetic, running statistics, statistics and normalisation within a norm with its
      scale and offset, and everything from the logits on: loss and the gradient of the logits
    - rounded to bfloat16, to nearest, ties to even: the images, the kernels and biases of
      convolutions and dense layers and the factors of a channel_scale, each where it is used; and
      what every layer and every block's sum or product returns, norms and logits included
    - backwards likewise: the gradient of whatever was rounded is a bfloat16. So those of kernels
      and biases have 8 bits when they come to be float32; those of a norm's scale and offset
      may have 24.

    Products are summed in at least float32, in whatever order; how an activation computes within
    is the framework's own affair.
    """

    device: Device = "cpu"
    precision: Precision = "float32"
    threads: int = 1

    @property
    def storage(self) -> Literal["float32", "float64"]:
        """The type of parameters, and of all floating arrays at the border."""
        return "float64" if self.precision == "float64" else "float32"

    @property
    def factors(self) -> Literal["float32", "float64", "bfloat16"]:
        """The type of what convolutions and products multiply; TF32 is none, but a way to do it."""
        return "bfloat16" if self.precision == "bfloat16" else self.storage


@dataclass(frozen=True)
class DeviceInfo:
    """A device that the framework sees; `name` is what its maker calls it."""

    kind: Device
    name: str


@dataclass(frozen=True)
class Gradients:
    """What one forward and backward pass in training mode gives.

    `loss` is the mean over the batch; `logits` is `[n, outputs]`; `parameters` has one array for
    each parameter's path, in canonical layout; `images` is the gradient of the input, NHWC.
    """

    loss: float
    logits: Floats
    parameters: dict[str, Floats]
    images: Floats


@runtime_checkable
class Session(Protocol):
    """One model on one device, built from the source that the backend wrote."""

    def load(self, images: Floats, targets: Array) -> None:
        """Put the training set where it will be read from; this is not timed.

        Called again, it replaces the set by one of the same shapes: before an epoch of augmented
        images, and, where a set is too large to be held, within a block, which is then timed.
        The arrays stay as they are until that call returns.

        Args:
            images: float32 `[n, h, w, c]`.
            targets: int32 `[n]` for cross-entropy, float32 `[n, outputs]` for the other losses.

        """

    def reset(self, parameters: Mapping[str, Floats], seed: int) -> None:
        """Set the parameters, and make optimizer, step count and random state as new.

        Nothing may be compiled anew because of it.
        """

    def train(
        self,
        order: Integers,
        learning_rates: Floats,
        masks: Sequence[Mapping[str, Floats]] | None = None,
    ) -> Floats:
        """Train one step for each row of `order`; return when the device has finished.

        Args:
            order: int64 `[steps, batch]`, row numbers of the loaded training set.
            learning_rates: `[steps]`.
            masks: for each step, what multiplies each dropout layer's input, by layer name, of
                the shape of that input: 0 or 1 / (1 - rate). None: drawn by the framework.

        Returns:
            `[steps]`, the loss of each step, before its update.

        """

    def predict(self, images: Floats) -> Floats:
        """Return the logits `[n, outputs]` of `images` `[n, h, w, c]`, in evaluation mode."""

    def activations(
        self,
        images: Floats,
        masks: Mapping[str, Floats] | None = None,
        training: bool = False,
    ) -> dict[str, Floats]:
        """Return every layer's output by layer name, images as NHWC; nothing that is kept changes.

        In training mode, `masks` is as one step's in `train`; None leaves dropout out.
        """

    def gradients(
        self, images: Floats, targets: Array, masks: Mapping[str, Floats] | None = None
    ) -> Gradients:
        """Differentiate the loss of one batch in training mode, without an update.

        `masks` is as one step's in `train`; None leaves dropout out.
        """

    def state(self) -> dict[str, Floats]:
        """Return the parameters by path, in canonical layout."""

    def optimizer_state(self) -> dict[str, Floats]:
        """Return what the optimizer keeps of each parameter, `PATH.SLOT`, in canonical layout.

        The slots are those that the spec's optimizer has (`spec.training.optimizer.slots`), and
        mean what its docstring says; before the first step they are zero.
        """

    def peak_device_bytes(self) -> int | None:
        """Most memory held on the device so far; None where it is the host's, or unknown."""

    def close(self) -> None:
        """Free what the session holds."""


@runtime_checkable
class Backend(Protocol):
    """One framework.

    Attributes:
        name: what the user types.
        variants: the modules that each variant imports, by the variant's name; "" is the default
            one, the others are `name@variant` on the command line.
        in_all: whether `--backend all` includes it.
        precisions: optional; by variant, those that it can. A variant that is not named can
            float32 and float64, and is refused for others.
        tuned: optional; by variant, environment variables that make it faster and change no
            result. They are set in the tuned environment, unless the user sets them.
        trains: optional; False where it only predicts. `train`, `gradients` and what belongs to
            them are then never called, and it takes part in `harness infer` and `predict` only.

    One method is optional: `script(spec, variant) -> str`, for `harness emit`. It returns the
    source of float32 as a program that reads data and trains, and needs nothing but the framework
    and NumPy. It is called without `prepare`, and where the framework is not installed: neither
    it nor, where there is none, `source` may import the framework. See `script_of`.
    """

    name: str
    variants: ClassVar[Mapping[str, Sequence[str]]]
    in_all: bool

    def prepare(self, variant: str, setting: Setting) -> None:
        """Import the framework and set device, threads and determinism: the import phase."""

    def versions(self) -> dict[str, str]:
        """Return the versions of the framework and what it stands on; the first is its own."""

    def devices(self) -> list[DeviceInfo]:
        """Return the devices that the framework can use here; called after `prepare`."""

    def source(self, spec: Spec, variant: str, precision: Precision = "float32") -> str:
        """Write the framework's own source of model, loss, optimizer and training step.

        That of float32 and float64 is one, whose types are the session's to choose, so
        `precision` is given for "bfloat16" only: to variants that name it in `precisions`. There
        the source itself says what is rounded and where.
        """

    def open(self, path: Path, spec: Spec, variant: str, setting: Setting) -> Session:
        """Import the source at `path` and build its model: the build phase."""


class Script(NamedTuple):
    """What `harness emit` shows; `is_program` says whether it can be run as it is."""

    text: str
    is_program: bool


def script_of(backend: Backend, spec: Spec, variant: str) -> Script:
    """Return what the backend's `script` returns; without one, its `source`, no program.

    Raises:
        NotImplementedError: the backend has no source of its own, or cannot write this spec.

    """
    script = _get(backend, "script")
    if callable(script):
        return Script(str(script(spec, variant)), True)
    return Script(backend.source(spec, variant), False)


ProbeKind = Literal["product", "convolution", "copy"]


@runtime_checkable
class Probing(Protocol):
    """What a backend may have besides: work of which the machine's limits are measured."""

    def probe(self, kind: ProbeKind, size: int, setting: Setting) -> Callable[[], object] | None:
        """Return what does one piece of work and waits for the device; called after `prepare`.

        In the setting's precision (of the type `factors`), on its device:

        - "product": the product of two matrices `[size, size]`
        - "convolution": a 3x3 convolution, "same", of `size` images of 56 x 56 pixels from 128
          channels to 128, in the layout that is fastest here
        - "copy": `size` bytes copied to another place in the device's memory

        Arrays are made before, not in the call. None: it has no such thing.
        """


@dataclass
class SourceWriter:
    """Lines of generated source with their indentation."""

    lines: list[str] = field(default_factory=list)

    def __call__(self, text: str = "", indent: int = 0) -> None:
        """Add the lines of `text`, each moved right by `indent` levels of four spaces."""
        for line in text.split("\n"):
            self.lines.append("    " * indent + line if line else "")

    def text(self) -> str:
        """Return the source so far, ending in one newline."""
        return "\n".join(self.lines).rstrip("\n") + "\n"


def import_source(path: Path) -> Any:
    """Import the generated file at `path` as a module of its own name.

    Raises:
        ImportError: the file cannot be imported.

    """
    import importlib.util
    import sys

    name = f"harness_model_{path.stem.replace('-', '_').replace('@', '_').replace('.', '_')}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # so that tracebacks and dataclasses find their module
    module_spec.loader.exec_module(module)
    return module


def missing_members(thing: object, protocol: type) -> list[str]:
    """Return what `protocol`, `Backend` or `Session`, has and `thing` lacks, by name."""
    values = {"name", "variants", "in_all"}
    return sorted(
        member
        for member in get_protocol_members(protocol)
        if not (hasattr(thing, member) if member in values else callable(_get(thing, member)))
    )


def _get(thing: object, member: str) -> object:
    return getattr(thing, member, None)


def faults_of(backend: object) -> list[str]:
    """Return all that keeps an object from being a `Backend`, as far as can be seen unused."""
    missing = missing_members(backend, Backend)
    faults = [f"it has no {', '.join(missing)}"] if missing else []
    name, variants = _get(backend, "name"), _get(backend, "variants")
    if "name" not in missing and not (isinstance(name, str) and _NAME.fullmatch(name)):
        faults.append(f"name is {name!r}; allowed: letters, digits, - and _")
    if "variants" not in missing and not _are_variants(variants):
        faults.append(
            f'variants is {variants!r}; allowed: modules by variant, as {{"": ("torch",)}}, with '
            'the default one, ""'
        )
    if "in_all" not in missing and not isinstance(_get(backend, "in_all"), bool):
        faults.append(f"in_all is {_get(backend, 'in_all')!r}; allowed: True or False")
    return faults


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def _are_variants(value: object) -> bool:
    if not isinstance(value, Mapping) or "" not in value:
        return False
    are_named = all(isinstance(k, str) and (not k or _NAME.fullmatch(k)) for k in value)
    are_listed = all(
        isinstance(v, Sequence) and not isinstance(v, str) and all(isinstance(m, str) for m in v)
        for v in value.values()
    )
    return are_named and are_listed
