"""One series: live pairs, and by `harness ab`'s own code what its rules make of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.error_rates.given import VARIABLE
from benchmarks.error_rates.neighbour import neighbour
from benchmarks.error_rates.rivals import RIVALS
from benchmarks.error_rates.schedule import Series
from harness import data, spec
from harness.registry import BackendInfo
from harness.run.folder import read_rows
from harness.run.listener import Listener
from harness.run.pairs import ROUNDS, pair_bench
from harness.run.pairs_folder import Pair, PairsFolder
from harness.run.plan import make_pair_plan
from harness.run.sides import Wanted, contestant
from harness.verdict.ab import Measures, Rule, ab
from harness.verdict.judge import Limits
from harness.verdict.report import Finding

DEFAULT, SHARP = "ab", "ab --threshold 1%"
PAIR_COLUMNS = (
    "series attempt backend cores neighbour source pair first seconds_a seconds_b log_ratio "
    "ended_seconds started_at status"
).split()
DECISION_COLUMNS = (
    "series attempt rule data backend cores neighbour source verdict ratio low high pairs seconds "
    "series_seconds load started_at detail"
).split()


@dataclass(frozen=True)
class Settings:
    """What all series have in common."""

    model: str = "mnist-1conv"
    dataset: str = "digits"
    rounds: int = ROUNDS
    most_pairs: int = 28

    def rules(self, cores: str) -> dict[str, Rule]:
        """Return the rules that judge a series: on one core also one for small changes."""
        found = {DEFAULT: Rule({"train": Limits()}, self.most_pairs)}
        if cores == "1":
            found[SHARP] = Rule({"train": Limits.of(0.01)}, self.most_pairs)
        return found


@dataclass
class Taped:
    """Pairs of a bench, each measured once, so that several rules judge the same ones.

    A rule that `starts` gets the first pair; where those that others wanted do not suffice,
    further pairs are measured. `ended` are the seconds from `begun` to each pair's end.
    """

    bench: Measures
    keep: Callable[[Pair, float], None]
    now: Callable[[], float] = monotonic
    begun: float = 0.0
    pairs: list[Pair] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)

    @property
    def measures(self) -> Sequence[str]:
        """The bench's."""
        return self.bench.measures

    @property
    def differences(self) -> dict[str, str]:
        """The bench's."""
        return self.bench.differences

    def measure(self, number: int) -> Pair:
        """Return the pair of that number."""
        if number == len(self.pairs):
            self.pairs.append(self.bench.measure(number))
            self.ended.append(self.now() - self.begun)
            self.keep(self.pairs[-1], self.ended[-1])
        return self.pairs[number]


@dataclass(frozen=True)
class Decision:
    """What a rule said, from so many pairs and seconds."""

    rule: str
    finding: Finding
    pairs: int
    seconds: float


def decide(taped: Taped, rules: dict[str, Rule], cell: str) -> list[Decision]:
    """Have each rule carried out by `harness ab`'s code, on the pairs from the first one on."""
    found = []
    for name, rule in rules.items():
        (finding,) = ab(taped, rule, cell).findings
        pairs = finding.judgement.pairs if finding.judgement else len(taped.pairs)
        found.append(Decision(name, finding, pairs, taped.ended[max(pairs, 1) - 1]))
    return found


def run_series(
    series: Series, attempt: int, folder: Path, settings: Settings, known: list[BackendInfo]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Measure and judge a series; return the rows of its pairs and of its decisions."""
    begun, load = monotonic(), os.getloadavg()[0]
    own = folder / "own" / f"{series.backend}.py"
    files = (own, folder / series.source)
    backend = f"given@{series.backend}"
    shared = {**asdict(series), "attempt": attempt}
    pairs: list[dict[str, Any]] = []
    with ExitStack() as stack:
        kept = PairsFolder(folder / "series" / f"{series.series:04}.{attempt}")
        stack.callback(kept.close)
        sides = [
            stack.enter_context(
                contestant(
                    Wanted(name, backend, environment=(f"{VARIABLE}={path.absolute()}",)), known
                )
            )
            for name, path in zip("AB", files, strict=True)
        ]
        plan = make_pair_plan(
            spec.load_spec(settings.model),
            settings.dataset,
            [side.info for side in sides],
            known,
            cores=series.cores,
            rounds=settings.rounds,
        )
        loaded = data.load(settings.dataset)
        if series.neighbour:
            stack.enter_context(neighbour(series.series))
        bench = stack.enter_context(
            pair_bench(
                plan, loaded, kept, Listener(), (sides[0], sides[1]), ["train"], settings.rounds
            )
        )

        def keep(pair: Pair, ended: float) -> None:
            kept.add_pair(pair, ["train"])
            pairs.append({**shared, **_pair_fields(pair), "ended_seconds": round(ended, 2)})

        taped = Taped(bench, keep, begun=begun)
        decided = decide(taped, settings.rules(series.cores), f"series {series.series}")
    samples = read_rows(kept.path / "samples.csv")
    rows = [_decision_fields(decision) for decision in decided]
    rows += rival_rows(samples, decided[0])
    common = {
        **shared,
        "series_seconds": round(monotonic() - begun, 2),
        "load": load,
        "started_at": pairs[0]["started_at"],
    }
    return pairs, [{**common, **row} for row in rows]


def _pair_fields(pair: Pair) -> dict[str, Any]:
    a, b = pair.seconds.get("train", (None, None))
    return {
        "pair": pair.number,
        "first": pair.first,
        "seconds_a": a,
        "seconds_b": b,
        "log_ratio": pair.log_ratios.get("train"),
        "started_at": pair.started_at,
        "status": "failed" if pair.failed else "ok",
    }


def _decision_fields(decision: Decision) -> dict[str, Any]:
    found = decision.finding.judgement
    return {
        "rule": decision.rule,
        "data": "pairs",
        "verdict": decision.finding.verdict,
        "ratio": found.ratio if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "pairs": decision.pairs,
        "seconds": round(decision.seconds, 2),
        "detail": decision.finding.detail,
    }


def rival_rows(samples: Sequence[dict[str, Any]], decision: Decision) -> list[dict[str, Any]]:
    """Return what other tools' rules say of the same blocks: of all pairs, and of the first one.

    All pairs are those that `decision` took, so theirs are the same seconds.
    """
    words = {"slower": "REGRESSED", "faster": "IMPROVED", "same": "SAME"}
    if decision.finding.verdict in ("FAILED", "CHANGED"):
        return []
    rows = []
    for name, pairs in (("all pairs", decision.pairs), ("one pair", 1)):
        steps: dict[str, list[float]] = {"A": [], "B": []}
        for row in samples:
            if row["phase"] == "train" and row["pair"] < pairs:
                steps[row["side"]].append(row["seconds"] / row["steps"])
        for rule, judge in RIVALS.items():
            verdict = words[judge(steps["A"], steps["B"])]
            fields = {"rule": rule, "data": name, "verdict": verdict, "pairs": pairs}
            rows.append({**fields, "seconds": round(decision.seconds, 2)})
    return rows
