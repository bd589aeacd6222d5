"""What is to be run, checked whole before the first worker starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from numpy.typing import NDArray

from harness.contract import Device, Precision
from harness.data import Dataset, epoch_batches, memory_limit, split
from harness.errors import SpecError, UsageError, did_you_mean
from harness.machine import available_cpus, may_have_gpu
from harness.registry import BackendInfo
from harness.run.environment import Environment
from harness.run.limits import SILENCE, Limits
from harness.spec import Spec, infer

DeviceRequest = Literal["cpu", "gpu", "all"]
Stream = Literal["auto", "never", "always"]

# The largest value of each option: beyond these a number is a slip of the keyboard.
MOST_EPOCHS = 10_000
MOST_BATCH = 65_536
MOST_SEEDS = 1_000
MOST_TIMEOUT = 7 * 24 * 3600.0
MOST_RETRIES = 100
REFERENCE = "numpy"


@dataclass(frozen=True)
class Plan:
    """One run: which networks on which data, by whom, how often.

    `spec` holds the epochs and the batch size that will really be used. `block_steps` is the
    number of steps in a measured block; None: chosen after warm-up. `timeout` is the longest
    wait for one answer of a worker, in seconds, where `timeouts` has no other for the phase; for
    `silence` and `memory` see `Limits`. A cell whose worker crashed gets up to `retries` others.
    `initial` holds the weights that every seed starts from; None: drawn for each seed. `probing`
    are the backends among which are those that measure the machine's limits, if these are not
    known; with none, no figure is set beside a limit. `target_accuracy` is a share: a backend that
    reaches it at an epoch's end stops training. `stream` says whether frameworks are given the
    training set in windows, rather than whole; for "auto" see `settle_stream`.
    """

    spec: Spec
    dataset: str
    backends: tuple[BackendInfo, ...]
    reference: BackendInfo
    device: DeviceRequest = "all"
    seeds: tuple[int, ...] = (0, 1, 2)
    precision: Precision = "float32"
    environment: Environment = "tuned"
    threads: int = 1
    timeout: float = 900.0
    block_steps: int | None = None
    initial: Mapping[str, NDArray[Any]] | None = None
    save_weights: bool = False
    target_accuracy: float | None = None
    probing: tuple[BackendInfo, ...] = ()
    timeouts: Mapping[str, float] = field(default_factory=dict)
    silence: float = SILENCE
    memory: int | None = None
    retries: int = 0
    stream: Stream = "auto"

    @property
    def limits(self) -> Limits:
        """The limits on each worker."""
        return Limits(self.timeout, self.timeouts, self.silence, self.memory)


def make_plan(
    spec: Spec,
    dataset: str,
    backends: list[BackendInfo],
    known: list[BackendInfo],
    *,
    device: str = "all",
    seeds: int = 3,
    epochs: int | None = None,
    batch_size: int | None = None,
    precision: str = "float32",
    environment: str = "tuned",
    threads: int | None = None,
    timeout: float = 900.0,
    block_steps: int | None = None,
    initial: Mapping[str, NDArray[Any]] | None = None,
    save_weights: bool = False,
    target_accuracy: float | None = None,
    limit: bool = False,
    timed: bool = True,
    timeouts: Mapping[str, float] | None = None,
    silence: float = SILENCE,
    memory: int | None = None,
    retries: int = 0,
    stream: str = "auto",
) -> Plan:
    """Check every option and put the plan together; `timed` plans are not for the reference.

    With `limit`, figures are to be set beside what the machine can do.

    Raises:
        UsageError: an option is out of its range; the message names it, the value and the range.

    """
    cpus = available_cpus()
    epochs = spec.training.epochs if epochs is None else epochs
    batch_size = spec.training.batch_size if batch_size is None else batch_size
    threads = cpus if threads is None else threads
    check_range("--epochs", epochs, 1, MOST_EPOCHS)
    check_range("--batch-size", batch_size, 1, MOST_BATCH)
    check_range("--seeds", seeds, 1, MOST_SEEDS)
    check_range("--threads", threads, 1, cpus)
    check_range("--timeout", timeout, 1.0, MOST_TIMEOUT)
    check_range("--silence", silence, 1.0, MOST_TIMEOUT)
    check_range("--retries", retries, 0, MOST_RETRIES)
    for phase, seconds in (timeouts or {}).items():
        check_range(f"--timeout {phase}:", seconds, 1.0, MOST_TIMEOUT)
    if block_steps is not None:
        check_range("--block-steps", block_steps, 1, 1_000_000)
    if target_accuracy is not None:
        _check_target(target_accuracy)
    check_device(device)
    check_word("--precision", precision, get_args(Precision))
    check_word("--environment", environment, get_args(Environment))
    check_word("--stream", stream, get_args(Stream))
    for info in backends:
        if timed and info.backend == REFERENCE:
            raise UsageError(
                f"backend {REFERENCE!r} is the reference that all others are compared with in "
                "every run; it is not timed against them. Try: --backend all"
            )
    check_precision(precision, device, backends)
    training = spec.training.model_copy(update={"epochs": epochs, "batch_size": batch_size})
    return Plan(
        spec=spec.model_copy(update={"training": training}),
        dataset=dataset,
        backends=tuple(backends),
        reference=next(info for info in known if info.label == REFERENCE),
        device=device,  # type: ignore[arg-type]  # checked above, as are others
        seeds=tuple(range(seeds)),
        precision=precision,  # type: ignore[arg-type]
        environment=environment,  # type: ignore[arg-type]
        threads=threads,
        timeout=timeout,
        block_steps=block_steps,
        initial=initial,
        save_weights=save_weights,
        target_accuracy=target_accuracy,
        probing=tuple(known) if limit else (),
        timeouts=timeouts or {},
        silence=silence,
        memory=memory,
        retries=retries,
        stream=stream,  # type: ignore[arg-type]
    )


def make_pair_plan(
    spec: Spec,
    dataset: str,
    backends: list[BackendInfo],
    known: list[BackendInfo],
    *,
    cores: str = "all",
    rounds: int = 20,
    device: str = "cpu",
    **options: Any,
) -> Plan:
    """Check the options of live pairs; `options` are those of `make_plan`.

    Raises:
        UsageError: as `make_plan`.

    """
    check_word("--cores", cores, ("all", "1"))
    check_word("--device", device, get_args(Device))
    check_range("--rounds", rounds, 4, 10_000)
    threads = None if cores == "all" else 1
    return make_plan(
        spec, dataset, backends, known, device=device, seeds=1, threads=threads, **options
    )


def settle_stream(plan: Plan, dataset: Dataset) -> Plan:
    """Return the plan with "auto" settled: "always" if there is no room for every worker's copy."""
    if plan.stream != "auto":
        return plan
    copies = len(plan.backends) * (2 if plan.device == "all" and may_have_gpu() else 1)
    wide = 2 if plan.precision == "float64" else 1
    is_too_large = copies * wide * dataset.train_images.nbytes > memory_limit()
    return replace(plan, stream="always" if is_too_large else "never")


