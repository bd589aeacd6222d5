"""What `harness ab` shows while it goes: a line for each pair, with the running estimate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from harness.run.pairs_folder import Pair
from harness.show.progress import PlainProgress
from harness.verdict.ab import Rule
from harness.verdict.judge import Judgement
from harness.verdict.report import Finding


class PairProgress(PlainProgress):
    """Plain lines: phases of the first pair only, then one line for each pair."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.pairs = 0

    def declared(self, title: str, rule: Rule, path: Path) -> None:
        """Say what is compared, and the rule by which it will end."""
        self.say(title)
        if rule.deviation is not None:
            self.say(f"calibrated: pairs of identical code scatter by {100 * rule.deviation:.1f} %")
        looks = ", ".join(f"{look.pairs} pairs (p ≤ {look.level:.2g})" for look in rule.declared())
        self.say(f"looks declared: {looks}")
        self.say(f"results: {path}")

    def phase(self, label: str, phase: str) -> None:
        """Say who begins what, the first time."""
        if not self.pairs:
            super().phase(label, phase)

    def paired(self, pair: Pair, estimates: Mapping[str, Judgement]) -> None:
        """Say what the pair gave, and how all pairs stand."""
        self.pairs += 1
        for measure, found in estimates.items():
            shown = Finding("", measure, found.verdict, judgement=found)
            own = 100 * math.expm1(pair.log_ratios[measure])
            interval = f", interval {shown.interval}" if shown.interval else ""
            self.say(f"pair {self.pairs:3} {measure} {own:+.1f} %; all {shown.effect}{interval}")

    def raw(self, label: str, pair: Pair) -> None:
        """Say what a pair of identical sides gave."""
        self.pairs += 1
        for measure, ratio in pair.log_ratios.items():
            self.say(f"{label} pair {pair.number + 1:3} {measure} {100 * math.expm1(ratio):+.1f} %")
