"""What pairs of processes gave, on disk as they end: `pairs.csv`, and the raw blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from harness.run.folder import SAMPLE_COLUMNS, ResultsFolder, table_header, table_lines

PAIR_COLUMNS = (
    "run_id role backend_a backend_b pair measure first seconds_a seconds_b log_ratio rounds "
    "started_at status error"
).split()


@dataclass
class Pair:
    """What a pair of processes gave: for each measure, seconds by side and the log ratio.

    `failed` names the side whose worker failed, and how.
    """

    number: int
    first: str
    started_at: str
    labels: tuple[str, str] = ("", "")
    log_ratios: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)
    rounds: dict[str, int] = field(default_factory=dict)
    failed: str = ""


class PairsFolder(ResultsFolder):
    """`pairs.csv`, `samples.csv`, `machine.json`, `models/` and `logs/` of one `harness ab`."""

    parent = Path("results") / "ab"
    sample_columns: ClassVar[Sequence[str]] = [*SAMPLE_COLUMNS, "pair", "side"]

    def begin(self) -> None:
        """Open both tables, which are written to as pairs come."""
        self._pairs = self._begin_table("pairs.csv", table_header(PAIR_COLUMNS))
        super().begin()

    def add_pair(self, pair: Pair, measures: Sequence[str], role: str = "comparison") -> None:
        """Append what a pair gave, one row for each measure, and see it onto the disk.

        Raises:
            StorageError: it cannot be written; none of it is.

        """
        rows = []
        for measure in measures:
            a, b = pair.seconds.get(measure, (None, None))
            rows.append(
                {
                    "run_id": self.run_id,
                    "role": role,
                    "backend_a": pair.labels[0],
                    "backend_b": pair.labels[1],
                    "pair": pair.number,
                    "measure": measure,
                    "first": pair.first,
                    "seconds_a": a,
                    "seconds_b": b,
                    "log_ratio": pair.log_ratios.get(measure),
                    "rounds": pair.rounds.get(measure),
                    "started_at": pair.started_at,
                    "status": "failed" if pair.failed else "ok",
                    "error": pair.failed,
                }
            )
        self._pairs.append(table_lines(PAIR_COLUMNS, rows))

    def close(self) -> None:
        """Close both tables."""
        super().close()
        self._pairs.close()
