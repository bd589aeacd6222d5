"""One run: every backend on every device, the same network, the same batches, in turns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

from harness.data import Dataset, OrderHash
from harness.errors import Interrupted, StorageError, UsageError
from harness.machine import describe_machine
from harness.run.bench import Bench, Row, open_bench
from harness.run.cell import Cell
from harness.run.folder import ResultsFolder, now
from harness.run.identity import identity
from harness.run.listener import Listener
from harness.run.plan import Plan, check_fit, settle_stream
from harness.run.preparation import find_limits, prepare, restart, wanted_devices
from harness.run.resume import next_round, set_aside, take_up
from harness.run.signals import Ended, in_order
from harness.run.training import train_seed
from harness.spec import infer, parameters_hash

STRIKES = 2  # workers that failed on seeds one after the other; a third is not started


def run(
    plan: Plan,
    dataset: Dataset,
    folder: ResultsFolder,
    listener: Listener,
    remarks: Mapping[str, Any] = {},
    request: Mapping[str, Any] = {},
) -> list[Row]:
    """Carry out `plan`; return the rows of the summary, which are also on disk.

    `remarks` are kept in `machine.json`, for example the command line; `request` in the journal, to
    make the same plan again from. Backends that fail have rows that say so, and do not end the run.
    Where the folder was taken up again, cells that have ended are left as they are.

    Raises:
        UsageError: model and dataset do not fit, a GPU was asked for and there is none, or the
            run in the folder was begun with something else.
        WorkerError: the NumPy reference failed.
        StorageError: what is measured cannot be written to disk.
        Interrupted: by Ctrl-C, SIGTERM or SIGHUP; what was measured before is on disk.

    """
    try:
        with in_order(), closing(folder):
            check_fit(plan.spec, infer(plan.spec).output_shape[0], dataset, plan.target_accuracy)
            machine = describe_machine()
            with open_bench(plan, dataset, folder, listener, machine["machine_key"]) as bench:
                _begin(bench, identity(plan, dataset, machine), {**machine, **remarks}, request)
                left = {key.seed for key in bench.journal.rows if bench.journal.is_open(key)}
                listener.started(replace(bench.plan, seeds=tuple(sorted(left))), str(folder.path))
                if left:
                    find_limits(bench)
                    _all_seeds(bench)
                    bench.finish_summary()
                return list(bench.journal.current())
    except KeyboardInterrupt as error:
        kept = f"interrupted; what was measured before is in {folder.path}"
        interrupted = Interrupted(kept)
        if isinstance(error, Ended):
            interrupted.exit_code = 128 + error.number
        raise interrupted from None
    except StorageError as error:
        error.args = (
            f"{error}; what was measured before is in {folder.path}. Try: make room, then "
            f"python -m harness run --resume {folder.path}",
        )
        raise


def _begin(
    bench: Bench, what: Mapping[str, Any], machine: Mapping[str, Any], request: Mapping[str, Any]
) -> None:
    """Begin the journal with all that is planned, or take up the one that is there.

    One may have been cut short before all was in it that is planned.
    """
    if bench.folder.journal is not None:
        take_up(bench, what)
    else:
        bench.folder.write_json("machine.json", machine)
        bench.folder.write_json("spec.json", bench.plan.spec.model_dump(mode="json"))
        bench.folder.begin_journal({"begun_at": now(), "identity": what, "request": dict(request)})
    # What there was room for when the run began holds to its end.
    known = bench.journal.head.get("stream")
    if known in ("never", "always"):
        bench.plan = replace(bench.plan, stream=known)
    else:
        bench.plan = settle_stream(bench.plan, bench.dataset)
        bench.journal.note("room for the training set", stream=bench.plan.stream)
    bench.plan_rows(wanted_devices(bench.plan.device))


def _all_seeds(bench: Bench) -> None:
    """Prepare, then train seed by seed."""
    seeds = sorted({key.seed for key in bench.journal.rows if bench.journal.is_open(key)})
    try:
        with _noting(bench, seeds[0], bench.cells, {"started_at": now()}):
            prepare(bench)
        for seed in seeds:
            for cell in bench.cells:
                _replace_worker(bench, cell, seed)
            train(bench, seed, _open_cells(bench, seed))
            for _ in range(bench.plan.retries):
                again = [c for c in bench.cells if not c.rests and c.outcome[0] == "crashed"]
                for cell in again:
                    restart(bench, cell)
                if again:
                    train(bench, seed, again)
    finally:
        for cell in bench.cells:
            if not cell.dead:
                cell.worker.close()


def _open_cells(bench: Bench, seed: int) -> list[Cell]:
    """Return the cells that have not ended on this seed."""
    return [cell for cell in bench.cells if bench.is_wanted(cell.info, cell.device, seed)]


def _replace_worker(bench: Bench, cell: Cell, seed: int) -> None:
    """Give a cell whose worker failed on an earlier seed another one, for this.

    One that failed in the preparation would do so again; one whose workers have failed on two seeds
    in a row is not tried any more.
    """
    if not cell.dead or not cell.is_warm or not bench.is_wanted(cell.info, cell.device, seed):
        return
    if cell.strikes < STRIKES:
        restart(bench, cell)
        return
    status, error = cell.outcome
    if status != "skipped":
        problem = f"not tried: {cell.strikes} workers failed one after the other; {status}: {error}"
        cell.outcome = ("skipped", problem)


def train(bench: Bench, seed: int, cells: Sequence[Cell]) -> None:
    """Train these cells on a seed, in rounds of their own; whatever ends it, rows are written."""
    order_hash = OrderHash()
    facts = {"started_at": now(), "init_hash": parameters_hash(bench.initial(seed))}
    for cell in bench.cells:
        cell.rests = cell not in cells
    for cell in cells:
        cell.begin_seed()
    with _noting(bench, seed, cells, facts):
        begin = [cell for cell in cells if cell.running]
        bench.note_status(seed, begin, facts, "running")
        set_aside(bench)
        train_seed(bench, seed, order_hash, next_round(bench, seed))
        facts["order_hash"] = order_hash.hexdigest()
        bench.note_status(seed, cells, facts)
    for cell in begin:
        if cell.running:
            cell.strikes = 0


@contextmanager
def _noting(bench: Bench, seed: int, cells: Sequence[Cell], facts: Row) -> Iterator[None]:
    """Put on disk what became of cells when something ends the whole run; no wrong usage does."""
    try:
        yield
    except (StorageError, UsageError):
        raise  # nothing can be written, or nothing was run
    except BaseException as error:
        for cell in cells:
            if cell.running:
                cell.outcome = ("interrupted", str(error) or "by Ctrl-C")
        wanted = [cell for cell in cells if bench.is_wanted(cell.info, cell.device, seed)]
        bench.note_status(seed, wanted, facts)
        bench.finish_summary()
        raise
