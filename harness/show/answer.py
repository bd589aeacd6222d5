"""The answer of a run in a few sentences, no more than its rows bear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.run.figures import median_interval, paired_ratio
from harness.show.gather import Case
from harness.show.table import Line, say_accuracy
from harness.verdict.accuracy import judge_accuracy

SMALL = "no one two three four five six seven eight nine ten".split()


@dataclass(frozen=True)
class Ratio:
    """How many times as long a line takes as the fastest, and the 95 % interval of that median.

    `paired` is whether it is a median over rounds; else it is the ratio of two medians, and has no
    interval.
    """

    line: Line
    times: float
    low: float | None = None
    high: float | None = None
    paired: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether the rounds of this run leave no doubt about who was faster."""
        return self.low is not None and self.low > 1


def ratios(lines: Sequence[Line]) -> list[Ratio]:
    """Return each comparable line beside the fastest, which comes first with 1.

    Over rounds in which both trained the same batches, where there are any.
    """
    comparable = [line for line in lines if line.comparable and _speed(line)]
    if not comparable:
        return []
    fastest = comparable[0]
    found = [Ratio(fastest, 1.0)]
    for line in comparable[1:]:
        times = paired_ratio(line.blocks, fastest.blocks)
        if times is None:
            found.append(Ratio(line, (_speed(fastest) or 0) / (_speed(line) or 1)))
        else:
            found.append(Ratio(line, times, *_interval(line, fastest), paired=True))
    return found


def _speed(line: Line) -> float | None:
    return line.typical("train_images_per_second")


def _interval(line: Line, fastest: Line) -> tuple[float, float]:
    theirs = {(b["seed"], b["round"]): b["seconds"] for b in fastest.blocks}
    found = [
        b["seconds"] / theirs[key]
        for b in line.blocks
        if (key := (b["seed"], b["round"])) in theirs
    ]
    return median_interval(np.array(found, np.float64))


def say(case: Case) -> list[str]:
    """Return sentences: who is fastest and by how much, who is the same network, how accurate."""
    sentences = [_speed_sentence(case), *_same_network(case), *_failures(case)]
    accuracies = {
        name_of(line, case.lines): line.values("test_accuracy")
        for line in case.lines
        if line.comparable and len(line.values("test_accuracy")) == len(line.rows)
    }
    sentences.append(say_accuracy(judge_accuracy(accuracies), accuracies))
    return [sentence for sentence in sentences if sentence]


def say_all(cases: Sequence[Case]) -> str:
    """Return who trained fastest in how many of several results, where rounds leave no doubt."""
    wins: Counter[str] = Counter()
    for case in cases:
        found = ratios(case.lines)
        if len(found) > 1 and found[1].is_settled:
            wins[found[0].line.backend] += 1
    if not wins:
        return f"In none of {_number(len(cases))} results can it be said who trained fastest."
    if len(wins) == 1 and wins.total() == len(cases):
        return f"{next(iter(wins))} trained fastest in {_all(len(cases)).lower()} results."
    said = _listed([f"{name} in {_number(count)}" for name, count in wins.most_common()])
    open_ = len(cases) - wins.total()
    rest = f"; {_number(open_)} without a clear fastest" if open_ else ""
    return f"Fastest in {_number(len(cases))} results: {said}{rest}."


def name_of(line: Line, lines: Sequence[Line]) -> str:
    """Return the backend, and the device where that is not the same for all lines."""
    several = len({other.device for other in lines}) > 1
    return line.label if several else line.backend


def _speed_sentence(case: Case) -> str:
    model, found = case.first("model"), ratios(case.lines)
    if not found:
        return f"No backend can be compared on {model}: none finished as the same network."
    fastest, others = found[0], found[1:]
    name = name_of(fastest.line, case.lines)
    if not others:
        rate = _speed(fastest.line)
        return f"{name} trains {model} at {rate:,.0f} images a second; it is compared with nothing."
    said = _times(others, case)
    nearest = others[0]
    if nearest.is_settled:
        return f"In this run {name} trained {model} fastest: {said}."
    if not nearest.paired:
        return (
            f"By medians alone {name} trained {model} fastest: {said}. There are no rounds to pair."
        )
    near = [r for r in others if not r.is_settled]
    names = _listed([name, *(name_of(r.line, case.lines) for r in near)])
    rest = [r for r in others if r.is_settled]
    more = f"; {name} was {_times(rest, case)}" if rest else ""
    return f"In this run {names} trained {model} equally fast, as far as its rounds can tell{more}."


def _times(others: Sequence[Ratio], case: Case) -> str:
    """Return `1.12 times as fast as keras and 1.36 times as fast as torch`."""
    said = [f"{r.times:.2f} times {name_of(r.line, case.lines)}" for r in others]
    return _listed([said[0].replace(" times ", " times as fast as ", 1), *said[1:]])


def _same_network(case: Case) -> list[str]:
    judged = [line for line in case.lines if all(r["equivalent"] is not None for r in line.rows)]
    same = [line for line in judged if all(row["equivalent"] for row in line.rows)]
    wrong = [line for line in judged if line not in same]
    proved = [line for line in same if all(str(row["checked"]) == "verified" for row in line.rows)]
    found = []
    if wrong:
        names = _listed([name_of(line, case.lines) for line in wrong])
        verb = "is" if len(wrong) == 1 else "are"
        found.append(f"{names} {verb} NOT the same network; that speed is compared with nothing.")
    if same:
        who = (
            _all(len(same))
            if len(same) == len(case.lines) > 1
            else _listed([name_of(line, case.lines) for line in same])
        )
        verb = "is" if len(same) == 1 else "are"
        how = (
            "verified equivalent, rung by rung"
            if len(proved) == len(same)
            else "the same network by the check before training"
        )
        found.append(f"{who} {verb} {how}.")
    return found


def _failures(case: Case) -> list[str]:
    found: dict[str, list[str]] = {}
    for line in case.lines:
        bad = [row["status"] for row in line.broken]
        if bad:
            seeds = f" in {_number(len(bad))} of {_number(len(line.rows))} seeds"
            words = _listed(sorted({str(word) for word in bad}))
            said = f"{words}{seeds if line.finished else ''}"
            found.setdefault(said, []).append(name_of(line, case.lines))
    return [f"{_listed(names)}: {said}." for said, names in found.items()]


def _all(count: int) -> str:
    return "Both" if count == 2 else f"All {_number(count)}"


def _number(count: int) -> str:
    return SMALL[count] if count < len(SMALL) else str(count)


def _listed(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
