"""Before training: import, build, first step, comparison with the reference, self-test, warm-up.

The first step comes before the comparison, as that would compile most of what it needs, and the
compile seconds would say little. Its result is not kept.
"""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from harness.contract import Device
from harness.errors import UsageError, WorkerError
from harness.machine import may_have_gpu
from harness.run.agreement import check_batch
from harness.run.arrays import run_arrays, write_arrays
from harness.run.bench import Bench
from harness.run.blocks import Block, steps_per_block, training_blocks
from harness.run.cell import (
    Cell,
    begin_import,
    end_import,
    open_cell,
    restart_cell,
    start_cell,
)
from harness.run.checked import network_hash, newest_check
from harness.run.peaks import as_json, find_peaks, from_json
from harness.run.pending import Pending
from harness.run.process import WorkerProcess, first_to_answer
from harness.run.reference import check_network
from harness.run.resume import refuse_other_versions
from harness.spec import infer

WARMUP_STEPS = 3


def prepare(bench: Bench) -> None:
    """Get every cell ready to train, in blocks of `bench.block_steps`.

    Raises:
        UsageError: a GPU was asked for, and there is none.
        WorkerError: the reference failed; without it there is nothing to compare with.

    """
    plan = bench.plan
    arrays = run_arrays(plan.spec, infer(plan.spec).output_shape[0], bench.dataset)
    write_arrays(bench.scratch, arrays)
    start_cells(bench)
    _make_ready(bench, arrays)


