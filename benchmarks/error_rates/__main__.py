"""Measure how often `harness ab` errs: python -m benchmarks.error_rates --hours 4 --out DIR.

Run it on a machine that does nothing else. Run again with the same --out, it goes on where it
ended, on another machine in a folder beside that of the first; --table prints the tables, for
docs/verdicts.md, of what is there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from benchmarks.error_rates.calibrate import calibrate, calibrated, repetitions
from benchmarks.error_rates.given import TARGET, own_source, slowed
from benchmarks.error_rates.schedule import OFTEN, SELDOM, Schedule, Series
from benchmarks.error_rates.series import DECISION_COLUMNS, PAIR_COLUMNS, Settings, run_series
from benchmarks.error_rates.table import report
from benchmarks.kept import read
from harness import registry, spec
from harness.errors import HarnessError, UsageError
from harness.machine import describe_machine
from harness.output import append_rows

UNKNOWN_SECONDS = 300.0  # of a series, before any has ended
CALIBRATION_SECONDS = 200.0  # of one backend on one mask
CORES = ("1", "all")
Run = Callable[[Series, int], tuple[list[dict[str, Any]], list[dict[str, Any]]]]


def main() -> None:
    """Read the options, then measure or print; errors end it with their own exit code."""
    options = read_options()
    try:
        if options.table:
            print(report(measured(options.out)))
        else:
            measure(options)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(f"interrupted; all series that ended are in {options.out}", file=sys.stderr)
        sys.exit(130)


def read_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.error_rates",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    standard = Settings()
    add("--out", type=Path, required=True, help="folder of the results; gone on with if it is one")
    add("--hours", type=float, default=1.0, help="no series is begun that would likely not end")
    add("--table", action="store_true", help="print the tables of what is there; measure nothing")
    add("--backends", default=",".join(OFTEN + SELDOM), help="by commas")
    add("--model", default=standard.model)
    add("--dataset", default=standard.dataset)
    add("--rounds", type=int, default=standard.rounds, help="blocks of each side in a pair")
    add("--most-pairs", type=int, default=standard.most_pairs, help="of a series")
    return parser.parse_args()


def measure(options: argparse.Namespace) -> None:
    """Prepare the folder, calibrate what is not yet, and run series until the time is over."""
    end, machine = monotonic() + 3600 * options.hours, describe_machine()
    folder = options.out / str(machine["machine_key"])
    backends = [name.strip() for name in options.backends.split(",")]
    for name in backends:
        if name not in OFTEN + SELDOM:
            raise UsageError(f"--backends {name!r}; allowed: {', '.join(OFTEN + SELDOM)}")
    settings = Settings(options.model, options.dataset, options.rounds, options.most_pairs)
    prepare(folder, machine, {**asdict(settings), "backends": backends})
    known = [*registry.describe(), *registry.describe_plugin(TARGET)]
    chosen = spec.load_spec(settings.model)
    sources = {name: own_source(name, chosen) for name in backends}
    (folder / "own").mkdir(exist_ok=True)
    for name, source in sources.items():
        (folder / "own" / f"{name}.py").write_text(source, encoding="utf-8")
    for name in backends:
        for cores in CORES:
            if (name, cores) in calibrated(folder):
                continue
            if monotonic() + CALIBRATION_SECONDS > end:
                print("no time is left to calibrate; run it again with more --hours")
                return
            print(f"calibrating {name}, --cores {cores}", flush=True)
            calibrate(folder, name, cores, settings, known)
    schedule = Schedule(folder, backends, sources, repetitions(folder), slowed)
    go_on(
        folder,
        schedule,
        lambda series, attempt: run_series(series, attempt, folder, settings, known),
        end,
    )


def prepare(folder: Path, machine: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Make the machine's folder, or see that it was begun with these settings.

    Raises:
        UsageError: it was not.

    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in (("machine.json", machine), ("settings.json", settings)):
        if not (folder / name).exists():
            (folder / name).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    before = _kept(folder / "settings.json")
    if before != settings:
        raise UsageError(
            f"--out: {folder} was begun with {before}. Try: the same, or another folder"
        )


def measured(out: Path) -> dict[Path, dict[str, Any]]:
    """Return the folders of all machines, and what these are.

    Raises:
        UsageError: there is none.

    """
    found = {path.parent: _kept(path) for path in sorted(out.glob("*/machine.json"))}
    if not found:
        raise UsageError(
            f"--out {out}: nothing was measured into it. Try: the same without --table"
        )
    return found


def _kept(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read {path}: {error}. Try: --out with a folder that was measured into"
        ) from None
    return found


def go_on(
    folder: Path,
    schedule: Schedule,
    run: Run,
    end: float,
    now: Callable[[], float] = monotonic,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
) -> None:
    """Run series after series, each on disk as it ends, while the next one likely fits in."""
    taken: dict[tuple[str, str], list[float]] = {}
    done = set()
    for row in read(folder / "decisions.csv"):
        if int(row["series"]) not in done:
            done.add(int(row["series"]))
            seconds = float(row["series_seconds"])
            taken.setdefault((row["backend"], row["cores"]), []).append(seconds)
    while True:
        series = schedule.upcoming(done)
        expected = _expected(taken, (series.backend, series.cores))
        if now() + expected > end:
            say(f"ended: the next series would take about {expected:.0f} s; {len(done)} are done")
            return
        attempt = len(list((folder / "series").glob(f"{series.series:04}.*")))
        where = f"{series.backend}, --cores {series.cores}{', neighbour' * series.neighbour}"
        pairs, decisions = run(series, attempt)
        append_rows(folder / "pairs.csv", PAIR_COLUMNS, pairs)
        append_rows(folder / "decisions.csv", DECISION_COLUMNS, decisions)
        done.add(series.series)
        seconds = float(decisions[0]["series_seconds"])
        taken.setdefault((series.backend, series.cores), []).append(seconds)
        # The verdict is not shown: who watches is to stay as blind as the judge.
        say(f"series {series.series} ({where}): {len(pairs)} pairs, {seconds:.0f} s")


def _expected(taken: dict[tuple[str, str], list[float]], key: tuple[str, str]) -> float:
    """Return the seconds in which nine of ten series of that kind ended, or all kinds' longest."""
    if key in taken:
        return float(np.quantile(taken[key], 0.9))
    return max((max(seconds) for seconds in taken.values()), default=UNKNOWN_SECONDS)


if __name__ == "__main__":
    main()
