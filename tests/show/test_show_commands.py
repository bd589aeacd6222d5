"""`report` and `plot` on the command line."""

from __future__ import annotations

import pytest
from show_results import write_results

from harness.cli import main


def called(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    return ended.value.code or 0


def test_report_writes_one_file_and_names_it(tmp_path, capsys):
    output = tmp_path / "page.html"
    assert called("report", write_results(tmp_path / "run"), "-o", output) == 0
    assert capsys.readouterr().out == f"Report: {output}\n"
    assert output.read_text().startswith("<!doctype html>")


def test_report_takes_several_folders_and_the_summary_itself(tmp_path):
    one, two = (write_results(tmp_path / name) for name in "ab")
    output = tmp_path / "page.html"
    assert called("report", one, two / "summary.csv", "-o", output) == 0
    assert output.read_text().count("<article") == 2


def test_what_could_not_be_read_is_said_and_the_rest_is_shown(tmp_path, capsys):
    write_results(tmp_path / "results" / "good")
    (tmp_path / "results" / "bad").mkdir()
    (tmp_path / "results" / "bad" / "summary.csv").touch()
    assert called("report", tmp_path / "results", "-o", tmp_path / "page.html") == 0
    assert "left out: cannot read" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report", "plot"])
def test_a_folder_without_results_is_wrong_usage(tmp_path, capsys, command):
    assert called(command, tmp_path, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path} holds no summary.csv")
    assert "Try: a folder that python -m harness run wrote" in error
    assert not (tmp_path / "out").exists()


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path, capsys):
    assert called("report", tmp_path, "-o", tmp_path / "nowhere" / "page.html") == 2
    assert "no folder to write to" in capsys.readouterr().err


def test_a_page_that_fails_costs_no_run(tmp_path, capsys, monkeypatch):
    from harness.commands.ending import write_page
    from harness.show.page import build

    def fail(*_):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(build, "write_report", fail)
    assert write_page(tmp_path) is None
    assert capsys.readouterr().err == f"no {tmp_path / 'report.html'}: RuntimeError: no such luck\n"


def test_plot_names_every_file_that_it_wrote(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    out = tmp_path / "figures"
    assert called("plot", write_results(tmp_path / "run"), "-o", out) == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(map(str, out.iterdir()))
