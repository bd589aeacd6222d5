"""Prediction timed: every backend in turns, at one batch size after the other.

The worker processes are those of a run, and so is the call that is timed: from the images in an
array of the host to the logits in another. First, one batch's logits are compared with the
reference's. Then each size has a warm-up, whose first call may compile, and rounds: in each, every
backend predicts some times, in an order drawn afresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data import Dataset
from harness.data.dataset import build
from harness.errors import UsageError
from harness.machine import describe_machine
from harness.run.agreement import CHECK_IMAGES, check_parameters
from harness.run.arrays import run_arrays, write_arrays
from harness.run.bench import Bench, Row, open_bench
from harness.run.blocks import turns
from harness.run.cell import Cell, figure, open_cell
from harness.run.folder import ResultsFolder, now
from harness.run.limit import beside_limit, prediction_limit
from harness.run.listener import Listener
from harness.run.plan import MOST_BATCH, Plan, check_images, check_range
from harness.run.preparation import find_limits, start_cells
from harness.run.reference import compare_with_reference
from harness.run.training import Calls
from harness.spec import Spec, infer, parameters_hash

BATCH_SIZES = (1, 8, 32, 128, 1024)
ROUNDS = 10
MOST_ROUNDS = 10_000
CALLS = Calls(warm_up=3, least=1, most=100, budget=0.2)
DRAWN_IMAGES = 64  # where no data set is named; larger batches repeat them

INFERENCE_COLUMNS = (
    "schema_version run_id started_at status error backend variant framework_version versions "
    "model model_hash dataset dataset_hash device device_name precision environment threads "
    "worker batch_size parameters flops_per_image init_hash equivalent equivalence_difference "
    "equivalence_where import_seconds build_seconds first_call_seconds images_per_second ms_p50 "
    "ms_p99 calls peak_host_bytes peak_device_bytes limit_images_per_second fraction_of_limit "
    "machine_key commit dirty"
).split()


class InferenceFolder(ResultsFolder):
    """`inference.csv`, `samples.csv`, `machine.json`, `models/` and `logs/` of one `infer`."""

    parent = Path("results") / "inference"


def parse_sizes(text: str) -> tuple[int, ...]:
    """Read batch sizes, separated by commas; in rising order, each once.

    Raises:
        UsageError: one is no number, or out of range.

    """
    sizes = set()
    for word in filter(None, (part.strip() for part in text.split(","))):
        if not word.removeprefix("-").isdecimal():
            raise UsageError(f"--batch-sizes {word!r} is no number. Try: --batch-sizes 1,32")
        check_range("--batch-sizes", int(word), 1, MOST_BATCH)
        sizes.add(int(word))
    if not sizes:
        raise UsageError(f"--batch-sizes {text!r} has none. Try: --batch-sizes 1,32")
    return tuple(sorted(sizes))


def check_request(spec: Spec, dataset: Dataset | None, rounds: int) -> None:
    """See that there are rounds, and that the model takes the images.

    Raises:
        UsageError: that is not so.

    """
    check_range("--rounds", rounds, 1, MOST_ROUNDS)
    if dataset:
        check_images(spec, infer(spec).output_shape[0], dataset)


def drawn_images(spec: Spec) -> Dataset:
    """Return images of the model's size, of normally distributed values, and no labels to speak of.

    What a prediction takes does not depend on them.
    """
    generator = np.random.default_rng(0)
    images = generator.standard_normal((DRAWN_IMAGES, *spec.input), np.float32)
    outputs = infer(spec).output_shape[0]
    classes = outputs if spec.training.loss == "cross_entropy" else None
    labels: NDArray[Any] = np.zeros(DRAWN_IMAGES, np.int32)
    if classes is None:
        labels = np.zeros((DRAWN_IMAGES, outputs), np.float32)
    return build("drawn", (images, labels), (images, labels), classes)


def measure(
    plan: Plan,
    weights: Mapping[str, NDArray[Any]],
    dataset: Dataset | None,
    batch_sizes: Sequence[int],
    rounds: int,
    folder: InferenceFolder,
    listener: Listener,
    remarks: Mapping[str, Any] = {},
) -> list[Row]:
    """Time predictions of every backend of `plan`; return the rows, which are also on disk.

    Without `dataset` the images are drawn. A backend that fails at a size has rows that say so,
    and takes no part in larger ones.

    Raises:
        UsageError: model and dataset do not fit, or a GPU was asked for and there is none.
        WorkerError: the NumPy reference failed.
        StorageError: what is measured cannot be written to disk.
        Interrupted: by Ctrl-C; what was measured before is on disk.

    """
    check_request(plan.spec, dataset, rounds)
    outputs = infer(plan.spec).output_shape[0]
    images = dataset or drawn_images(plan.spec)
    machine = describe_machine()
    kept_so_far = f"interrupted; what was measured before is in {folder.path}"
    shared = (plan, images, folder, listener, machine["machine_key"], kept_so_far)
    rows: list[Row] = []
    with closing(folder), open_bench(*shared) as bench:
        folder.write_json("machine.json", {**machine, **remarks})
        find_limits(bench)
        arrays = run_arrays(plan.spec, outputs, images)
        kept = {"train": 1, "test": max(*batch_sizes, CHECK_IMAGES)}  # nothing is trained
        write_arrays(bench.scratch, {k: v[: kept[k.split("_")[0]]] for k, v in arrays.items()})
        start_cells(bench)
        bench.each("build", lambda cell: open_cell(cell, folder, bench.scratch))
        _compare(bench, weights)
        bench.each("", lambda cell: cell.ask("reset", weights, seed=0))
        for size in batch_sizes:
            rows += _time_size(bench, weights, size, rounds)
            folder.write_table("inference.csv", INFERENCE_COLUMNS, rows)
    return rows


def _compare(bench: Bench, weights: Mapping[str, NDArray[Any]]) -> None:
    """Compare everyone's logits of some images with the reference's."""
    parameters = check_parameters(weights)
    rows = np.arange(min(CHECK_IMAGES, len(bench.dataset.test_images)))

    def answer(cell: Cell, seed: int) -> dict[str, NDArray[Any]]:
        cell.ask("reset", parameters, seed=seed)
        wanted = {"split": "test", "batch_size": len(rows), "logits": True}
        return {"predictions": cell.ask("evaluate", {"rows": rows}, **wanted)[1]["logits"]}

    compare_with_reference(bench, answer)


def _time_size(
    bench: Bench, weights: Mapping[str, NDArray[Any]], size: int, rounds: int
) -> list[Row]:
    """Warm up, and time all rounds at one batch size; return every cell's row of it."""
    facts = {"started_at": now(), "batch_size": size, "init_hash": parameters_hash(weights)}
    calls: dict[str, int] = {}
    first: dict[str, float] = {}
    found: dict[str, list[float]] = {cell.label: [] for cell in bench.cells}

    def warm_up(cell: Cell) -> None:
        seconds = _predict(bench, cell, size, -1, 0, CALLS.warm_up)
        first[cell.label] = float(seconds[0])
        calls[cell.label] = CALLS.within_budget(float(seconds.min()))

    bench.each(f"batches of {size}", warm_up)
    for number in range(rounds):
        for position, turn in enumerate(turns(len(bench.cells), size, number)):
            cell = bench.cells[turn]
            if cell.running:
                bench.attempt(
                    cell,
                    lambda cell, n=number, p=position: found[cell.label].extend(  # type: ignore[misc]
                        _predict(bench, cell, size, n, p, calls[cell.label])
                    ),
                )
    bench.each("", _measure_memory)
    rows = []
    for cell in bench.cells:
        cell.results["first_call_seconds"] = first.get(cell.label)
        figures = _figures(np.array(found[cell.label]), size) if cell.running else {}
        rows.append(_row(bench, cell, size, {**facts, **figures}))
    return rows


