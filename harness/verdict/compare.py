"""Compare results that lie on disk: cell by cell, pair of processes by pair of processes."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import UsageError, did_you_mean
from harness.run.figures import median_interval
from harness.run.folder import TO_THE_END
from harness.spec.start import typed_as
from harness.verdict.accuracy import judge_accuracy
from harness.verdict.files import CellKey, Run, RunCell, is_figure, read_sides
from harness.verdict.judge import ALPHA, Judgement, Limits, Verdict, judge, planned
from harness.verdict.report import Finding, Report

# What may differ between two results of the same cell, by the word that allows it.
DIFFERENCES = {
    "model": ("model_hash",),
    "dataset": ("dataset_hash",),
    "machine": ("machine_key",),
    "versions": ("versions",),
    "code": ("commit", "dirty"),
    "threads": ("threads",),
    "weights": ("init_hash",),
    "order": ("order_hash",),
    "network": ("equivalent",),
    "stream": ("streamed",),
}
Question = tuple[str, CellKey, str]  # the new result's place, the cell, the measure
Pair = tuple[RunCell, RunCell]


def parse_allowed(text: str) -> frozenset[str]:
    """Return the differences that `--allow-changed` names; `all` stands for each of them.

    Raises:
        UsageError: a word is unknown.

    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word != "all" and word not in DIFFERENCES:
            raise UsageError(
                f"--allow-changed {word!r}; allowed: {', '.join(DIFFERENCES)}, all."
                f"{did_you_mean(word, DIFFERENCES)} Try: --allow-changed versions,code"
            )
    return frozenset(DIFFERENCES) if "all" in words else frozenset(words)


def compare(
    old: Path,
    new: Sequence[Path],
    thresholds: Mapping[str, float],
    allowed: Collection[str] = (),
    inconclusive_ok: bool = False,
    skip_absent: bool = False,
) -> Report:
    """Compare each of `new` with `old`, in every cell and measure of `thresholds`.

    The unit is the pair of processes: the first run of the one side with the first of the other,
    and so on, as they were measured. All costs are one family for Holm's rule, all accuracies one
    for Bonferroni's. What neither side measured is MISSING, or with `skip_absent` no question.

    Raises:
        UsageError: a place cannot be read, or holds no run; or there is no question left.

    """
    before, *sides = read_sides([old, *new])
    findings: dict[Question, Finding] = {}
    ratios: dict[Question, list[float]] = {}
    pairs: dict[Question, list[Pair]] = {}
    for place, after in zip(new, sides, strict=True):
        for key in dict.fromkeys(key for run in (*before, *after) for key in run):
            for measure in thresholds:
                question = (str(place), key, measure)
                found = _examine(question, before, after, allowed)
                if skip_absent and not found:
                    continue
                if not found:
                    found = _missing(question)
                if isinstance(found, Finding):
                    findings[question] = found
                    continue
                pairs[question] = found
                if measure != "accuracy":
                    ratios[question] = _log_ratios(found, measure)
    if not findings and not pairs:
        measures = ", ".join(thresholds)
        raise UsageError(
            f"{old}: nothing to judge, as neither side has {measures}. Try: another run"
        )
    judged = judge(
        {_text(q): values for q, values in ratios.items()},
        {_text(q): Limits.of(thresholds[q[2]]) for q in ratios},
    )
    judges = sum(question[2] == "accuracy" for question in pairs)
    for question, found_pairs in pairs.items():
        if question[2] == "accuracy":
            findings[question] = _accuracy(question, found_pairs, thresholds["accuracy"], judges)
        else:
            judgement = planned(judged[_text(question)], len(ratios))
            findings[question] = _finding(question, found_pairs, judgement)
    order = sorted(findings, key=lambda q: (str(q[0]), list(thresholds).index(q[2]), q[1]))
    title = f"{old} against {', '.join(map(str, new))}"
    return Report(title, [findings[question] for question in order], inconclusive_ok)


def _text(question: Question) -> str:
    return repr(question)


