"""The tables for docs/verdicts.md: decisions joined with what is sealed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.error_rates.in_turn import decisions_in_turn
from benchmarks.error_rates.schedule import SAME, SLOWDOWNS
from benchmarks.error_rates.series import DEFAULT, SHARP, Settings
from benchmarks.kept import read
from benchmarks.markdown import days_of
from harness.verdict.paired import hodges_lehmann
from harness.verdict.rates import clopper_pearson

Row = dict[str, str]
SLOW, FAST, OPEN = "REGRESSED", "IMPROVED", "INCONCLUSIVE"
FAILURES = ("FAILED", "CHANGED")  # which decide nothing, right or wrong
RULES = (DEFAULT, SHARP)
STANDARD = Settings()


def joined(folder: Path) -> tuple[list[Row], list[Row]]:
    """Return decisions and pairs with their slowdowns and the folder, which is the machine's.

    Pairs of undecided attempts are left out.
    """
    sealed = {
        row["series"]: {"slowdown": row["slowdown"], "folder": str(folder)}
        for row in read(folder / "sealed.csv")
    }
    decisions = [{**row, **sealed[row["series"]]} for row in read(folder / "decisions.csv")]
    decided = {(row["series"], row["attempt"]) for row in decisions}
    pairs = [
        {**row, **sealed[row["series"]]}
        for row in read(folder / "pairs.csv")
        if (row["series"], row["attempt"]) in decided and row["status"] == "ok"
    ]
    return decisions, pairs


def report(machines: Mapping[Path, Mapping[str, Any]], settings: Settings = STANDARD) -> str:
    """Return all tables in Markdown, each of what all machines measured; theirs are the folders."""
    found = {folder: joined(folder) for folder in machines}
    heads = [_head(machines[folder], *rows) for folder, rows in found.items()]
    decisions = [row for rows, _ in found.values() for row in rows]
    decided = [row for row in decisions if row["verdict"] not in FAILURES]
    pairs = [row for _, rows in found.values() for row in rows]
    every = decided + decisions_in_turn(pairs, settings)
    parts = [
        "\n".join(f"- {head}" for head in heads),
        "In brackets the 95 % intervals of Clopper and Pearson.",
        _table("Identical sides: false alarms", _alarms(every)),
        _table("Slowed sides: how often they are found", _found(every, pairs)),
        _table("What a decision takes", _costs(decided)),
    ]
    return "\n\n".join(parts) + "\n"


def _head(machine: Mapping[str, Any], decisions: Sequence[Row], pairs: Sequence[Row]) -> str:
    days = days_of(decisions) or "not yet"
    failed = len({row["series"] for row in decisions if row["verdict"] in FAILURES})
    series = len({row["series"] for row in decisions})
    memory = round(int(machine["memory_bytes"]) / 2**30)
    return (
        f"Measured {days} on {machine['cpu']} ({machine['cpu_generation']}), "
        f"{machine['cpus_available']} cores, {memory} GiB, machine key `{machine['machine_key']}`: "
        f"{series} series, {len(pairs)} pairs; {failed} series failed."
    )


def _table(title: str, rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return f"### {title}\n\nNothing was decided yet."
    columns = list(rows[0])
    lines = [
        f"| {' | '.join(columns)} |",
        f"| {' | '.join('---' if i < 2 else '---:' for i in range(len(columns)))} |",
        *(f"| {' | '.join(row.values())} |" for row in rows),
    ]
    return f"### {title}\n\n" + "\n".join(lines)


def _alarms(decisions: Sequence[Row]) -> list[dict[str, str]]:
    same = [row for row in decisions if row["slowdown"] == SAME]
    rows = []
    for (rule, taken), group in _grouped(same, "rule", "data"):
        for condition, chosen in _conditions(group):
            if not chosen:
                continue
            count = len(chosen)
            rows.append(
                {
                    "rule, of what": f"{rule}, {taken}",
                    "where": condition,
                    "decisions": str(count),
                    "called slower": share(_count(chosen, SLOW), count),
                    "called faster": share(_count(chosen, FAST), count),
                    "inconclusive": share(_count(chosen, OPEN), count) if rule in RULES else "",
                    "at most 1 % each way": _worse(
                        [judged(_count(chosen, v), count, 0.01, True) for v in (SLOW, FAST)]
                    ),
                }
            )
    return rows


def _conditions(rows: Sequence[Row]) -> Iterable[tuple[str, list[Row]]]:
    """Yield all rows, then those of each mask and condition where one of `ab`'s rules judges."""
    yield "everywhere", list(rows)
    if rows[0]["rule"] not in RULES:
        return
    for cores in ("1", "all"):
        for is_beside, words in ((False, "idle"), (True, "beside a neighbour")):
            chosen = [r for r in rows if (r["cores"], r["neighbour"]) == (cores, str(is_beside))]
            yield f"`--cores {cores}`, {words}", chosen
    for backend in dict.fromkeys(row["backend"] for row in rows):
        yield backend, [row for row in rows if row["backend"] == backend]
    machines = list(dict.fromkeys(row["folder"] for row in rows))
    for folder in machines if len(machines) > 1 else []:
        yield f"machine `{Path(folder).name}`", [r for r in rows if r["folder"] == folder]


