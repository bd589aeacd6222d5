"""Draw specs, judge every backend on each, and shrink what differs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic

from harness.errors import Interrupted
from harness.fuzz.drawn import read_fields
from harness.fuzz.found import Finding, Fuzzed
from harness.fuzz.judging import Case, Outcome
from harness.fuzz.layers import Fields
from harness.fuzz.report import FuzzFolder
from harness.fuzz.search import ROUND, draw_round, shrink
from harness.fuzz.team import Team
from harness.registry import BackendInfo
from harness.run.plan import Plan, check_range, make_plan
from harness.spec import parse_spec

MOST_SPECS, MOST_SECONDS, MOST_SEED = 1_000_000, 7 * 24 * 3600.0, 2**32
ROUNDED = "numpy@rounded"
SEEDS_APART = 1_000_003  # rounds of one seed, before they meet those of the next
# What a plan needs before the first spec is drawn; none of its workers ever sees it.
PLACEHOLDER = """
name = "drawn"
input = [1, 1, 1]
layers = [{type = "flatten"}, {type = "dense", units = 2}]
"""


class Watcher:
    """Hears what goes on, and says nothing: the base of those that show it."""

    def begun(self, plan: Plan, specs: int, seconds: float) -> None:
        """Workers will be asked about so many specs."""

    def judged(self, label: str, number: int, outcome: Outcome) -> None:
        """One backend is done with one spec; called from several threads."""

    def shrinking(self, label: str, outcome: Outcome) -> None:
        """A smaller spec is looked for that shows the same."""

    def found(self, finding: Finding) -> None:
        """It was found."""

    def finished(self) -> None:
        """Nothing more will come."""


def make_fuzz_plan(
    chosen: list[BackendInfo], known: list[BackendInfo], timeout: float
) -> tuple[Plan, BackendInfo]:
    """Return the plan of all workers, and the reference that rounds worse.

    Raises:
        UsageError: an option is out of its range.

    """
    plan = make_plan(
        parse_spec(PLACEHOLDER, "drawn"),
        "fuzz",
        chosen,
        known,
        device="cpu",
        precision="float64",
        timeout=timeout,
        timed=False,
    )
    return plan, next(info for info in known if info.label == ROUNDED)


def check_limits(specs: int, seconds: float, seed: int) -> None:
    """See that so much may be asked for.

    Raises:
        UsageError: it may not.

    """
    check_range("--specs", specs, 1, MOST_SPECS)
    check_range("--seconds", seconds, 1.0, MOST_SECONDS)
    check_range("--seed", seed, 0, MOST_SEED)


def fuzz(
    plan: Plan,
    rounded: BackendInfo,
    folder: FuzzFolder,
    watcher: Watcher,
    *,
    specs: int,
    seconds: float,
    seed: int,
) -> Fuzzed:
    """Judge all backends on up to `specs` specs; none is begun after `seconds`.

    Raises:
        WorkerError: the NumPy reference failed.
        Interrupted: by Ctrl-C.

    """
    started = monotonic()
    found = Fuzzed(plan, seed)
    scratch = tempfile.TemporaryDirectory(prefix="harness-", ignore_cleanup_errors=True)
    team = Team(plan, rounded, folder, Path(scratch.name))
    watcher.begun(plan, specs, seconds)
    try:
        search = _Search(team, found, folder, watcher, lambda: monotonic() - started > seconds)
        search.run(specs)
        found.versions = {m.info.label: m.versions for m in team.members}
        found.seconds = monotonic() - started
        return found
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted; {len(found.findings)} findings are in {folder.path}"
        ) from None
    finally:
        team.close()
        scratch.cleanup()
        watcher.finished()


class _Search:
    """Round after round, until there were enough or the time is over."""

    def __init__(
        self,
        team: Team,
        found: Fuzzed,
        folder: FuzzFolder,
        watcher: Watcher,
        is_over: Callable[[], bool],
    ) -> None:
        self.team, self.found, self.folder = team, found, folder
        self.watcher, self.is_over = watcher, is_over
        self.numbered = 0

    def run(self, specs: int) -> None:
        """Judge so many specs, or as many as there is time for."""
        number = self.found.seed * SEEDS_APART  # of the round
        while (left := specs - len(self.found.outcomes)) > 0 and not self.is_over():
            number += 1
            drawn = draw_round(number, ROUND)
            cases = [self._case(fields) for fields in drawn[:left]]
            outcomes = self.team.judge(cases, self._tell, self.is_over)
            whole = [case for case in cases if len(outcomes[case.number]) == len(self.team.members)]
            self.found.outcomes |= {case.number: outcomes[case.number] for case in whole}
            for case in cases:  # a fault counts though others did not come to this spec
                for label, outcome in outcomes[case.number].items():
                    if outcome.is_fault:
                        self.found.outcomes[case.number] = outcomes[case.number]
                        self._note(label, outcome, case, number)

    def _case(self, fields: Fields) -> Case:
        self.numbered += 1
        return Case(self.numbered, fields, read_fields(fields))

    def _tell(self, label: str, case: Case, outcome: Outcome) -> None:
        self.watcher.judged(label, case.number, outcome)

    def _note(self, label: str, outcome: Outcome, case: Case, number: int) -> None:
        """Shrink a new kind of fault; of one that is known, count that it came again."""
        for known in self.found.findings:
            if (known.label, known.outcome.signature) == (label, outcome.signature):
                known.again += 1
                return
        self.watcher.shrinking(label, outcome)
        last = outcome

        def fails(fields: Fields) -> bool:
            nonlocal last
            (other,) = self._judge_one(fields, label)
            if other.signature == outcome.signature:
                last = other
                return True
            return False

        drawn = dict(case.fields)
        smallest, tried = shrink(number, ROUND, drawn, fails)
        finding = Finding(label, outcome, drawn, smallest, tried, last)
        self.found.findings.append(finding)
        self.folder.write_finding(finding, len(self.found.findings))
        self.watcher.found(finding)

    def _judge_one(self, fields: Fields, label: str) -> Sequence[Outcome]:
        case = self._case(fields)
        outcomes = self.team.judge([case], lambda *_: None, lambda: False, only=label)
        return list(outcomes[case.number].values())
