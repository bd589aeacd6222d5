"""From what is asked for, option by option, to a plan and its data: the one way to a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import data, registry
from harness.data import Dataset
from harness.errors import UsageError
from harness.registry import BackendInfo
from harness.run.limits import parse_memory, parse_timeout
from harness.run.plan import Plan, check_fit, make_plan
from harness.run.plan import fit as fit_to
from harness.run.process import NO_USE
from harness.run.weights import read_weights
from harness.spec import Spec, infer, load_spec

# Options that `make_plan` has by the same name.
PLANNED = (
    "device seeds epochs batch_size precision environment threads block_steps save_weights silence "
    "retries target_accuracy stream"
).split()


@dataclass(frozen=True)
class Request:
    """What is to be run on what, and the backends that were left out, each with the reason."""

    plan: Plan
    dataset: Dataset
    skipped: tuple[tuple[BackendInfo, str], ...]


def make_request(
    options: Mapping[str, Any],
    known: Sequence[BackendInfo] | None = None,
    load: Callable[[str], Dataset] | None = None,
    *,
    without_unable: bool = False,
) -> Request:
    """Read, choose, plan and load; `options` are those of `harness run`, by their names in Python.

    `known` are the registered backends, where they are known already; `load` returns a dataset by
    its name. With `without_unable`, backends that cannot compute in the precision asked for are
    left out, as long as others can.

    Raises:
        UsageError: an option, the spec or the dataset is wrong, or they do not fit each other.
        NotInstalledError: a backend that was named in full is not installed.
        WorkerError: a plug-in cannot be asked what it is.

    """
    load = load or data.load
    timeout, timeouts = parse_timeout(options["timeout"])
    spec, loaded = load_model(options["model"], options["dataset"], options["fit"], load)
    weights = options["initial_weights"]
    given = read_weights(Path(weights), spec) if weights else None
    plugins = options["plugin"] or []
    chosen, skipped, everyone = registry.choose(options["backend"], plugins, known)
    if without_unable:
        able = [info for info in chosen if options["precision"] in info.precisions]
        unable = [info for info in chosen if info not in able]
        if able:
            reason = f"cannot compute in {options['precision']}"
            chosen, skipped = able, [*skipped, *((info, reason) for info in unable)]
    plan = make_plan(
        spec,
        options["dataset"],
        chosen,
        everyone,
        initial=given.arrays if given else None,
        timeout=timeout,
        timeouts=timeouts,
        memory=parse_memory(options["memory"]) if options["memory"] else None,
        limit=not options["no_limit"],
        **{name: options[name] for name in PLANNED},
    )
    loaded = loaded or load(options["dataset"])
    check_fit(plan.spec, infer(plan.spec).output_shape[0], loaded, plan.target_accuracy)
    return Request(plan, loaded, tuple(skipped))


def load_model(
    model: str, dataset: str, fit: bool, load: Callable[[str], Dataset] = data.load
) -> tuple[Spec, Dataset | None]:
    """Return the model, and, where it is to fit the data set, that: else it is not loaded yet.

    Raises:
        UsageError: there is no such model or dataset, or the one cannot be fitted to the other.

    """
    spec = load_spec(model)
    if not fit:
        return spec, None
    loaded = load(dataset)
    return fit_to(spec, loaded), loaded


@contextmanager
def as_begun(place: Path) -> Iterator[None]:
    """Make a request of what a folder's own file asks for, which somebody may have written by hand.

    Raises:
        UsageError: no command would have asked so.

    """
    try:
        yield
    except NO_USE as error:
        raise UsageError(
            f"--resume {place}: what was asked for there makes no sense "
            f"({type(error).__name__}: {error!s:.200}). Try: --out, for a new run"
        ) from None
