"""Decisions of the standard rule on every pair, those that the sharper rule went on to as well.

A series is measured until all its rules have decided, which the standard rule often has long
before the sharper one. What it left is its own next decision's: pairs of the same cell, one after
the other as they were measured, each used once. So decisions are as independent as those of series
are, and none is chosen by how it comes out: the pairs at the end of which nothing was decided yet
are at most one decision's of each cell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from benchmarks.error_rates.series import DEFAULT, Settings
from harness.run.pairs_folder import Pair
from harness.verdict.ab import ab

Row = dict[str, str]
CELL = "folder backend cores neighbour slowdown".split()
IN_TURN = "pairs in turn"


class _AtEnd(Exception):  # noqa: N818 (not a fault)
    """There are no more pairs."""


class _Replay:
    """Pairs that were measured, from one of them on."""

    measures = ("train",)

    def __init__(self, rows: Sequence[Row], begin: int) -> None:
        self.rows, self.begin = rows, begin
        self.differences: dict[str, str] = {}

    def measure(self, number: int) -> Pair:
        if self.begin + number == len(self.rows):
            raise _AtEnd
        row = self.rows[self.begin + number]
        ratios = {"train": float(row["log_ratio"])}
        return Pair(number, row["first"], row["started_at"], log_ratios=ratios)


def decisions_in_turn(pairs: Iterable[Row], settings: Settings) -> list[Row]:
    """Return the decisions, as rows of the table; `pairs` are joined with what was sealed."""
    cells: defaultdict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in pairs:
        cells[tuple(row[name] for name in CELL)].append(row)
    found = []
    for key, rows in cells.items():
        rows.sort(key=lambda row: (int(row["series"]), int(row["attempt"]), int(row["pair"])))
        begin = 0
        rule = settings.rules(rows[0]["cores"])[DEFAULT]
        while True:
            try:
                (finding,) = ab(_Replay(rows, begin), rule, "").findings
            except _AtEnd:
                break
            assert finding.judgement is not None
            begin += finding.judgement.pairs
            found.append(
                {
                    **dict(zip(CELL, key, strict=True)),
                    "rule": DEFAULT,
                    "data": IN_TURN,
                    "verdict": finding.verdict,
                    "pairs": str(finding.judgement.pairs),
                }
            )
    return found
