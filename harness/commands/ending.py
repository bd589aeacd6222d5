"""How a run ends, or each of many: its table, its page, its logs, its exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

    from harness.loggers.parse import Logger


class Shown(NamedTuple):
    """How the user wants to see it."""

    as_json: bool
    quiet: bool


def exit_code(rows: Sequence[Mapping[str, Any]]) -> int:
    """Return 4 where a backend failed, 1 where one is another network, 0 where all is well."""
    from harness.run.folder import TO_THE_END

    if any(row["status"] not in TO_THE_END | {"skipped"} for row in rows):
        return 4
    return int(not all(row["equivalent"] for row in rows if row["status"] in TO_THE_END))


def print_ending(
    table: Table,
    remarks: Iterable[str],
    folder: Path,
    page: Path | None = None,
    logged: Iterable[str] = (),
) -> None:
    """Print what came of it: the table, the remarks on it, and where everything is."""
    from rich.console import Console

    output = Console()
    output.print(table)
    for remark in remarks:
        output.print(remark, markup=False, highlight=False)
    print(f"\nResults: {folder}")
    if page:
        print(f"Report:  {page}")
    for place in logged:
        print(f"Logged:  {place}")


def write_page(folder: Path) -> Path | None:
    """Write the page beside the results; whatever goes wrong there costs nobody a measurement."""
    from harness.show.page.build import write_report

    page = folder / "report.html"
    try:
        write_report([folder], page)
    except Exception as error:
        print(f"no {page}: {type(error).__name__}: {error}", file=sys.stderr)
        return None
    return page


def write_logs(folder: Path, loggers: Sequence[Logger]) -> list[str]:
    """Give a run that has ended to each logger; return where it went.

    It is read from what is on disk. Whatever goes wrong is said, and costs nobody a measurement.
    """
    from harness.loggers.logged import read_logged

    places = []
    for logger in loggers:
        try:
            places.append(logger.log(read_logged(folder)))
        except Exception as error:
            print(f"not logged to {logger.name}: {type(error).__name__}: {error}", file=sys.stderr)
    return places