def _predict(
    bench: Bench, cell: Cell, size: int, number: int, position: int, calls: int
) -> NDArray[np.float64]:
    started_at = now()
    seconds = cell.predict(size, calls)
    place = {"round": number, "position": position, "phase": "predict", "images": size}
    bench.folder.add_samples(
        {**cell.keys, **place, "block": call, "seconds": float(value), "started_at": started_at}
        for call, value in enumerate(seconds)
    )
    return seconds


def _measure_memory(cell: Cell) -> None:
    fields, _ = cell.ask("memory")
    cell.results["peak_host_bytes"] = figure(fields, "host")
    cell.results["peak_device_bytes"] = figure(fields, "device")


def _figures(seconds: NDArray[np.float64], size: int) -> Row:
    """Return throughput at the median call, and percentiles of a call's milliseconds."""
    p50, p99 = np.percentile(seconds * 1000, [50, 99])
    rate = float(size / np.median(seconds))
    return {"images_per_second": rate, "ms_p50": float(p50), "ms_p99": float(p99)} | {
        "calls": len(seconds)
    }


def _row(bench: Bench, cell: Cell, size: int, found: Row) -> Row:
    status, error = cell.outcome
    outcome = {"status": status, "error": error}
    row = {**outcome, **cell.keys, **bench.common(), **cell.facts, **cell.results, **found}
    if peaks := bench.peaks.get(cell.device):
        limit = prediction_limit(bench.plan.spec, size, peaks)
        row |= beside_limit(limit, row.get("images_per_second"))
    return row
