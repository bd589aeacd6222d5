"""A results folder: tidy CSV files, each row on disk as soon as it is known."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar, TextIO

from harness.errors import UsageError
from harness.output import sync_folder
from harness.run.durable import AppendFile, FolderLock, replace_file, storing, whole_lines
from harness.run.journal import JOURNAL, Journal
from harness.sheets import plain_text, safe_cells

SCHEMA_VERSION = 1

SUMMARY_COLUMNS = (
    "schema_version run_id started_at status error note backend variant framework_version versions "
    "model model_hash dataset dataset_hash device device_name precision environment threads seed "
    "worker epochs batch_size parameters flops_per_image order_hash init_hash equivalent "
    "equivalence_difference equivalence_where checked import_seconds build_seconds compile_seconds "
    "warmup_seconds train_seconds eval_seconds train_images_per_second "
    "train_images_per_second_low train_images_per_second_high step_ms_p50 step_ms_p95 step_ms_p99 "
    "steady_from_block steady_blocks predict_images_per_second predict_ms_p50 predict_ms_p99 "
    "peak_host_bytes peak_device_bytes train_loss test_loss test_accuracy test_rmse test_mae "
    "machine_key commit dirty limit_images_per_second fraction_of_limit "
    "target_accuracy seconds_to_target epochs_to_target "
    "joules_per_image gpu_watts gpu_mhz gpu_process_bytes streamed"
).split()
# Statuses of seeds that were trained to their end, one of which is that of another network.
TO_THE_END = frozenset({"ok", "differs"})
SAMPLE_COLUMNS = (
    "run_id backend variant device seed worker round position phase epoch block steps images "
    "seconds loss accuracy rmse mae started_at joules gpu_mhz"
).split()
TEXT_COLUMNS = frozenset(
    "run_id started_at status error note backend variant framework_version versions model "
    "model_hash dataset dataset_hash device device_name precision environment order_hash "
    "init_hash equivalence_where checked machine_key commit phase measure first side backend_a "
    "backend_b role added_at kind revision against verdict".split()
)

MOST_LACKING = 100_000  # of one table: a byte for a row must not become a thousand fields

SUPERSEDED = "superseded"


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class ResultsFolder:
    """`summary.csv`, `samples.csv`, `machine.json`, `models/` and `logs/` of one run.

    Nobody else can write to it until it is closed. One that is taken up again, with `resume`, has
    the journal of the run that was begun in it.
    """

    parent = Path("results")  # of those without a name
    sample_columns: ClassVar[Sequence[str]] = SAMPLE_COLUMNS

    def __init__(self, out: Path | None, *, resume: bool = False) -> None:
        """Make the folder, or take up the run that is in it.

        Raises:
            UsageError: it cannot be written to, is in use, holds a run, or none to go on with.

        """
        self.run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{token_hex(3)}"
        self.path = out or self.parent / self.run_id
        self.models, self.logs = self.path / "models", self.path / "logs"
        self.journal: Journal | None = None
        if resume and not (self.path / JOURNAL).is_file():
            raise UsageError(
                f"--resume {self.path}: there is no run to go on with, which would have a "
                f"{JOURNAL}. Try: --resume with a folder that a run wrote"
            )
        try:
            if not resume:
                self.refuse_another()
            for folder in (self.models, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.path)
            try:
                if not resume:
                    self.refuse_another()  # one may have come and gone meanwhile
                self._open(resume)
            except BaseException:
                self._lock.release()
                raise
        except OSError as error:
            raise UsageError(
                f"cannot write results to {self.path}: {error.strerror}. "
                "Try: --out with a folder that you may write to"
            ) from None

    def _open(self, resume: bool) -> None:
        if resume:
            self.journal = Journal(self.path / JOURNAL)
            self.run_id = str(self.journal.head["run_id"])
            self._samples = AppendFile(self.path / "samples.csv", self._header())
        else:
            self.begin()

    def refuse_another(self) -> None:
        """See that nothing is there yet that this would replace.

        Raises:
            UsageError: there is a run.

        """
        if _holds_a_run(self.path):
            more = f", or go on with it: --resume {self.path}"
            raise UsageError(
                f"--out {self.path} holds a run already; name another folder"
                f"{more if (self.path / JOURNAL).is_file() else ''}"
            )

    def begin(self) -> None:
        """Open what is written to as it goes."""
        self._samples = self._begin_table("samples.csv", self._header())
        sync_folder(self.path)
        sync_folder(self.path.parent)

    def _begin_table(self, name: str, header: bytes) -> AppendFile:
        """Open a table that grows, without what a run that measured nothing left of it."""
        path = self.path / name
        with storing(path):
            path.unlink(missing_ok=True)
        return AppendFile(path, header)

    def _header(self) -> bytes:
        return table_header(self.sample_columns)

    def begin_journal(self, facts: Mapping[str, Any]) -> Journal:
        """Begin a journal with what holds for the whole run."""
        self.journal = Journal(self.path / JOURNAL, {"run_id": self.run_id, **facts})
        return self.journal

    def add_samples(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append measurements, and see them onto the disk.

        Raises:
            StorageError: they cannot be written; none of them is.

        """
        whole = ({"run_id": self.run_id, **row} for row in rows)
        self._samples.append(table_lines(self.sample_columns, whole))

    def write_summary(self, rows: Iterable[Mapping[str, Any]], folder: Path | None = None) -> None:
        """Replace `summary.csv` at one stroke, as `write_table`."""
        self.write_table("summary.csv", SUMMARY_COLUMNS, rows, folder)

    def write_table(
        self,
        name: str,
        columns: Sequence[str],
        rows: Iterable[Mapping[str, Any]],
        folder: Path | None = None,
    ) -> None:
        """Replace the file `name` at one stroke; rows get the version and the run in front.

        Raises:
            StorageError: that is not possible; the one before is still there.

        """

        def write(file: TextIO) -> None:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            for row in rows:
                whole = {"schema_version": SCHEMA_VERSION, "run_id": self.run_id, **row}
                writer.writerow(safe_cells(whole))

        replace_file((folder or self.path) / name, write)

    def samples(self) -> Iterator[dict[str, str]]:
        """Yield every sample on disk, as text by column."""
        with self._samples.path.open(newline="", encoding="utf-8") as file:
            for _, row in _lines_and_rows(file):
                yield row

    def set_aside(self, is_superseded: Callable[[Mapping[str, str]], bool]) -> None:
        """Move samples of workers that others have taken the place of to `superseded/`.

        They are written there before they are taken out here, so that none is ever on no disk; one
        that is found in both places, because this was cut short, is not moved twice.
        """
        samples, place = self.path / "samples.csv", self.path / SUPERSEDED
        moved: dict[str, None] = {}
        with samples.open(newline="", encoding="utf-8") as file:
            for line, row in _lines_and_rows(file):
                if is_superseded(row):
                    moved[line] = None
        if not moved:
            return
        with storing(place):
            place.mkdir(exist_ok=True)
        before = AppendFile(place / "samples.csv", self._header())
        before.close()
        with before.path.open(newline="", encoding="utf-8") as file:
            for line, _ in _lines_and_rows(file):
                moved.pop(line, None)
        before = AppendFile(before.path)
        before.append("".join(moved).encode())
        before.close()
        sync_folder(place)
        sync_folder(self.path)
        self._samples.close()

        def write(file: TextIO) -> None:
            file.write(self._header().decode())
            with samples.open(newline="", encoding="utf-8") as old:
                for line, row in _lines_and_rows(old):
                    if not is_superseded(row):
                        file.write(line)

        replace_file(samples, write)
        self._samples = AppendFile(samples)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write `name` as JSON."""
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        replace_file(self.path / name, lambda file: file.write(text))

    def add_to_json(self, name: str, **more: Any) -> None:
        """Add fields to the object in `name`; a file that is missing has none."""
        path = self.path / name
        with storing(path):
            before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        self.write_json(name, {**before, **more})

    def weights(self) -> Path:
        """Return the folder for trained weights, made when it is first wanted.

        Raises:
            StorageError: it cannot be made.

        """
        folder = self.path / "weights"
        with storing(folder):
            folder.mkdir(exist_ok=True)
        return folder

    def close(self) -> None:
        """Close what is written to, and let others write."""
        if hasattr(self, "_samples"):  # a check and a fuzz have none
            self._samples.close()
        if self.journal is not None:
            self.journal.close()
        self._lock.release()


def table_header(columns: Sequence[str]) -> bytes:
    """Return the first line of a table."""
    return f"{','.join(columns)}\r\n".encode()


def table_lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return rows as the lines of a table, without formulas."""
    text = io.StringIO(newline="")
    csv.DictWriter(text, columns).writerows(map(safe_cells, rows))
    return text.getvalue().encode()


