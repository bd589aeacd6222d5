"""A results folder: tidy CSV files, each row on disk as soon as it is known."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar

from harness.errors import UsageError

SCHEMA_VERSION = 1

SUMMARY_COLUMNS = (
    "schema_version run_id started_at status error note backend variant framework_version versions "
    "model model_hash dataset dataset_hash device device_name precision environment threads seed "
    "epochs batch_size parameters flops_per_image order_hash init_hash equivalent "
    "equivalence_difference equivalence_where checked import_seconds build_seconds compile_seconds "
    "warmup_seconds train_seconds eval_seconds train_images_per_second "
    "train_images_per_second_low train_images_per_second_high step_ms_p50 step_ms_p95 step_ms_p99 "
    "steady_from_block steady_blocks predict_images_per_second predict_ms_p50 predict_ms_p99 "
    "peak_host_bytes peak_device_bytes train_loss test_loss test_accuracy test_rmse test_mae "
    "machine_key commit dirty limit_images_per_second fraction_of_limit "
    "target_accuracy seconds_to_target epochs_to_target "
    "joules_per_image gpu_watts gpu_mhz gpu_process_bytes"
).split()
SAMPLE_COLUMNS = (
    "run_id backend variant device seed round position phase epoch block steps images seconds "
    "loss accuracy rmse mae started_at joules gpu_mhz"
).split()
TEXT_COLUMNS = frozenset(
    "run_id started_at status error note backend variant framework_version versions model "
    "model_hash dataset dataset_hash device device_name precision environment order_hash "
    "init_hash equivalence_where checked machine_key commit phase measure first side backend_a "
    "backend_b role".split()
)


def now() -> str:
    """Return the time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class ResultsFolder:
    """`summary.csv`, `samples.csv`, `machine.json`, `models/` and `logs/` of one run."""

    parent = Path("results")  # of those without a name
    sample_columns: ClassVar[Sequence[str]] = SAMPLE_COLUMNS

    def __init__(self, out: Path | None) -> None:
        self.run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{token_hex(3)}"
        self.path = out or self.parent / self.run_id
        self.models, self.logs = self.path / "models", self.path / "logs"
        try:
            self.refuse_another()
            for folder in (self.models, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
            self.begin()
        except OSError as error:
            raise UsageError(
                f"cannot write results to {self.path}: {error.strerror}. "
                "Try: --out with a folder that you may write to"
            ) from None

    def refuse_another(self) -> None:
        """See that nothing is there yet that this would replace.

        Raises:
            UsageError: there is a run.

        """
        if _holds_a_run(self.path):
            raise UsageError(f"--out {self.path} holds a run already; name another folder")

    def begin(self) -> None:
        """Open what is written to as it goes."""
        self._samples = (self.path / "samples.csv").open("w", newline="", encoding="utf-8")
        self._writer = csv.DictWriter(self._samples, self.sample_columns)
        self._writer.writeheader()
        self._sync()

    def add_samples(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append measurements, and see them onto the disk."""
        self._writer.writerows({"run_id": self.run_id, **row} for row in rows)
        self._sync()

    def write_summary(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace `summary.csv` at one stroke."""
        self.write_table("summary.csv", SUMMARY_COLUMNS, rows)

    def write_table(
        self, name: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Replace the file `name` at one stroke; rows get the version and the run in front."""
        temporary = self.path / f"{name}.new"
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            for row in rows:
                writer.writerow({"schema_version": SCHEMA_VERSION, "run_id": self.run_id, **row})
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path / name)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write `name` as JSON."""
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (self.path / name).write_text(text, encoding="utf-8")

    def weights(self) -> Path:
        """Return the folder for trained weights, made when it is first wanted.

        Raises:
            UsageError: it cannot be made.

        """
        folder = self.path / "weights"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from None
        return folder

    def close(self) -> None:
        """Close `samples.csv`."""
        self._samples.close()

    def _sync(self) -> None:
        self._samples.flush()
        os.fsync(self._samples.fileno())


def _holds_a_run(path: Path) -> bool:
    """Return whether there are rows; a run that was killed left no summary, but samples."""
    samples = path / "samples.csv"
    if (path / "summary.csv").exists():
        return True
    if not samples.exists():
        return False
    with samples.open("rb") as file:
        return len(file.readlines(1000)) > 1  # more than the header


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a `summary.csv` or `samples.csv`, numbers and truth values as such.

    An empty field is None.

    Raises:
        UsageError: the file is missing, or holds no such table.

    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if "run_id" not in (reader.fieldnames or ()):
                raise ValueError("there is no column run_id")
            return [
                {name: _value(name, text) for name, text in row.items() if name} for row in reader
            ]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: {error}. Try: a folder that a run wrote") from None


def _value(name: str, text: str | None) -> Any:
    if not text:
        return None
    if name in TEXT_COLUMNS:
        return text
    if name in ("equivalent", "dirty"):
        return text == "True"
    return int(text) if text.lstrip("-").isdecimal() else float(text)