def check_range(option: str, value: float, low: float, high: float) -> None:
    """See that an option's value lies within its range.

    Raises:
        UsageError: it does not.

    """
    if not low <= value <= high:
        near = min(max(value, low), high) if value == value else low
        raise UsageError(
            f"{option} {value:.10g}; allowed: {low:.10g} to {high:.10g}. Try: {option} {near:.10g}"
        )


def check_device(device: str) -> None:
    """See that `--device` is one of its words, and that there may be such a device.

    Raises:
        UsageError: it is not, or there is none.

    """
    check_word("--device", device, get_args(DeviceRequest))
    if device == "gpu" and not may_have_gpu():
        raise UsageError("--device gpu: this machine has none. Try: --device cpu")


def _check_target(share: float) -> None:
    """Refuse what is no share; that it is meant in per cent is likely then."""
    if not 0.0 < share <= 1.0:
        meant = share / 100 if 1.0 < share <= 100.0 else 0.99
        raise UsageError(
            f"--target-accuracy {share:.10g}; allowed: above 0, up to 1. "
            f"Try: --target-accuracy {meant:.10g}"
        )


def check_word(option: str, value: str, allowed: tuple[str, ...]) -> None:
    """See that an option's value is one of the words allowed.

    Raises:
        UsageError: it is not.

    """
    if value not in allowed:
        hint = did_you_mean(value, allowed)
        raise UsageError(
            f"{option} {value!r}; allowed: {', '.join(allowed)}.{hint} Try: {option} {allowed[0]}"
        )


