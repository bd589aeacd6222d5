"""What tuning guides advise, tried: python -m benchmarks.tuning --out DIR.

Each trial is a `harness ab` of a backend as it is (A) and with one change (B): to the source that
it writes, or to its worker's environment; see benchmarks/tuning/trials.py. Above 0 % the change
makes a training step slower. Run again with the same --out, it goes on where it ended.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.error_rates.given import TARGET, VARIABLE, own_source
from benchmarks.kept import of_this_machine, read, show
from benchmarks.markdown import table
from benchmarks.ratios import over_pairs
from benchmarks.tuning.trials import TRIALS, Trial
from harness import registry
from harness.output import append_rows
from harness.spec import Spec, load_spec

COLUMNS = "trial pair seconds_a seconds_b log_ratio started_at".split()


def main() -> None:
    """Read the options, carry out what is not yet, and print the table."""
    options = read_options()
    chosen = [trial for trial in TRIALS if not options.trial or trial.name in options.trial]
    path = options.out / "pairs.csv"
    if not options.table:
        of_this_machine(options.out)
        known = {info.label: info for info in registry.describe()}
        done = {row["trial"] for row in read(path)}
        for trial in chosen:
            if trial.name not in done:
                print(f"{trial.name}: {trial.what}", file=sys.stderr, flush=True)
                carry_out(trial, known[trial.backend].tuned, options, path)
    show(path, table_of)


def read_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tuning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [trial.name for trial in TRIALS]
    add = parser.add_argument
    add("--trial", action="append", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    add("--dataset", default="mnist", help="for the nets that fit it")
    add("--pairs", type=int, default=6, help="of fresh processes")
    add("--out", type=Path, default=Path("results/tuning"))
    add("--table", action="store_true", help="print the table of what is there; measure nothing")
    return parser.parse_args()


def carry_out(
    trial: Trial, tuned: Mapping[str, str], options: argparse.Namespace, path: Path
) -> None:
    """Compare the backend with and without the change, and keep what each pair came to."""
    spec = load_spec(trial.model)
    fits = spec.input == load_spec("mnist-1conv").input
    shape = "x".join(map(str, spec.input))
    dataset = options.dataset if fits else f"synthetic:{shape}:10:4096"
    with TemporaryDirectory(prefix="tuning-") as scratch:
        place = Path(scratch)
        command = [sys.executable, "-m", "harness", "ab", *sides(trial, spec, tuned, place)]
        command += ["-m", trial.model, "-d", dataset, "--pairs", str(options.pairs)]
        command += ["--rounds", str(trial.rounds), "--out", str(place / "ab")]
        done = subprocess.run(command, stdout=sys.stderr, check=False)
        pairs = read(place / "ab" / "pairs.csv")
        failed = [pair for pair in pairs if pair["status"] != "ok"]
        if len(pairs) < options.pairs or failed:
            print(f"  {trial.name}: no result: exit code {done.returncode}", file=sys.stderr)
            return
        append_rows(path, COLUMNS, [{"trial": trial.name} | _kept(pair) for pair in pairs])


def _kept(pair: Mapping[str, str]) -> dict[str, object]:
    # As text, a negative number would be guarded against spreadsheets, by a quotation mark.
    figures = {name: float(pair[name]) for name in ("seconds_a", "seconds_b", "log_ratio")}
    return {"pair": pair["pair"], **figures, "started_at": pair["started_at"]}


def sides(trial: Trial, spec: Spec, tuned: Mapping[str, str], place: Path) -> list[str]:
    """Return the arguments that name both sides; sources that differ are written to `place`."""
    options = [f"--option-b={name}={value}" for name, value in trial.options.items()]
    options += [f"--env-b={name}={value}" for name, value in trial.environment.items()]
    if not (trial.edits or trial.rewrite):
        return [trial.backend, trial.backend, *options]
    source = own_source(trial.backend, spec)
    given = [f"given@{trial.backend}"] * 2 + ["--plugin", TARGET]
    for side, text in (("a", source), ("b", trial.changed(source))):
        file = place / f"{side}.py"
        file.write_text(text, encoding="utf-8")
        variables = {VARIABLE: str(file), **tuned}
        given += [f"--env-{side}={name}={value}" for name, value in variables.items()]
    return [*given, *options]


def table_of(rows: Sequence[Mapping[str, str]]) -> str:
    """Return what was expected of each trial, and what was found, with its 95 % interval."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        found[row["trial"]].append(float(row["log_ratio"]))
    lines = []
    for trial in TRIALS:
        if trial.name in found:
            figures = over_pairs(found[trial.name])
            change, low, high = (f"{100 * (figure - 1):+.1f}" for figure in figures)
            what = f"{trial.backend}, `{trial.model}`: {trial.what}"
            lines.append([what, trial.expected, f"{change} % ({low} to {high})"])
    return table(("tried", "expected", "found"), lines)


if __name__ == "__main__":
    main()
