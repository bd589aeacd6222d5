"""What a run says of checks that were made before."""

from __future__ import annotations

import csv
import os

import pytest

from harness.run.checked import KEYS, network_hash, newest_check
from harness.spec import load_spec

WANTED = {key: f"the {key}" for key in KEYS}
COLUMNS = [*KEYS, "precision", "rung", "status", "where", "finished_at"]


@pytest.fixture
def write(tmp_path):
    """Write a check with a row for each status."""

    def written(name, *statuses, finished="2026-01-01", **other):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "check.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            for number, status in enumerate(statuses):
                row = {"rung": f"rung{number}", "status": status, "where": "bn1.variance"}
                writer.writerow({**WANTED, "finished_at": finished, **row, **other})

    return written


def test_without_a_check_nothing_is_checked(tmp_path):
    assert newest_check(WANTED, tmp_path / "nowhere") == "not checked"
    assert newest_check(WANTED, tmp_path) == "not checked"


def test_all_rungs_make_a_backend_verified(write, tmp_path):
    write("a", "ok", "ok")
    assert newest_check(WANTED, tmp_path) == "verified"


def test_a_difference_is_named(write, tmp_path):
    write("a", "ok", "differs", "not reached")
    assert newest_check(WANTED, tmp_path) == "differs at rung1: bn1.variance"


def test_the_newest_check_counts(write, tmp_path):
    write("z", "differs", finished="2026-01-01")
    write("a", "ok", finished="2026-01-02")
    assert newest_check(WANTED, tmp_path) == "verified"


def test_a_check_in_which_the_backend_failed_is_none(write, tmp_path):
    write("a", "ok", "crashed", "not reached")
    assert newest_check(WANTED, tmp_path) == "not checked"


@pytest.mark.parametrize("key", KEYS)
def test_a_check_of_anything_else_does_not_count(write, tmp_path, key):
    write("a", "ok", **{key: "another"})
    assert newest_check(WANTED, tmp_path) == "not checked"


@pytest.mark.parametrize(
    ("checked", "run", "answer"),
    [
        ("float64", "float32", "verified"),
        ("bfloat16", "bfloat16", "verified"),
        ("bfloat16", "float32", "not checked"),
        ("float64", "bfloat16", "not checked"),
    ],
)
def test_a_check_of_bfloat16_counts_for_bfloat16_only(write, tmp_path, checked, run, answer):
    write("a", "ok", precision=checked)
    assert newest_check({**WANTED, "precision": run}, tmp_path) == answer


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a,b\n1,2\n", os.urandom(500)])
def test_what_is_no_check_is_passed_over(write, tmp_path, content):
    write("a", "ok")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "check.csv").write_bytes(content)
    assert newest_check(WANTED, tmp_path) == "verified"


def test_epochs_and_batch_size_make_no_other_network_but_an_optimizer_does():
    spec = load_spec("mnist-1conv")

    def trained(**changes):
        return spec.model_copy(update={"training": spec.training.model_copy(update=changes)})

    assert network_hash(trained(epochs=77, batch_size=3)) == network_hash(spec)
    assert network_hash(trained(clip_norm=1.0)) != network_hash(spec)
