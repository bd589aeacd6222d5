"""What pairs of processes gave, on disk as they end: `pairs.csv`, and the raw blocks."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from harness.run.durable import AppendFile, storing
from harness.run.folder import SAMPLE_COLUMNS, ResultsFolder
from harness.sheets import safe_cells

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
        super().begin()
        pairs = self.path / "pairs.csv"
        with storing(pairs):
            pairs.unlink(missing_ok=True)
        self._pairs = AppendFile(pairs, f"{','.join(PAIR_COLUMNS)}\r\n".encode())

    def add_pair(self, pair: Pair, measures: Sequence[str], role: str = "comparison") -> None:
        """Append what a pair gave, one row for each measure, and see it onto the disk.

        Raises:
            StorageError: it cannot be written.

        """
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, PAIR_COLUMNS)
        for measure in measures:
            a, b = pair.seconds.get(measure, (None, None))
            writer.writerow(
                safe_cells(
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
            )
        self._pairs.append(text.getvalue().encode())

    def close(self) -> None:
        """Close both tables."""
        super().close()
        self._pairs.close()
