"""No table that this program writes, or hands on, holds a formula."""

from __future__ import annotations

import base64
import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.run.checked import newest_check
from harness.run.folder import ResultsFolder, read_rows
from harness.sheets import FORMULA, plain_text, safe_cells, safe_table
from harness.show.gather import Run
from harness.show.page.downloads import downloads

FORMULAS = ["=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\tx", "\rx", "\nx", "'=1", "''@"]
HARMLESS = ["", "'", "'quoted'", "a=b", "x", "1", "é"]


@pytest.mark.parametrize("text", FORMULAS)
def test_text_that_is_a_formula_gets_an_apostrophe_and_loses_it_again(text):
    (cell,) = safe_cells({"error": text}).values()
    assert cell == f"'{text}"
    assert plain_text(cell) == text


@given(st.text())
def test_every_text_comes_back_and_is_never_a_formula(text):
    (cell,) = safe_cells({"x": text}).values()
    assert not cell.startswith(FORMULA)
    assert plain_text(cell) == text


def test_numbers_and_harmless_text_stay_as_they_are():
    row = dict(enumerate([-1, -0.5, float("-inf"), None, True, *HARMLESS]))
    assert safe_cells(row) == row


def test_results_are_written_without_formulas_and_read_as_they_were(tmp_path):
    folder = ResultsFolder(tmp_path / "out")
    rows = [{"status": "failed", "seed": -1, "error": text} for text in FORMULAS]
    folder.write_summary(rows)
    folder.add_samples([{"backend": "=x", "phase": "predict", "round": -1, "seconds": 0.5}])
    folder.close()
    for name in ("summary.csv", "samples.csv"):
        with (tmp_path / "out" / name).open(newline="", encoding="utf-8") as file:
            cells = [cell for line in csv.reader(file) for cell in line]
        assert {cell for cell in cells if cell.startswith(FORMULA)} <= {"-1"}
    assert [row["error"] for row in read_rows(tmp_path / "out" / "summary.csv")] == FORMULAS
    (sample,) = read_rows(tmp_path / "out" / "samples.csv")
    assert (sample["backend"], sample["round"]) == ("=x", -1)


def test_a_check_is_found_by_the_names_that_were_written(tmp_path):
    row = {"backend": "=x", "variant": "", "device": "cpu", "versions": "@1", "status": "ok"}
    row |= {"network_hash": "n", "machine_key": "m", "precision": "float32", "finished_at": "t"}
    (tmp_path / "one").mkdir()
    with (tmp_path / "one" / "check.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(safe_cells(row))
    assert newest_check(row, tmp_path) == "verified"


def test_a_sound_table_of_anybody_is_handed_on_byte_for_byte():
    content = b'a,b,c\r\n1,-2.5,-1e-05\r\n"x, y",nan,\r\n-3,-1,"a=b"\r\n'
    assert safe_table(content) is content


@pytest.mark.parametrize("text", [t for t in FORMULAS if not t.startswith("'")])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("place", range(3))
def test_a_hostile_table_is_handed_on_without_its_formulas(text, end, place):
    cells = ["x", "-2", "z"]
    cells[place] = text
    lines = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if text[0] in "\r\n" else csv.QUOTE_MINIMAL
    table = csv.writer(lines, lineterminator=end, quoting=quoting)
    table.writerows([["a", "b", "c"], cells, ["1", "2", "3"]])
    found = safe_table(lines.getvalue().encode())
    rows = list(csv.reader(io.StringIO(found.decode(), newline="")))
    assert len(rows) == 3
    assert rows[1] == [f"'{text}" if cell == text and text != "+1" else cell for cell in cells]


def test_the_page_offers_tables_without_formulas(tmp_path):
    (tmp_path / "summary.csv").write_text("run_id,error\nr,=1+1\n")
    (tmp_path / "machine.json").write_text(json.dumps({"cpu": "=x"}))
    (found,) = downloads([Run(tmp_path, [{"run_id": "r"}])]).values()
    hrefs = {download.name: download.href for download in found}
    table = base64.b64decode(hrefs["summary.csv"].rpartition(",")[2])
    assert b"'=1+1" in table