def _lines_and_rows(file: TextIO) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each whole line below the head of a table, and its fields by name."""
    header = next(file, "").rstrip("\r\n").split(",")
    for line in file:
        if line.endswith("\n"):
            fields = next(csv.reader([line])) if '"' in line else line.rstrip("\r\n").split(",")
            yield line, dict(zip(header, fields, strict=False))


def _holds_a_run(path: Path) -> bool:
    """Return whether there are rows; a run that was killed left no summary, but samples."""
    samples = path / "samples.csv"
    if (path / "summary.csv").exists():
        return True
    if not samples.exists():
        return False
    with samples.open("rb") as file:
        return len(file.readlines(1000)) > 1  # more than the header


def open_table(path: Path) -> TextIO:
    """Open a table to be read, which is no device without end and no pipe without a writer.

    Raises:
        OSError: it is missing, or no file.

    """
    if path.exists() and not path.is_file():
        raise OSError("it is no file")
    return path.open(newline="", encoding="utf-8")


def is_own(folder: Path, path: Path) -> bool:
    """Return whether there is a file that truly lies in a folder, and is no link out of it."""
    return path.is_file() and path.resolve().is_relative_to(folder.resolve())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a `summary.csv` or `samples.csv`, numbers and truth values as such.

    An empty field is None; a last line that was cut short is left out.

    Raises:
        UsageError: the file is missing, or holds no such table.

    """
    try:
        with open_table(path) as file:
            head = file.readline()
            names = next(csv.reader([head]), [])
            if "run_id" not in names:
                raise ValueError("there is no column run_id")
            if len({*names}) < len(names):
                raise ValueError("two columns have the same name")
            return list(_rows(csv.reader(whole_lines(file, len(names))), names))
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: {error}. Try: a folder that a run wrote") from None


def _rows(lines: Iterable[list[str]], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    blank, lacking = dict.fromkeys(filter(None, names)), 0
    for fields in filter(None, lines):
        lacking += max(len(names) - len(fields), 0)
        if lacking > MOST_LACKING:
            raise ValueError(f"its rows lack more than {MOST_LACKING} fields")
        given = zip(names, fields, strict=False)
        yield {**blank, **{name: _value(name, text) for name, text in given if name}}


def _value(name: str, text: str) -> Any:
    if not text:
        return None
    if name in TEXT_COLUMNS:
        return plain_text(text)
    if name in ("equivalent", "dirty", "streamed"):
        return text == "True"
    if not text.lstrip("-").isdecimal():
        return float(text)
    number = int(text)
    if abs(number) >= 2**63:
        raise ValueError(f"{name} is a number of {len(text)} digits")
    return number
