from __future__ import annotations

import inspect
import re

import pytest

from harness import errors
from harness.errors import HarnessError, SpecError, WorkerError, did_you_mean


def classes() -> dict[str, type[HarnessError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, HarnessError)
    }


def documented() -> dict[str, tuple[int, int | None]]:
    """Each class of the tree in the docstring: how deep it stands, and its exit code, if given."""
    tree = re.findall(r"^([│├└─ ]*)(\w+)(?: \((\d+)\))? {2,}\S", errors.__doc__, re.MULTILINE)
    return {name: (len(bars) // 4, int(code) if code else None) for bars, name, code in tree}


def test_every_error_stands_in_the_tree_below_its_base_with_its_exit_code():
    tree = documented()
    assert set(tree) == set(classes())
    path: list[str] = []
    for name, (depth, code) in tree.items():
        path[depth:] = [name]
        error = classes()[name]
        if depth:
            assert error.__bases__[0].__name__ == path[depth - 1], name
            assert error.exit_code == (code or classes()[path[depth - 1]].exit_code), name
        else:
            assert (name, error.exit_code) == ("HarnessError", code)


def test_no_error_exits_with_success_and_wrong_usage_exits_as_shells_expect():
    assert all(0 < error.exit_code < 256 for error in classes().values())
    assert errors.UsageError.exit_code == 2


@pytest.mark.parametrize("status", ["crashed", "timed-out", "out-of-memory", "failed"])
def test_a_workers_error_knows_the_word_for_it_in_the_results(status):
    error = WorkerError("torch: no answer", status)
    assert (str(error), error.status) == ("torch: no answer", status)
    assert WorkerError("torch: no answer").status == "failed"


def test_a_specs_error_counts_its_mistakes_and_gives_each_a_line():
    assert str(SpecError("a.toml", ["x: is missing"])) == "a.toml: 1 mistake\n  x: is missing"
    both = SpecError("a.toml", ["x: is missing", "y: unknown field"])
    assert str(both) == "a.toml: 2 mistakes\n  x: is missing\n  y: unknown field"
    assert both.problems == ["x: is missing", "y: unknown field"]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("torhc", " Did you mean 'torch'?"),
        ("TORCH", " Did you mean 'torch'?"),
        ("pytorch", " Did you mean 'torch'?"),
        ("kears", " Did you mean 'keras'?"),
        ("mxnet", ""),
        ("", ""),
    ],
)
def test_the_nearest_word_is_offered_if_it_is_near(value, hint):
    assert did_you_mean(value, ["keras", "torch", "flax"]) == hint
    assert did_you_mean(value, []) == ""
