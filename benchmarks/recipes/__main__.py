"""Each backend beside its framework's tutorial: python -m benchmarks.recipes --out DIR.

In each pair a fresh process of either is started; they train the same rows in turns, in an order
drawn anew, and the pair's figure is the median of the ratios of neighbouring blocks. The recipe
always has the stock environment, the backend that of --environment. All that is asked for is
measured pair by pair in turns, so that an hour's weather hits all alike; run again with the same
--out, it goes on where it ended. What is printed at the end is the Hodges-Lehmann estimate over
pairs, with its interval, beside the goal.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import numpy as np

from benchmarks.kept import of_this_machine, read, show
from benchmarks.markdown import table
from benchmarks.ratios import over_pairs
from benchmarks.recipes.measure import RECIPES, Rows, lay_out, measure
from harness import registry
from harness.output import append_rows
from harness.run.environment import Environment
from harness.spec import load_spec

COLUMNS = (
    "backend model environment pair block steps adapter_seconds recipe_seconds started_at"
).split()
MODELS = ("mnist-1conv", "mnist-2conv", "resnet-20")
GOALS = {  # tuned, on two cores of a CPU; all are to be 1 in the stock environment
    "torch": {"mnist-1conv": 2.0, "mnist-2conv": 1.4, "resnet-20": 1.3},
    "flax": {"mnist-1conv": 4.5, "mnist-2conv": 2.2, "resnet-20": 1.5},
    "keras": {"mnist-1conv": 2.2, "mnist-2conv": 1.3, "resnet-20": 1.1},
    "tensorflow": {"mnist-1conv": 1.1, "mnist-2conv": 1.0, "resnet-20": 1.0},
}


@dataclass(frozen=True)
class Question:
    """What is measured pair by pair."""

    backend: str
    model: str
    environment: Environment

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.backend}, {self.model}, {self.environment}"


def main() -> None:
    """Read the options, measure what is not yet, and print the tables."""
    options = read_options()
    questions = [
        Question(backend, model, environment)
        for environment in options.environment
        for model in options.model
        for backend in options.backend
    ]
    if not options.table:
        of_this_machine(options.out)
        carry_out(questions, options)
    show(options.out / "blocks.csv", tables)


def read_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.recipes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--backend", type=_of(RECIPES), default=list(GOALS), help="by commas")
    add("--model", type=_of(MODELS), default=list(MODELS), help="by commas")
    add("--environment", type=_of(get_args(Environment)), default=["tuned", "stock"])
    add("--pairs", type=int, default=6, help="of fresh processes")
    add("--blocks", type=int, default=6, help="of each side in a pair")
    add("--block-seconds", type=float, default=1.0, help="of the backend's own blocks, about")
    add("--out", type=Path, default=Path("results/recipes"))
    add("--table", action="store_true", help="print the tables of what is there; measure nothing")
    return parser.parse_args()


def _of(allowed: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what reads a list by commas."""

    def parse(text: str) -> list[str]:
        found = text.split(",")
        if unknown := [word for word in found if word not in allowed]:
            known = ", ".join(allowed)
            raise argparse.ArgumentTypeError(f"{unknown[0]!r}; allowed: {known}, by commas")
        return found

    return parse


def carry_out(questions: Sequence[Question], options: argparse.Namespace) -> None:
    """Measure pair after pair, each of all questions in an order drawn anew."""
    path = options.out / "blocks.csv"
    done = {(Question(*(r[n] for n in COLUMNS[:3])), int(r["pair"])) for r in read(path)}  # type: ignore[arg-type]
    infos = {info.label: info for info in registry.describe()}
    with tempfile.TemporaryDirectory(prefix="recipes-") as scratch:
        places: dict[str, tuple[Path, Rows]] = {}
        for model in dict.fromkeys(question.model for question in questions):
            folder = Path(scratch) / model
            folder.mkdir()
            places[model] = folder, lay_out(load_spec(model), folder)
        for pair in range(options.pairs):
            for index in np.random.default_rng([pair, 11]).permutation(len(questions)):
                question = questions[index]
                if (question, pair) in done:
                    continue
                folder, rows = places[question.model]
                started_at = datetime.now(UTC).isoformat(timespec="seconds")
                steps, own, recipe = measure(
                    *(infos[question.backend], question.environment, rows, folder),
                    *(options.blocks, options.block_seconds, pair),
                )
                found = _rows(question, pair, steps, own, recipe, started_at)
                append_rows(path, COLUMNS, found)
                ratio = float(np.median(np.array(recipe) / np.array(own)))
                print(f"pair {pair + 1}, {question}: {ratio:.2f}", file=sys.stderr, flush=True)


def _rows(
    question: Question,
    pair: int,
    steps: int,
    own: Sequence[float],
    recipe: Sequence[float],
    started_at: str,
) -> list[dict[str, object]]:
    shared = (question.backend, question.model, question.environment, pair)
    blocks = enumerate(zip(own, recipe, strict=True))
    rows = ((*shared, number, steps, *both, started_at) for number, both in blocks)
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def tables(rows: Iterable[Mapping[str, str]]) -> str:
    """Return a Markdown table for each environment: ratio, interval, goal and images/s."""
    found: defaultdict[Question, defaultdict[str, list[tuple[float, ...]]]]
    found = defaultdict(lambda: defaultdict(list))
    for row in rows:
        question = Question(row["backend"], row["model"], row["environment"])  # type: ignore[arg-type]
        figures = (float(row[n]) for n in ("adapter_seconds", "recipe_seconds", "steps"))
        found[question][row["pair"]].append(tuple(figures))
    parts = []
    for environment in get_args(Environment):
        own = [question for question in found if question.environment == environment]
        if not own:
            continue
        models = [model for model in MODELS if any(q.model == model for q in own)]
        lines = []
        for backend in [name for name in RECIPES if any(q.backend == name for q in own)]:
            cells = [found.get(Question(backend, model, environment)) for model in models]
            lines.append(
                [backend]
                + [
                    _cell(cell, goal_of(backend, model, environment), model) if cell else ""
                    for cell, model in zip(cells, models, strict=True)
                ]
            )
        parts.append(table((f"{environment}; goal; images/s", *models), lines))
    return "\n\n".join(parts)


def goal_of(backend: str, model: str, environment: str) -> float | None:
    """Return how many times as fast as the recipe it should be."""
    if environment == "stock":
        return 1.0
    return GOALS.get(backend, {}).get(model)


def _cell(pairs: Mapping[str, list[tuple[float, ...]]], goal: float | None, model: str) -> str:
    blocks = [np.array(one).T for one in pairs.values()]
    ratio, low, high = over_pairs([np.median(np.log(recipe / own)) for own, recipe, _ in blocks])
    size = load_spec(model).training.batch_size
    speed = np.median(np.concatenate([size * steps / own for own, _, steps in blocks]))
    aim = "" if goal is None else f"; {goal:.1f}"
    return f"{ratio:.2f} ({low:.2f} to {high:.2f}){aim}; {speed:,.0f}"


if __name__ == "__main__":
    main()
