"""A few drawn specs in every framework; `python -m harness fuzz` tries as many as there is time."""

from __future__ import annotations

from harness import registry
from harness.fuzz.fuzz import Watcher, fuzz, make_fuzz_plan
from harness.fuzz.report import FuzzFolder

SPECS, SEED = 6, 1


def test_all_installed_backends_agree_with_the_reference_on_drawn_specs(tmp_path):
    known = registry.describe()
    chosen, _ = registry.select("all", [info for info in known if info.backend != "fake"])
    plan, rounded = make_fuzz_plan(chosen, known, timeout=300.0)
    options = {"specs": SPECS, "seconds": 1e5, "seed": SEED}
    found = fuzz(plan, rounded, FuzzFolder(tmp_path / "found"), Watcher(), **options)
    assert len(found.outcomes) == SPECS
    assert [f"{f.label} {f.shrunk_outcome}: {f.smallest}" for f in found.findings] == []
    for info in chosen:
        statuses = [each[info.label].status for each in found.outcomes.values()]
        assert statuses.count("agrees") >= SPECS / 2, statuses
