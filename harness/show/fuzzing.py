"""What a fuzz shows while it goes, and what it says in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from threading import Lock
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from harness.fuzz.found import Finding, command
from harness.fuzz.fuzz import Watcher
from harness.fuzz.judging import Outcome
from harness.run.plan import Plan

EVERY = 25  # specs of one backend, to a line where there is no terminal


class FuzzProgress(Watcher):
    """A bar for each backend on a terminal, else a line now and then; and all that is found."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.done: Counter[str] = Counter()
        self.lock = Lock()
        self.bars: Progress | None = None
        self.tasks: dict[str, Any] = {}

    def begun(self, plan: Plan, specs: int, seconds: float) -> None:
        """Say what is looked at."""
        labels = [info.label for info in plan.backends]
        self.width = max(map(len, labels))
        self.say(f"up to {specs:,} specs in {seconds:g} s, in float64: {', '.join(labels)}")
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self.bars = Progress(
                *columns, TimeElapsedColumn(), console=self.console, transient=True
            )
            self.tasks = {label: self.bars.add_task(label, total=specs) for label in labels}
            self.bars.start()

    def judged(self, label: str, number: int, outcome: Outcome) -> None:
        """Count it, and show what is not agreement."""
        with self.lock:
            self.done[label] += 1
            if outcome.status in ("ill-conditioned", "overflows") or outcome.is_fault:
                self.say(f"{label:{self.width}}  spec {number}: {outcome}")
            if self.bars:
                self.bars.update(self.tasks[label], completed=self.done[label])
            elif self.done[label] % EVERY == 0:
                self.say(f"{label:{self.width}}  {self.done[label]} specs")

    def shrinking(self, label: str, outcome: Outcome) -> None:
        """Say that it takes a while."""
        self.say(f"{label:{self.width}}  looking for the smallest spec that shows it")

    def found(self, finding: Finding) -> None:
        """Say how it went."""
        layers = len(finding.smallest["layers"])
        some = f"{layers} layer{'' if layers == 1 else 's'}"
        self.say(f"{finding.label:{self.width}}  after {finding.tried} specs: {some} in its list")

    def finished(self) -> None:
        """Take the bars away."""
        if self.bars:
            self.bars.stop()

    def say(self, line: str) -> None:
        """Print one line, as it is."""
        self.console.print(Text(line.partition("\n")[0]), soft_wrap=True)


def result_lines(report: Mapping[str, Any], findings: list[Finding]) -> list[str]:
    """Return the result in a line, and below it what a reader should know of it."""
    backends, refused = report["backends"], sum(r["specs"] for r in report["refusals"])
    counts = (
        _count(report["specs"], "spec"),
        _count(len(backends), "backend"),
        _count(report["differences"], "difference"),
        _count(refused, "refusal"),
        f"{report['seconds']:,.0f} seconds",
        f"seed {report['seed']}",
    )
    lines = [", ".join(counts)]
    for item in report["refusals"]:
        lines.append(f"{item['label']} refused {_count(item['specs'], 'spec')}: {item['reason']}")
    for status, meaning in (
        ("ill-conditioned", "above tolerance, but no more than rounding makes of the reference"),
        ("overflows", "beyond the largest number in the reference, too, and judged until then"),
    ):
        total = sum(backend[status] for backend in backends)
        if total:
            lines.append(f"{_count(total, 'answer')} {meaning}")
    for finding in findings:
        again = f"; seen in {_count(finding.again, 'more spec')}" if finding.again else ""
        outcome = str(finding.shrunk_outcome).partition("\n")[0]
        lines += [f"{finding.label} {outcome}{again}", f"  {command(finding, finding.file)}"]
    return lines


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