def _examine(
    question: Question, before: Sequence[Run], after: Sequence[Run], allowed: Collection[str]
) -> Finding | list[Pair]:
    """Return the pairs of a question, none if it was not measured, or why none can be judged."""
    place, key, measure = question

    def answer(verdict: Verdict, detail: str, changed: Sequence[str] = ()) -> Finding:
        return Finding(key.label, measure, verdict, detail, place, changed=tuple(changed))

    left = [run[key] for run in before if key in run]
    right = [run[key] for run in after if key in run]
    if not left or not right:
        return answer("MISSING", "only in the old results" if left else "only in the new results")
    failed = [
        f"{side}, seed {row['seed']}: {row['status']}"
        for side, cells in (("old", left), ("new", right))
        for cell in cells
        for row in cell.rows
        if row["status"] not in TO_THE_END
    ]
    if failed:
        return answer("FAILED", "; ".join(failed))
    differing = _differences(left, right)
    if unwanted := {word: text for word, text in differing.items() if word not in allowed}:
        words = ",".join(unwanted)
        detail = f"{'; '.join(unwanted.values())}. To compare all the same: --allow-changed {words}"
        return answer("CHANGED", detail, list(unwanted))
    pairs = [pair for pair in zip(left, right, strict=False) if _has(pair, measure)]
    if not pairs and any(_has((cell, cell), measure) for cell in (*left, *right)):
        return answer("MISSING", f"{measure} was measured on one side only")
    return pairs


def _missing(question: Question) -> Finding:
    place, key, measure = question
    detail = f"{measure} was measured on neither side"
    return Finding(key.label, measure, "MISSING", detail, place)


def _differences(left: Sequence[RunCell], right: Sequence[RunCell]) -> dict[str, str]:
    """Return what differs between the sides, in words, by the word that allows it."""
    found = {}
    for word, columns in DIFFERENCES.items():
        sides = []
        for cells in (left, right):
            values = {
                tuple(str(row.get(column)) for column in columns)
                for cell in cells
                for row in (cell.rows if word == "network" else cell.rows[:1])
            }
            sides.append(values)
        if sides[0] != sides[1] or len(sides[0]) > 1:
            shown = [" or ".join(sorted(_say(word, value) for value in side)) for side in sides]
            found[word] = f"{word} differs: {shown[0]} then {shown[1]}"
        elif word == "code" and any(value[1] == "True" for value in sides[0]):
            found[word] = f"code may differ: {_say(word, next(iter(sides[0])))} on both sides"
        elif word == "network" and sides[0] == {("False",)}:
            found[word] = "another network than the reference's on both sides"
    return found


def _say(word: str, value: tuple[str, ...]) -> str:
    if word == "code":
        return f"{value[0][:12]}{' with changes' if value[1] == 'True' else ''}"
    if word == "network":
        return "the reference's network" if value[0] == "True" else "another network"
    if word == "stream":
        return "a streamed training set" if value[0] == "True" else "one held whole"
    return value[0]


COLUMNS = {"compile": "compile_seconds", "accuracy": "test_accuracy"}


def _has(pair: Pair, measure: str) -> bool:
    if measure == "accuracy":
        return all(cell.typical("test_accuracy") is not None for cell in pair)
    return _log_ratio(pair, measure) is not None


def _log_ratios(pairs: Sequence[Pair], measure: str) -> list[float]:
    return [ratio for pair in pairs if (ratio := _log_ratio(pair, measure)) is not None]


def _log_ratio(pair: Pair, measure: str) -> float | None:
    """Return the logarithm of new cost over old: by rounds where there are samples of both."""
    left, right = pair
    if measure in ("train", "predict"):
        by_round = getattr(left, measure).log_ratios(getattr(right, measure))
        if len(by_round):
            return float(np.median(by_round))
        return _log(right, left, f"{measure}_images_per_second")
    if measure == "memory":
        device = _log(left, right, "peak_device_bytes")
        return _log(left, right, "peak_host_bytes") if device is None else device
    return _log(left, right, COLUMNS[measure])


def _log(below: RunCell, above: RunCell, column: str) -> float | None:
    low, high = below.typical(column), above.typical(column)
    return float(np.log(high / low)) if low and high and low > 0 and high > 0 else None