GOALS = {  # the share that is to be found, by rule, cores and slowdown
    (SHARP, "1", "2"): 0.9,
    (SHARP, "1", "5"): 0.99,
    (SHARP, "1", "10"): 1.0,
    (DEFAULT, "1", "5"): 0.99,
    (DEFAULT, "1", "10"): 1.0,
    (DEFAULT, "all", "5"): 0.9,
}


def _found(decisions: Sequence[Row], pairs: Sequence[Row]) -> list[dict[str, str]]:
    rows = []
    slowed = [row for row in decisions if row["slowdown"] in SLOWDOWNS]
    for (rule, taken), group in _grouped(slowed, "rule", "data"):
        for (cores, slowdown), chosen in sorted(
            _grouped(group, "cores", "slowdown"), key=lambda item: (item[0][0], int(item[0][1]))
        ):
            hits, count = _count(chosen, SLOW), len(chosen)
            goal = GOALS.get((rule, cores, slowdown))
            values = [
                float(r["log_ratio"])
                for r in pairs
                if (r["cores"], r["slowdown"]) == (cores, slowdown)
            ]
            real = f"{100 * math.expm1(hodges_lehmann(values)):.1f} %" if values else ""
            rows.append(
                {
                    "rule, of what": f"{rule}, {taken}",
                    "where": f"`--cores {cores}`",
                    "meant": f"{slowdown} %",
                    "measured": real,
                    "decisions": str(count),
                    "found": share(hits, count),
                    "called faster": share(_count(chosen, FAST), count),
                    "goal": f"{100 * goal:g} %: {judged(hits, count, goal)}" if goal else "",
                }
            )
    return rows


def _costs(decisions: Sequence[Row]) -> list[dict[str, str]]:
    rows = []
    ours = [row for row in decisions if row["rule"] in RULES]
    for (rule, backend, cores), group in _grouped(ours, "rule", "backend", "cores"):
        seconds = [float(row["seconds"]) for row in group]
        quiet = [r for r in group if r["neighbour"] == "False" and r["slowdown"] == SAME]
        rows.append(
            {
                "rule": rule,
                "where": f"{backend}, `--cores {cores}`",
                "decisions": str(len(group)),
                "pairs": f"{median(int(row['pairs']) for row in group):g}",
                "seconds, median": f"{median(seconds):.0f}",
                "seconds, 90 %": f"{float(np.quantile(seconds, 0.9)):.0f}",
                "inconclusive when idle and the same": (
                    share(_count(quiet, OPEN), len(quiet)) if quiet else ""
                ),
            }
        )
    return rows


def share(hits: int, count: int) -> str:
    """Return `1 of 40, 2.5 % (0.1 to 13.2)`."""
    low, high = clopper_pearson(hits, count)
    return f"{hits} of {count}, {100 * hits / count:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def judged(hits: int, count: int, goal: float, is_most: bool = False) -> str:
    """Say whether a goal for a share is met: `shown` only where the whole interval meets it.

    `is_most`: the share should not be above the goal; else not below it.
    """
    low, high = clopper_pearson(hits, count)
    if not is_most:
        low, high, goal, hits = 1 - high, 1 - low, 1 - goal, count - hits
    if low > goal:
        return "missed"
    if high <= goal:
        return "shown"
    return "met so far" if hits <= goal * count + 1e-9 else "not met so far"


def _worse(words: Sequence[str]) -> str:
    return max(words, key=["shown", "met so far", "not met so far", "missed"].index)


def _count(rows: Iterable[Row], verdict: str) -> int:
    return sum(row["verdict"] == verdict for row in rows)


def _grouped(rows: Iterable[Row], *names: str) -> list[tuple[tuple[str, ...], list[Row]]]:
    found: defaultdict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        found[tuple(row[name] for name in names)].append(row)
    return list(found.items())
