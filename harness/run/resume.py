"""A run that stopped, whatever stopped it, goes on: what has ended stays, the rest begins anew.

A cell is one backend on one device with one seed, and has ended when its row says how. Those that
have not are trained from their first step, all that are left of a seed together, so that in each of
their rounds all of them train the same block within the same seconds, as in a run that was never
stopped. What was measured of them before is kept in `superseded/`. Where some cells of a seed have
ended and others have not, the rounds of these are numbered on from the last of those: what was
not measured side by side does not pair.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from harness.errors import UsageError
from harness.run.bench import Bench
from harness.run.figures import training_figures
from harness.run.folder import now
from harness.run.identity import differences, refuse_changed
from harness.run.journal import Key
from harness.run.limit import beside_limit
from harness.sheets import plain_text

PREPARATION = ("compile", "warmup")  # phases that belong to a worker, not to a seed


def take_up(bench: Bench, what: Mapping[str, Any]) -> None:
    """See that nothing has changed, and lay aside what was begun and has not ended.

    Raises:
        UsageError: something has changed; the message says what.
        StorageError: the folder cannot be written to.

    """
    journal = bench.journal
    refuse_changed(journal.head["identity"], what, bench.folder.path)
    journal.note("resumed", resumed_at=now())
    running = [key for key, place in journal.rows.items() if place.status == "running"]
    if running:
        journal.add(_interrupted(bench, running))
    bench.folder.set_aside(lambda row: _is_superseded(bench, row))
    bench.write_summary()


def set_aside(bench: Bench) -> None:
    """Move what workers measured that others have taken the place of, where there is more of it."""
    if len(bench.journal.superseded) > bench.moved:
        bench.folder.set_aside(lambda row: _is_replaced(bench, row))
        bench.moved = len(bench.journal.superseded)


def _is_replaced(bench: Bench, row: Mapping[str, str]) -> bool:
    """Return whether a sample is of a worker that another has taken the place of already."""
    place = bench.journal.rows.get(key_of_sample(row))
    return (
        row["phase"] not in PREPARATION
        and place is not None
        and place.worker not in (0, int(row["worker"]))
    )


def _is_superseded(bench: Bench, row: Mapping[str, str]) -> bool:
    """Return whether a sample is of a worker whose place another takes."""
    if row["phase"] in PREPARATION:
        return False
    place = bench.journal.rows.get(key_of_sample(row))
    return place is not None and (place.is_open or place.worker != int(row["worker"]))


def key_of_sample(row: Mapping[str, Any]) -> Key:
    """Return the cell that a sample is of."""
    backend, variant, device = (plain_text(row[name]) for name in ("backend", "variant", "device"))
    return Key(backend, variant, device, int(row["seed"]))


def _interrupted(bench: Bench, keys: Iterable[Key]) -> list[dict[str, Any]]:
    """Return rows of cells that were running when the harness died, with what samples tell."""
    blocks: dict[tuple[Key, int], list[dict[str, Any]]] = {}
    wanted = {(key, bench.journal.rows[key].worker) for key in keys}
    for row in bench.folder.samples():
        if row["phase"] == "train" and (key_of_sample(row), int(row["worker"])) in wanted:
            figures = {name: float(row[name]) for name in ("steps", "images", "seconds")}
            blocks.setdefault((key_of_sample(row), int(row["worker"])), []).append(figures)
    rows = []
    for key, worker in sorted(wanted):
        own = blocks.get((key, worker), [])
        figures, note = training_figures(own)
        error = f"the harness ended before this cell did; {len(own)} blocks were measured"
        changed: dict[str, Any] = {"status": "interrupted", "error": error, "note": note}
        before = bench.journal.read(bench.journal.rows[key])
        if limit := before.get("limit_images_per_second"):
            changed |= beside_limit(limit, figures.get("train_images_per_second"))
        rows.append({**before, **figures, **changed})
    return rows


def refuse_other_versions(bench: Bench) -> None:
    """Keep the versions that each backend's worker has found, or see that they are still those.

    Raises:
        UsageError: they are others than when the run was begun.

    """
    known: dict[str, dict[str, str]] = bench.journal.head.get("versions", {})
    found = {
        f"{cell.info.label} {cell.device}": json.loads(cell.facts["versions"])
        for cell in bench.cells
        if "versions" in cell.facts
    }
    changed = [
        line
        for name in found
        if name in known
        for line in differences(known[name], found[name], name)
    ]
    if changed:
        lines = "".join(f"\n  {line}" for line in changed)
        raise UsageError(
            f"--resume {bench.folder.path}: other versions than it was begun with:{lines}\n"
            "Rows of both would not be of one run. Try: the versions it was begun with, or --out "
            "with a new folder"
        )
    bench.journal.note("imported", versions={**known, **found})


def next_round(bench: Bench, seed: int) -> int:
    """Return the number of the first round of a seed that nothing is to be paired with."""
    journal = bench.journal
    if all(journal.rows[key].is_open for key in journal.of_seed[seed]):
        return 0
    own = (row for row in bench.folder.samples() if row["seed"] == str(seed))
    return 1 + max((int(row["round"]) for row in own if row["phase"] == "train"), default=-1)