def _make_ready(bench: Bench, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Build, take the first step, check and warm up, once all have imported."""
    refuse_other_versions(bench)
    bench.each("", lambda cell: _look_up_check(bench, cell))
    bench.each("build", lambda cell: open_cell(cell, bench.folder, bench.scratch))
    bench.each("first step", lambda cell: first_step(bench, cell))
    if any(cell.running and "equivalent" not in cell.facts for cell in bench.cells):
        images, targets = arrays["train_images"], arrays["train_targets"]
        check_network(bench, check_batch(bench.plan.spec, images, targets))
    bench.each("self-test", lambda cell: refuse_early(bench, cell))
    _warm_up(bench)
    for cell in bench.cells:
        cell.is_warm = cell.running


def restart(bench: Bench, cell: Cell) -> bool:
    """Give a cell whose worker failed another one, as ready to train as the first was.

    That it is the same network is known from the first, if that came so far.

    Returns:
        Whether the new worker is ready, or has failed as well.

    Raises:
        UsageError: its framework has other versions than before.
        WorkerError: the reference failed.

    """
    restart_cell(cell, bench.folder, bench.scratch)
    cell.facts.pop("warmup_seconds", None)
    bench.listener.phase(cell.label, f"import, by worker {cell.number}")
    with bench.only(cell):
        bench.each("", _import)
        arrays = run_arrays(bench.plan.spec, infer(bench.plan.spec).output_shape[0], bench.dataset)
        _make_ready(bench, arrays)
    return cell.running


def _import(cell: Cell) -> None:
    begin_import(cell)
    end_import(cell)


def find_limits(bench: Bench) -> None:
    """Find the limits of the machine, if figures are to be set beside them; note them on disk.

    They are measured where they are not known. A run that goes on keeps those it began with.
    """
    plan, journal = bench.plan, bench.folder.journal
    if not plan.probing:
        return
    known = journal.head.get("peaks") if journal is not None else None
    if known is None:
        settings = (wanted_devices(plan.device), plan.threads, plan.precision)
        found = find_peaks(*settings, plan.probing, bench.listener)
        known = [as_json(peaks) for peaks in found.values()]
        bench.folder.add_to_json("machine.json", peaks=known)
        if journal is not None:
            journal.note("limits found", peaks=known)
    bench.peaks = {peaks.device: peaks for peaks in map(from_json, known)}


def _look_up_check(bench: Bench, cell: Cell) -> None:
    """Note what the newest check of this network and backend said."""
    wanted = {
        **{key: str(value) for key, value in cell.keys.items()},
        "versions": str(cell.facts["versions"]),
        "network_hash": network_hash(bench.plan.spec),
        "precision": bench.plan.precision,
        "machine_key": bench.machine_key,
    }
    cell.facts["checked"] = newest_check(wanted)


def start_cells(bench: Bench) -> None:
    """Start a worker for each backend on each device, and have it import its framework.

    As many import at once as there are cores that workers may use. An import is the work of one
    thread, and costs the same CPU seconds beside another as alone, so with a core for each the
    wall seconds remain its own; with more at once they would be those of several on one core.
    Nothing else is timed meanwhile: to build and to compile takes several threads, and is done
    by one after the other once all have imported.
    """
    wanted = wanted_devices(bench.plan.device)
    waiting = deque(
        (info, device)
        for info in bench.plan.backends
        for device in wanted
        if any(bench.is_wanted(info, device, seed) for seed in bench.plan.seeds)
    )
    busy: dict[WorkerProcess, Cell] = {}
    without = []
    while waiting or busy:
        if waiting and len(busy) < bench.plan.threads:
            info, device = waiting.popleft()
            label = info.label if len(wanted) == 1 else f"{info.label} {device}"
            bench.listener.phase(label, "import")
            cell = start_cell(info, device, bench.plan, bench.folder, bench.scratch, label)
            cell.number = bench.next_worker(info, device)
            bench.cells.append(cell)
            if bench.attempt(cell, begin_import):
                busy[cell.worker] = cell
            continue
        limit = bench.plan.limits.seconds("prepare", is_warm=False)
        cell = busy.pop(first_to_answer(busy, limit))
        if bench.attempt(cell, end_import) and cell.device not in cell.devices:
            bench.cells.remove(cell)
            cell.worker.kill()
            without.append(cell)
    if not bench.cells:
        raise UsageError(
            f"--device {bench.plan.device}: none is seen by {', '.join(c.label for c in without)}. "
            "Try: --device cpu, or install builds of the frameworks that can use it"
        )
    for cell in without:
        cell.outcome = ("skipped", "the framework sees no such device")
        bench.listener.failed(cell.label, *cell.outcome)
        if bench.folder.journal is not None:
            for seed in bench.plan.seeds:
                bench.note_status(seed, [cell], {})


def wanted_devices(request: str) -> list[Device]:
    """Return the devices that `--device` asks for, as far as can be known without a framework."""
    if request == "all":
        return ["cpu", "gpu"] if may_have_gpu() else ["cpu"]
    return ["gpu" if request == "gpu" else "cpu"]


def first_blocks(bench: Bench, steps: int) -> list[Block]:
    """Return the first seed's first block of `steps`, and one of each other shape that occurs."""
    seed = bench.plan.seeds[0]
    rows, _ = bench.split(seed)
    blocks = next(training_blocks(rows, bench.plan.spec.training, seed, steps))
    by_shape = {block.order.shape: block for block in reversed(blocks)}
    return sorted(by_shape.values(), key=lambda block: -block.images)


def first_step(bench: Bench, cell: Cell) -> None:
    """Time the first training step, in which compiled backends trace and compile."""
    seed = bench.plan.seeds[0]
    cell.ask("reset", bench.initial(seed), seed=seed)
    block = first_blocks(bench, 1)[0]
    cell.facts["compile_seconds"] = train_aside(bench, cell, block, "compile")


def train_aside(bench: Bench, cell: Cell, block: Block, phase: str) -> float:
    """Train a block outside of the rounds, and return its seconds."""
    seconds, loss = cell.train(block.order, block.rates)
    fields = {"steps": len(block.order), "images": block.images, "seconds": seconds, "loss": loss}
    bench.sample(cell, phase, seed=bench.plan.seeds[0], **fields)
    return seconds


def refuse_early(bench: Bench, cell: Cell) -> None:
    """See that the backend's clock readings mean something: see `pending`.

    One that returns early takes no more part: what it left undone would fall into others' turns.

    Raises:
        WorkerError: with status `early`; and as `Cell.ask`.

    """
    block, parameters = first_blocks(bench, 1)[0], bench.initial(bench.plan.seeds[0])
    arrays = {**parameters, "batch": block.order[0]}
    fields, _ = cell.ask("pending", arrays, rate=float(block.rates[0]))
    found = Pending(**{field.name: fields[field.name] for field in dataclasses.fields(Pending)})
    if found.is_early:
        raise WorkerError(f"{cell.label}: {found}", "early")


def _warm_up(bench: Bench) -> None:
    """Train until a step's time is known, choose the blocks, and see each shape once.

    Some backends compile little programs for each number of steps; none of that may fall into a
    measured block.
    """
    fastest = math.inf

    def train(cell: Cell, blocks: Sequence[Block]) -> float:
        for block in blocks:
            seconds = train_aside(bench, cell, block, "warmup")
            cell.facts["warmup_seconds"] = cell.facts.get("warmup_seconds", 0.0) + seconds
        return seconds / len(blocks[-1].order)

    def calibrate(cell: Cell) -> None:
        nonlocal fastest
        block = first_blocks(bench, WARMUP_STEPS)[0]
        fastest = min(fastest, train(cell, [block, block]))

    training = bench.plan.spec.training
    rows, _ = bench.split(bench.plan.seeds[0])
    steps_per_epoch = max(len(rows) // training.batch_size, 1)
    bench.each("warm-up", calibrate)
    # Rounds of a run that goes on are to be those that it began with.
    known = bench.journal.head.get("block_steps")
    chosen = known or bench.plan.block_steps
    bench.block_steps = chosen or steps_per_block(fastest, steps_per_epoch, training.epochs)
    if not known and math.isfinite(fastest):
        bench.journal.note("warmed up", block_steps=bench.block_steps)
    bench.each("warm-up", lambda cell: train(cell, first_blocks(bench, bench.block_steps)))
