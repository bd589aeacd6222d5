"""Which series come in which order: cells drawn round by round, slowdowns under sealed names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.kept import read
from harness.output import append_rows

SAME = "0"
SLOWDOWNS = ("2", "5", "10")  # percent of a training step
OFTEN, SELDOM = ("torch", "flax"), ("tensorflow", "keras")  # by what a pair of them takes
SEALED = "series source slowdown repetitions".split()


@dataclass(frozen=True)
class Cell:
    """What is compared under which condition; `cores` is `1` or `all`, `slowdown` in percent."""

    backend: str
    cores: str
    neighbour: bool
    slowdown: str


@dataclass(frozen=True)
class Series:
    """One comparison as the judge sees it: side B is the file `source`."""

    series: int
    backend: str
    cores: str
    neighbour: bool
    source: str


COLUMNS = [field.name for field in fields(Series)]


def round_of(number: int, backends: Sequence[str]) -> list[Cell]:
    """Return the cells of a round, not yet shuffled.

    Backends that are quick to start have both masks on an idle machine and beside a neighbour, the
    others one of these by turns: with one core idle and all beside a neighbour in even rounds, the
    other way about in odd ones. Slowed sides run on an idle machine: on one core 2 and 5 percent,
    by turns 10 percent; on all cores 5 percent.
    """
    cells, is_odd = [], bool(number % 2)
    for backend in backends:
        if backend in OFTEN:
            cells += [Cell(backend, c, n, SAME) for c in ("1", "all") for n in (False, True)]
            cells += [Cell(backend, "1", False, slowdown) for slowdown in ("2", "5")]
            cells += [Cell(backend, "all", False, "5")]
            if is_odd == (backend == OFTEN[0]):
                cells.append(Cell(backend, "1", False, "10"))
        else:
            cells += [Cell(backend, "1", is_odd, SAME), Cell(backend, "all", not is_odd, SAME)]
            turn = number + SELDOM.index(backend)
            cells.append(Cell(backend, "1", False, SLOWDOWNS[turn % len(SLOWDOWNS)]))
            if turn % 2:
                cells.append(Cell(backend, "all", False, "5"))
    return cells


class Schedule:
    """The series of all rounds so far, in `schedule.csv`; what each is, in `sealed.csv`.

    `sources` are the backends' own sources, `repetitions` the work that makes each slowdown, by
    backend, cores and slowdown, and `slow` writes one with the other. The files that are so made
    are written anew from the seals: both sides of a series are of the code that measures it.
    """

    def __init__(
        self,
        folder: Path,
        backends: Sequence[str],
        sources: Mapping[str, str],
        repetitions: Mapping[tuple[str, str, str], int],
        slow: Any,
        seed: int = 0,
    ) -> None:
        self.folder, self.backends, self.sources = folder, backends, sources
        self.repetitions, self.slow, self.seed = repetitions, slow, seed
        (folder / "sources").mkdir(exist_ok=True)
        self.series = [_series(row) for row in read(folder / "schedule.csv")]
        self.sizes = [len(round_of(number, backends)) for number in range(2 * len(SLOWDOWNS))]
        work = {row["source"]: int(row["repetitions"]) for row in read(folder / "sealed.csv")}
        for series in self.series:
            self._write(series, work[series.source])

    def _write(self, series: Series, repetitions: int) -> None:
        """Write side B's source."""
        text = self.slow(self.sources[series.backend], series.backend, repetitions)
        (self.folder / series.source).write_text(text, encoding="utf-8")

    def upcoming(self, done: set[int]) -> Series:
        """Return the first series that is not done; a further round is drawn for it if need be."""
        for series in self.series:
            if series.series not in done:
                return series
        self._draw(self._rounds())
        return self.upcoming(done)

    def _rounds(self) -> int:
        """Return how many rounds have been drawn, by the number of series."""
        count, left = 0, len(self.series)
        while left > 0:
            left -= self.sizes[count % len(self.sizes)]
            count += 1
        return count

    def _draw(self, number: int) -> None:
        random, cells = Random(f"{self.seed} {number}"), round_of(number, self.backends)
        random.shuffle(cells)
        sealed = []
        for cell in cells:
            name = f"sources/{random.getrandbits(48):012x}.py"
            key = (cell.backend, cell.cores, cell.slowdown)
            count = 0 if cell.slowdown == SAME else self.repetitions[key]
            series = Series(len(self.series), cell.backend, cell.cores, cell.neighbour, name)
            self._write(series, count)
            self.series.append(series)
            sealed.append(
                {
                    "series": series.series,
                    "source": name,
                    "slowdown": cell.slowdown,
                    "repetitions": count,
                }
            )
        # A round whose names are not sealed yet must not be in the schedule.
        append_rows(self.folder / "sealed.csv", SEALED, sealed)
        rows = [asdict(series) for series in self.series[-len(cells) :]]
        append_rows(self.folder / "schedule.csv", COLUMNS, rows)


def _series(row: Mapping[str, str]) -> Series:
    is_beside = row["neighbour"] == "True"
    return Series(int(row["series"]), row["backend"], row["cores"], is_beside, row["source"])
