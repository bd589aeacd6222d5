"""Live pairs: two fresh processes, both alive, stepping alternately in random order.

What disturbs the machine hits both alike, and each pair gives one number for each measure: the
logarithm of the second side's seconds over the first's. Which side starts first, and which goes
first in a round, is drawn in balanced twos.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from harness.data import Dataset
from harness.errors import WorkerError
from harness.machine import describe_machine
from harness.registry import BackendInfo
from harness.run.agreement import check_batch
from harness.run.arrays import run_arrays, write_arrays
from harness.run.bench import Bench, open_bench
from harness.run.blocks import steps_per_block
from harness.run.cell import (
    DEFAULT_SIDE,
    Cell,
    Side,
    begin_import,
    begin_open,
    end_import,
    end_open,
    open_cell,
    start_cell,
)
from harness.run.durable import storing
from harness.run.folder import now
from harness.run.listener import Listener
from harness.run.pair_cores import masks, on
from harness.run.pair_rounds import first_is_a, orders, put, whole_blocks
from harness.run.pairs_folder import Pair, PairsFolder
from harness.run.plan import Plan, check_fit, settle_stream
from harness.run.preparation import first_blocks, first_step, refuse_early, train_aside
from harness.run.process import NO_USE, no_use
from harness.run.reference import check_network
from harness.spec import infer

MEASURES = ("train", "predict", "compile")
BLOCK_SECONDS = 0.025  # of the faster side; the shorter, the better what both meet cancels out
ROUNDS = 60
WARMUP_ROUNDS = 2
WARMUP_STEPS = 3
MOST_CALLS = 25


@dataclass(frozen=True)
class Contestant:
    """One side of a comparison: `A` or `B`, a backend, and with what its worker is started.

    `options` are fields of the plan that are otherwise on this side.
    """

    name: str
    info: BackendInfo
    side: Side = DEFAULT_SIDE
    options: Mapping[str, Any] = field(default_factory=dict)

    def plan(self, shared: Plan) -> Plan:
        """Return the plan as it is on this side."""
        return replace(shared, **self.options)

    @property
    def label(self) -> str:
        """`A torch`."""
        return f"{self.name} {self.info.label}"


@dataclass
class PairBench:
    """Measures pairs of the same two contestants, one after the other.

    `differences` says by label how a side is not the reference's network, `versions` what each
    side's framework and its own are; both are known after the first pair.
    """

    bench: Bench
    contestants: tuple[Contestant, Contestant]
    measures: Sequence[str]
    rounds: int = ROUNDS
    allow_changed: bool = False
    batch: Mapping[str, Any] = field(default_factory=dict)
    calls: int = 0
    differences: dict[str, str] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    is_first: bool = True

    def measure(self, number: int) -> Pair:
        """Start both sides afresh, and measure; a failure is in the pair."""
        bench, order = self.bench, self.contestants[:: 1 if first_is_a(number) else -1]
        labels = [contestant.info.label for contestant in self.contestants]
        pair = Pair(number, order[0].name, now(), (labels[0], labels[1]))
        scratch = bench.scratch / f"pair-{number}"
        with storing(scratch):
            scratch.mkdir()
        bench.cells = []
        cores = masks(bench.plan.threads)
        try:
            for contestant, own in zip(order, cores, strict=True):
                with on(own):
                    self._start(contestant, number, scratch)
            # Imports are not measured here, so they may run at the same time.
            for cell in bench.cells:
                self._await_import(cell)
            if "compile" not in self.measures:
                self._prepare()
            if cores[1] != cores[0]:
                bench.cells[1].worker.move(cores[0])
            if "compile" in self.measures:
                self._compile(pair)
            self._measure(pair, {str(cell.tag["side"]): cell for cell in bench.cells})
            self.is_first = False
        except WorkerError as error:
            pair.failed = str(error)
        except NO_USE as error:
            pair.failed = str(no_use("a side", [cell.worker.log for cell in bench.cells], error))
        finally:
            for cell in bench.cells:
                if pair.failed:
                    cell.worker.kill()
                else:
                    cell.worker.close()
        if pair.failed:
            bench.check_room()
        return pair

    def _start(self, contestant: Contestant, number: int, scratch: Path) -> None:
        bench, side = self.bench, contestant.side
        tagged = Side(side.python, side.environment, {"side": contestant.name, "pair": number})
        device = bench.plan.device
        assert device != "all"
        label = contestant.label
        bench.listener.phase(label, "import")
        plan = contestant.plan(bench.plan)
        cell = start_cell(contestant.info, device, plan, bench.folder, scratch, label, side=tagged)
        bench.cells.append(cell)
        begin_import(cell)

    def _await_import(self, cell: Cell) -> None:
        end_import(cell)
        if cell.device not in cell.devices:
            raise WorkerError(f"{cell.label}: the framework sees no {cell.device}", "failed")

    def _prepare(self) -> None:
        """Have both built and compiled at the same time, as neither is measured."""
        bench = self.bench
        for cell in bench.cells:
            begin_open(cell, bench.folder, bench.scratch)
        for cell in bench.cells:
            end_open(cell)
        seed, block = bench.plan.seeds[0], first_blocks(bench, 1)[0]
        for cell in bench.cells:
            cell.send("reset", bench.initial(seed), seed=seed)
        for cell in bench.cells:
            cell.receive("reset")
        for cell in bench.cells:
            bench.listener.phase(cell.label, "first step")
            cell.send("train", {"order": block.order, "rates": block.rates})
        for cell in bench.cells:
            cell.receive("train")

    def _compile(self, pair: Pair) -> None:
        """Measure the first steps, in which compiled backends trace and compile, in turns."""
        bench = self.bench
        for cell in bench.cells:
            open_cell(cell, bench.folder, bench.scratch)
        for cell in bench.cells:
            bench.listener.phase(cell.label, "first step")
            first_step(bench, cell)
        found = {str(c.tag["side"]): float(c.facts["compile_seconds"]) for c in bench.cells}
        put(pair, "compile", [found])

    def _measure(self, pair: Pair, sides: dict[str, Cell]) -> None:
        bench = self.bench
        if self.is_first:
            self.versions = {name: json.loads(c.facts["versions"]) for name, c in sides.items()}
            self._check(sides)
            if self.differences and not self.allow_changed:
                return
            for cell in bench.cells:
                refuse_early(bench, cell)
        seed = bench.plan.seeds[0]
        for cell in bench.cells:
            cell.ask("reset", bench.initial(seed), seed=seed)
        if "train" in self.measures:
            self._train(pair, sides)
        if "predict" in self.measures:
            self._predict(pair, sides)

    def _check(self, sides: dict[str, Cell]) -> None:
        """See that both compute the network of the reference."""
        check_network(self.bench, dict(self.batch))
        for cell in sides.values():
            if not cell.running:
                raise WorkerError(cell.outcome[1], cell.outcome[0])
            if not cell.facts["equivalent"]:
                self.differences[cell.label] = (
                    f"{cell.label} is not the reference's network: "
                    f"{cell.facts['equivalence_where']} differs by "
                    f"{cell.facts['equivalence_difference']:.1e} of its largest value"
                )

    def _train(self, pair: Pair, sides: dict[str, Cell]) -> None:
        bench = self.bench
        if bench.plan.block_steps is None and self.is_first:
            self._choose_block(sides)
        blocks = whole_blocks(bench, bench.block_steps)
        for cell in sides.values():
            train_aside(bench, cell, blocks[0], "warmup")
        found = []
        rounds = islice(cycle(blocks), WARMUP_ROUNDS + self.rounds)
        for number, (block, order) in enumerate(zip(rounds, orders(pair.number), strict=False)):
            warm = number >= WARMUP_ROUNDS
            seconds = {}
            for position, name in enumerate(order):
                started_at, cell = now(), sides[name]
                taken, loss = cell.train(block.order, block.rates)
                if not math.isfinite(loss):  # whose seconds are those of no training
                    raise WorkerError(f"{cell.label}: the loss became {loss}", "failed")
                fields = {"steps": len(block.order), "images": block.images, "loss": loss}
                bench.sample(
                    cell,
                    "train" if warm else "warmup",
                    seed=bench.plan.seeds[0],
                    round=number - WARMUP_ROUNDS,
                    position=position,
                    block=number,
                    seconds=taken,
                    started_at=started_at,
                    **fields,
                )
                seconds[name] = taken / len(block.order)
            if warm:
                found.append(seconds)
        put(pair, "train", found)

    def _choose_block(self, sides: dict[str, Cell]) -> None:
        """Choose the steps of a block by the faster side's seconds, once for all pairs."""
        bench, training = self.bench, self.bench.plan.spec.training
        fastest = math.inf
        for cell in sides.values():
            for block in whole_blocks(bench, WARMUP_STEPS)[:2]:
                seconds = train_aside(bench, cell, block, "warmup")
            fastest = min(fastest, seconds / len(block.order))
        rows, _ = bench.split(bench.plan.seeds[0])
        per_epoch = max(len(rows) // training.batch_size, 1)
        bench.block_steps = min(
            steps_per_block(fastest, per_epoch, 10**9, BLOCK_SECONDS), per_epoch
        )

    def _predict(self, pair: Pair, sides: dict[str, Cell]) -> None:
        bench, size = self.bench, self.bench.plan.spec.training.batch_size
        if not self.calls:
            fastest = min(float(cell.predict(size, 3).min()) for cell in sides.values())
            self.calls = max(1, min(MOST_CALLS, round(BLOCK_SECONDS / max(fastest, 1e-9))))
        found = []
        turns = islice(orders(pair.number + 1_000_000), WARMUP_ROUNDS + self.rounds)
        for number, order in enumerate(turns):
            seconds = {}
            for position, name in enumerate(order):
                started_at, cell = now(), sides[name]
                seconds[name] = float(cell.predict(size, self.calls).sum()) / self.calls
                bench.sample(
                    cell,
                    "predict",
                    seed=bench.plan.seeds[0],
                    round=number - WARMUP_ROUNDS,
                    position=position,
                    images=size * self.calls,
                    seconds=seconds[name] * self.calls,
                    started_at=started_at,
                )
            if number >= WARMUP_ROUNDS:
                found.append(seconds)
        put(pair, "predict", found)


@contextmanager
def pair_bench(
    plan: Plan,
    dataset: Dataset,
    folder: PairsFolder,
    listener: Listener,
    contestants: tuple[Contestant, Contestant],
    measures: Sequence[str],
    rounds: int = ROUNDS,
    allow_changed: bool = False,
    remarks: Mapping[str, Any] = {},
) -> Iterator[PairBench]:
    """Set up what all pairs share: the data, in files that every worker maps.

    The folder is left open.

    Raises:
        UsageError: model and dataset do not fit.

    """
    outputs = infer(plan.spec).output_shape[0]
    check_fit(plan.spec, outputs, dataset)
    plan = settle_stream(plan, dataset)
    machine = describe_machine()
    folder.write_json("machine.json", {**machine, **remarks})
    with open_bench(plan, dataset, folder, listener, machine["machine_key"]) as bench:
        bench.block_steps = plan.block_steps or 1
        arrays = run_arrays(plan.spec, outputs, dataset)
        write_arrays(bench.scratch, arrays)
        batch = check_batch(plan.spec, arrays["train_images"], arrays["train_targets"])
        yield PairBench(bench, contestants, measures, rounds, allow_changed, batch)
