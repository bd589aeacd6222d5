"""One run: every backend on every device, the same network, the same batches, in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.data import Dataset, OrderHash
from harness.errors import Interrupted
from harness.machine import describe_machine
from harness.run.bench import Bench, Row
from harness.run.folder import ResultsFolder, now
from harness.run.listener import Listener
from harness.run.plan import Plan, check_fit
from harness.run.preparation import describe_bench, prepare
from harness.run.training import train_seed
from harness.spec import infer, parameters_hash


def run(
    plan: Plan,
    dataset: Dataset,
    folder: ResultsFolder,
    listener: Listener,
    remarks: Mapping[str, Any] = {},
) -> list[Row]:
    """Carry out `plan`; return the rows of the summary, which are also on disk.

    `remarks` are kept in `machine.json`, for example the command line. Backends that fail have
    rows that say so, and do not end the run.

    Raises:
        UsageError: model and dataset do not fit, or a GPU was asked for and there is none.
        WorkerError: the NumPy reference failed.
        Interrupted: by Ctrl-C; what was measured before is on disk.

    """
    check_fit(plan.spec, infer(plan.spec).output_shape[0], dataset, plan.target_accuracy)
    scratch = tempfile.TemporaryDirectory(prefix="harness-", ignore_cleanup_errors=True)
    bench = Bench(
        plan, dataset, folder, listener, describe_machine()["machine_key"], Path(scratch.name)
    )
    listener.started(plan, str(folder.path))
    try:
        describe_bench(bench, remarks)
        _all_seeds(bench)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; what was measured before is in {folder.path}") from None
    finally:
        for cell in bench.cells:
            cell.worker.kill()
        scratch.cleanup()
        folder.close()
        listener.finished()
    return bench.rows


def _all_seeds(bench: Bench) -> None:
    """Prepare, then train seed by seed; whatever ends a seed, its rows are written."""
    seed, facts, order_hash = bench.plan.seeds[0], {"started_at": now()}, OrderHash()
    try:
        prepare(bench)
        for seed in bench.plan.seeds:
            order_hash = OrderHash()
            init_hash = parameters_hash(bench.initial(seed))
            facts = {"started_at": now(), "init_hash": init_hash}
            for cell in bench.cells:
                cell.begin_seed()
            train_seed(bench, seed, order_hash)
            facts["order_hash"] = order_hash.hexdigest()
            bench.write_rows(seed, facts)
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        for cell in bench.cells:
            if cell.running:
                cell.outcome = (status, str(error) or "by Ctrl-C")
        if all(row["seed"] != seed for row in bench.rows):
            bench.write_rows(seed, facts)
        raise
    finally:
        for cell in bench.cells:
            if not cell.dead:
                cell.worker.close()