def check_precision(precision: str, device: str, backends: list[BackendInfo]) -> None:
    """Refuse backends, and devices, that would compute in another precision than was asked for.

    Raises:
        UsageError: there is one; the message names what it can.

    """
    if precision == "tf32" and device != "gpu":
        raise UsageError(
            f"--precision 'tf32' is a mode of GPUs, and --device is {device!r}. "
            "Try: --device gpu, or --precision float32"
        )
    lacking = [info for info in backends if precision not in info.precisions]
    able = [info.label for info in backends if precision in info.precisions]
    if lacking:
        known = "; ".join(f"{info.label} can {' and '.join(info.precisions)}" for info in lacking)
        instead = f"--backend {','.join(able)}" if able else "--precision float32"
        raise UsageError(f"--precision {precision!r}: {known}. Try: {instead}")


def check_fit(
    spec: Spec, outputs: int, dataset: Dataset, target_accuracy: float | None = None
) -> None:
    """See that the model takes these images, that its loss can use these labels, in its batches.

    Raises:
        UsageError: they do not fit, the message says what each of the two has; or there is a
            target accuracy, and no classes that can be right or wrong.
        DataError: there are too few images for one batch, or for the validation split.

    """
    check_images(spec, outputs, dataset)
    if target_accuracy is not None and dataset.classes is None:
        raise UsageError(
            f"--target-accuracy: dataset {dataset.name!r} has values, and no classes to be right "
            "or wrong about. Try: without it"
        )
    training = spec.training
    rows, _ = split(len(dataset.train_images), training.validation_split, seed=0)
    epoch_batches(rows, training.batch_size, 0, 0, training.last_batch)


def fit(spec: Spec, dataset: Dataset) -> Spec:
    """Return `spec` with the data set's image size, and an output for each class or target.

    Raises:
        UsageError: the model has no layer to change, or is too deep for images of that size.

    """
    targets = dataset.train_labels
    outputs = dataset.classes or (targets.shape[1] if targets.ndim > 1 else 1)
    try:
        fitted = spec.fitted(dataset.image_shape, outputs)
        infer(fitted)
    except SpecError as error:
        problem = "; ".join(error.problems)
        raise UsageError(f"--fit: {spec.name!r} cannot be fitted: {problem}") from None
    except ValueError as error:
        raise UsageError(f"--fit: {error}. Try: another model") from None
    return fitted


def check_images(spec: Spec, outputs: int, dataset: Dataset) -> None:
    """See that the model takes these images, and that its loss can use these labels.

    Raises:
        UsageError: they do not fit; the message says what each of the two has.

    """
    if tuple(spec.input) != dataset.image_shape:
        raise UsageError(
            f"model {spec.name!r} takes {_by(spec.input)} images, dataset {dataset.name!r} has "
            f"{_by(dataset.image_shape)}. Try: {_instead(spec, dataset)}"
        )
    if dataset.classes is None:
        if spec.training.loss == "cross_entropy":
            raise UsageError(
                f"model {spec.name!r}: cross_entropy needs class labels, but dataset "
                f'{dataset.name!r} has real targets. Try: loss = "mean_squared_error" or "huber"'
            )
        width = dataset.train_labels.shape[1]
        if width != outputs:
            raise UsageError(
                f"model {spec.name!r} has {outputs} outputs, dataset {dataset.name!r} has {width} "
                f"targets for each image. Try: units = {width} in the last layer"
            )
        if spec.training.loss == "binary_cross_entropy":
            _check_shares(spec, dataset)
    elif dataset.classes > max(outputs, 2 * (spec.training.loss == "binary_cross_entropy")):
        raise UsageError(
            f"model {spec.name!r} has {outputs} outputs, dataset {dataset.name!r} has "
            f"{dataset.classes} classes. Try: --fit, or units = {dataset.classes} in the last layer"
        )


def _instead(spec: Spec, dataset: Dataset) -> str:
    """Return what would make them fit."""
    is_as_large = math.prod(spec.input) == math.prod(dataset.image_shape)
    if is_as_large and dataset.name.startswith("npz:"):
        return f"--dataset npz:FILE:{_by(spec.input)}, which says how its images are to be read"
    return f"--fit, or a model with input = {list(dataset.image_shape)}"


def _check_shares(spec: Spec, dataset: Dataset) -> None:
    """Refuse, for binary_cross_entropy, targets that are no probabilities."""
    low = min(dataset.train_labels.min(), dataset.test_labels.min())
    high = max(dataset.train_labels.max(), dataset.test_labels.max())
    if low < 0 or high > 1:
        raise UsageError(
            f"model {spec.name!r}: binary_cross_entropy needs targets from 0 to 1, dataset "
            f"{dataset.name!r} has them from {low:g} to {high:g}. "
            'Try: loss = "mean_squared_error" or "huber"'
        )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
