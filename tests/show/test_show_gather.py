"""Results read back: old, cut off, damaged, several."""

from __future__ import annotations

import csv

import pytest
from show_results import BASELINES, spec_of, write_results

from harness.errors import UsageError
from harness.run.folder import read_rows
from harness.show.gather import gather, read_run
from harness.show.page.downloads import downloads


def rewrite(path, change):
    """Change the rows of a CSV file, as text."""
    with path.open(newline="") as file:
        rows = [change(dict(row)) for row in csv.DictReader(file)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_columns_that_an_old_file_lacks_are_none(tmp_path):
    folder = write_results(tmp_path / "run")
    rewrite(folder / "summary.csv", lambda r: {k: v for k, v in r.items() if k != "checked"})
    (case,) = read_run(folder).cases
    assert case.rows[0]["checked"] is None


def test_what_is_no_finite_number_is_none(tmp_path):
    folder = write_results(tmp_path / "run")
    rewrite(folder / "summary.csv", lambda row: {**row, "test_loss": "nan", "train_loss": "inf"})
    row = read_run(folder).rows[0]
    assert (row["test_loss"], row["train_loss"]) == (None, None)


def test_without_samples_there_are_rows_and_a_remark(tmp_path):
    folder = write_results(tmp_path / "run")
    (folder / "samples.csv").unlink()
    run = read_run(folder)
    assert len(run.rows) == 2
    assert run.samples == []
    assert "samples.csv" in run.remarks[0]


def test_the_spec_is_the_runs_own(tmp_path):
    (case,) = read_run(write_results(tmp_path / "run")).cases
    assert case.spec == spec_of()


def test_a_spec_that_is_not_of_the_rows_is_not_shown(tmp_path):
    folder = write_results(tmp_path / "run")
    (folder / "spec.json").write_text(spec_of("mnist-2conv").model_dump_json())
    (case,) = read_run(folder).cases
    assert case.spec is not None
    assert case.spec.name == "mnist-1conv", "the library's, which has the hash of the rows"
    rewrite(folder / "summary.csv", lambda row: {**row, "model_hash": "0" * 16})
    (case,) = read_run(folder).cases
    assert case.spec is None


def test_a_damaged_spec_or_machine_is_no_error(tmp_path):
    folder = write_results(tmp_path / "run")
    (folder / "spec.json").write_text("{")
    (folder / "machine.json").write_text("[]")
    run = read_run(folder)
    assert run.spec is None
    assert set(run.machine.values()) == {None}


def test_rows_of_several_models_are_cases_of_their_own_and_share_no_samples(tmp_path):
    folder = write_results(tmp_path / "run")
    names = iter(["one", "two"])
    rewrite(folder / "summary.csv", lambda row: {**row, "model": next(names)})
    cases = read_run(folder).cases
    assert [case.first("model") for case in cases] == ["one", "two"]
    assert [case.samples for case in cases] == [[], []]


def test_runs_are_found_however_deep_oldest_first_and_those_of_checks_are_not(tmp_path):
    write_results(tmp_path / "b" / "late", started_at="2026-02-01T00:00:00+00:00")
    write_results(tmp_path / "a" / "early", started_at="2026-01-01T00:00:00+00:00")
    write_results(tmp_path / "checks" / "x" / "accuracy")
    runs, problems = gather([tmp_path, tmp_path / "a"])
    assert [run.folder.name for run in runs] == ["early", "late"]
    assert problems == []


def test_rows_that_were_skipped_are_of_no_case_and_a_run_of_such_alone_is_named(tmp_path):
    write_results(tmp_path / "some", changes={"torch": {"status": "skipped"}})
    skipped = {"status": "skipped"}
    write_results(tmp_path / "all", changes={"torch": skipped, "tensorflow": skipped})
    (run,), (problem,) = gather([tmp_path])
    assert [line.backend for case in run.cases for line in case.lines] == ["tensorflow"]
    assert "all was skipped" in problem


def test_one_unreadable_folder_is_named_and_the_others_are_read(tmp_path):
    write_results(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "summary.csv").write_text("a,b\n1,2\n")
    runs, (problem,) = gather([tmp_path])
    assert len(runs) == 1
    assert "bad" in problem


def test_where_nothing_can_be_read_the_error_says_what_to_give(tmp_path):
    with pytest.raises(UsageError, match=r"holds no summary\.csv, nor does a folder in it"):
        gather([tmp_path])


def test_the_baselines_are_read_with_all_their_rows():
    runs, problems = gather([BASELINES])
    assert problems == []
    assert len(runs) == len(list(BASELINES.rglob("summary.csv"))) >= 6
    for run in runs:
        assert len(run.rows) == len(read_rows(run.folder / "summary.csv"))


def test_nothing_is_shown_of_what_a_link_leads_to(tmp_path):
    """A folder may be a stranger's, and its page be published with files of whoever made it."""
    folder, secret = write_results(tmp_path / "run"), tmp_path / "secret"
    secret.write_text('{"cpu": "a secret"}')
    (folder / "models" / "x.py").symlink_to(secret)
    for name in ("machine.json", "spec.json"):
        (folder / name).unlink()
        (folder / name).symlink_to(secret)
    run = read_run(folder)
    assert run.sources == {}
    assert run.machine["cpu"] is None
    assert run.spec is None
    (files,) = downloads([run]).values()
    assert [file.name for file in files] == ["summary.csv", "samples.csv"]


@pytest.mark.parametrize("name", ["summary.csv", "samples.csv"])
def test_a_table_that_is_a_link_out_of_its_folder_is_not_read(tmp_path, name):
    folder, other = write_results(tmp_path / "run"), write_results(tmp_path / "other")
    (folder / name).unlink()
    (folder / name).symlink_to(other / name)
    if name == "summary.csv":
        with pytest.raises(UsageError, match="is no file in its folder"):
            read_run(folder)
        return
    run = read_run(folder)
    assert run.samples == []
    assert "samples.csv is no file in its folder" in run.remarks[0]


def test_a_folder_that_is_a_link_itself_is_read(tmp_path):
    folder = write_results(tmp_path / "run")
    (tmp_path / "latest").symlink_to(folder)
    assert read_run(tmp_path / "latest").samples
    assert read_run(tmp_path / "latest").machine["cpu"]