def _finding(question: Question, pairs: Sequence[Pair], found: Judgement) -> Finding:
    place, key, measure = question
    within = None
    if len(pairs) == 1 and measure in ("train", "predict"):
        by_round = getattr(pairs[0][0], measure).log_ratios(getattr(pairs[0][1], measure))
        if len(by_round) > 1:
            low, high = median_interval(by_round)
            within = (float(np.exp(low)), float(np.exp(high)))
    detail = ""
    if found.verdict == "INCONCLUSIVE":
        command = "" if measure == "memory" else ab_command(key, measure, *pairs[0])
        detail = _what_would_settle(found, command)
    return Finding(key.label, measure, found.verdict, detail, place, found, within=within)


def _what_would_settle(found: Judgement, command: str) -> str:
    """Say what is missing; `command` is that of live pairs, where these measure it."""
    if found.pairs == 1:
        settle = command or "seven or more runs of each side, compared as two folders of them"
        return f"one pair of processes proves nothing; to settle it: {settle}"
    seen = ""
    if found.smallest_effect is not None:
        seen = f"; {100 * found.smallest_effect:.1f} % would have been seen"
    needed = f", about {found.pairs_needed} would settle it" if found.pairs_needed else ""
    sooner = f". Sooner: {command}" if command else ""
    return f"{found.pairs} pairs of processes are too few{seen}{needed}{sooner}"


def ab_command(key: CellKey, measure: str, old: RunCell, new: RunCell) -> str:
    """Return the command that measures live pairs of what the two results are of."""
    name = f"{key.backend}@{key.variant}" if key.variant else key.backend
    words = ["python", "-m", "harness", "ab", name, name]
    for option, value, usual in (
        ("--model", _model(key, old), ""),
        ("--dataset", key.dataset, ""),
        ("--batch-size", key.batch_size, ""),
        ("--device", key.device, "cpu"),
        ("--precision", key.precision, "float32"),
        ("--environment", key.environment, "tuned"),
        ("--measure", measure, "train"),
    ):
        if value != usual:
            words += [option, str(value)]
    commits = old.first("commit"), new.first("commit")
    if commits[0] != commits[1]:
        words += ["--checkout-a", str(commits[0])[:12], "--checkout-b", str(commits[1])[:12]]
    if old.first("versions") != new.first("versions"):
        words += ["--python-a", "OLD/bin/python", "--python-b", "NEW/bin/python"]
    return shlex.join(words)


def _model(key: CellKey, cell: RunCell) -> str:
    """Return what `--model` takes: one that is not of the library lies beside the results."""
    named, kept = typed_as(key.model), cell.folder / "spec.json"
    return str(kept) if named != key.model and kept.exists() else named


def _by_seed(cells: Sequence[RunCell]) -> dict[Any, float]:
    """Return accuracies by seed: the first run's, where several trained from the same one."""
    found: dict[Any, float] = {}
    for row in (row for cell in cells for row in cell.rows):
        if is_figure(row["test_accuracy"]):
            found.setdefault(row["seed"], row["test_accuracy"])
    return found


def _accuracy(question: Question, pairs: Sequence[Pair], margin: float, questions: int) -> Finding:
    """Judge the accuracy: seeds are what it varies with, so they are its pairs."""
    place, key, measure = question
    left, right = map(_by_seed, zip(*pairs, strict=True))
    seeds = [seed for seed in left if seed in right]
    sides = {"new": [right[s] for s in seeds], "old": [left[s] for s in seeds]}
    found = judge_accuracy(sides, margin)
    verdict: Verdict = "OK" if found.answer == "comparable" else "INCONCLUSIVE"
    # A false alarm is to be as rare as with the other measures.
    strict = judge_accuracy(sides, margin, ALPHA / questions).answer == "different"
    if found.answer == "different" and strict:
        verdict = "IMPROVED" if found.difference > 0 else "REGRESSED"
    figures: dict[str, Any] = {}
    if found.answer != "not judged":
        figures = {"difference": found.difference, "low": found.low, "high": found.high}
    detail = ""
    if verdict == "INCONCLUSIVE":
        more = found.seeds_needed or max(3, 2 * len(seeds))
        detail = f"from {len(seeds)} seeds; to settle it run both sides with --seeds {more} or more"
    return Finding(key.label, measure, verdict, detail, place, **figures)
