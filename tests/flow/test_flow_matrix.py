"""`run --matrix`: a folder for every combination, what is impossible said, and gone on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from flow_model import MODEL, info

from harness import registry
from harness.cli import main
from harness.errors import StorageError, WorkerError
from harness.run import matrix as matrices
from harness.run.folder import read_rows

CONFIG = """
[matrix]
models = ["small.toml", "large.toml"]
datasets = ["synthetic:6x6x1:3:84"]
devices = ["cpu"]
batch-sizes = [8, 12]
backends = ["{}"]
seeds = 1
epochs = 2
threads = 1
block-steps = 4
no-limit = true
"""
SMALL = ["1-small-synthetic-6x6x1-3-84-b8", "2-small-synthetic-6x6x1-3-84-b12"]
LARGE = ["3-large-synthetic-6x6x1-3-84-b8", "4-large-synthetic-6x6x1-3-84-b12"]


class Said:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def harness(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    Path("small.toml").write_text(MODEL)
    Path("large.toml").write_text(MODEL.replace("[6, 6, 1]", "[9, 9, 1]"))
    known = [info(name) for name in ("twin", "other", "wrong", "crashing", "numpy")]
    monkeypatch.setattr(registry, "describe", lambda: known)

    def called(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["run", "--matrix", *arguments])
        return Said(int(end.value.code or 0), *capsys.readouterr())

    return called


def configured(backends="twin", **changes: str) -> tuple[str, str]:
    text = CONFIG.format(backends)
    for name, value in changes.items():
        name = name.replace("_", "-")
        lines = [line for line in text.splitlines() if not line.startswith(f"{name} = ")]
        text = "\n".join([*lines, f"{name} = {value}", ""])
    Path("harness.toml").write_text(text)
    return ("--config", "harness.toml")


def test_each_combination_is_a_run_and_what_does_not_fit_is_skipped_with_the_reason(harness):
    said = harness(*configured(), "--out", "out")
    assert said.code == 0, said.err
    assert sorted(path.name for path in Path("out").iterdir() if path.is_dir()) == SMALL
    for name, size in zip(SMALL, (8, 12), strict=True):
        (row,) = read_rows(Path("out") / name / "summary.csv")
        assert (row["status"], row["batch_size"], row["epochs"]) == ("ok", size, 2)
    noted = json.loads(Path("out/matrix.json").read_text())
    assert [run["status"] for run in noted["runs"]] == ["done", "done", "skipped", "skipped"]
    reason = "model 'small' takes 9x9x1 images, dataset 'synthetic:6x6x1:3:84' has 6x6x1"
    assert noted["runs"][2]["reason"] == f"{reason}; fit = true in the matrix would make it fit"
    assert noted["config"] == "harness.toml"


def test_progress_counts_the_runs_and_the_table_and_the_page_are_of_all(harness):
    said = harness(*configured("twin,other"), "--out", "out")
    told = [line for line in said.err.splitlines() if " of 4: " in line]
    assert told[0] == "1 of 4: small.toml on synthetic:6x6x1:3:84, cpu, batch 8, float32"
    assert [line[:7] for line in told] == ["1 of 4:", "2 of 4:", "3 of 4:", "4 of 4:"]
    lines = said.out.splitlines()
    (first,) = [place for place, line in enumerate(lines) if line.startswith("small.toml b8")]
    assert {line.split()[0] for line in lines[first + 1 : first + 2]} <= {"twin", "other"}
    assert "1.00" in lines[first]
    assert any(line.split() == ["large.toml", "b8", "skipped"] for line in lines)
    flat = " ".join(said.out.split())
    assert "large.toml b12: skipped: model 'small' takes 9x9x1 images" in flat
    assert "Results: out" in said.out
    assert "Report: out/report.html" in flat
    assert Path("out/report.html").read_text().count("<article") == 2
    assert not (Path("out") / SMALL[0] / "report.html").exists()


def test_quiet_says_the_table_only(harness):
    said = harness(*configured(), "--quiet")
    assert said.err == ""
    (folder,) = Path("results/matrix").iterdir()
    assert f"Results: {folder}" in said.out


def test_json_has_every_run_with_its_rows(harness):
    said = harness(*configured(), "--json", "--quiet")
    found = json.loads(said.out)
    assert [run["status"] for run in found["runs"]] == ["done", "done", "skipped", "skipped"]
    assert [run["batch_size"] for run in found["runs"]] == [8, 12, 8, 12]
    assert [len(run["rows"]) for run in found["runs"]] == [1, 1, 0, 0]
    assert found["runs"][3]["reason"].startswith("model 'small' takes 9x9x1")
    assert Path(found["runs"][0]["results"]).is_dir()


@pytest.mark.parametrize(("name", "code"), [("wrong", 1), ("crashing", 4)])
def test_the_exit_code_is_that_of_the_worst(harness, name, code):
    options = {"models": '["small.toml"]', "seeds": "2", "batch_sizes": "[8]"}
    assert harness(*configured(f"twin,{name}", **options), "--quiet").code == code


def test_where_nothing_is_possible_that_is_wrong_usage(harness):
    said = harness(*configured(models='["large.toml"]'), "--out", "out", "--quiet")
    assert said.code == 2
    assert "no run of the matrix is possible; see out/matrix.json" in said.err


def test_a_backend_that_lacks_the_precision_is_left_out_of_those_runs(harness, monkeypatch):
    from dataclasses import replace

    known = [replace(info("twin"), precisions=("float32",)), info("other"), info("numpy")]
    monkeypatch.setattr(registry, "describe", lambda: known)
    options = {"models": '["small.toml"]', "batch_sizes": "[8]"}
    config = configured("twin,other", precisions='["float32", "float64"]', **options)
    found = json.loads(harness(*config, "--json", "--quiet").out)["runs"]
    assert [[row["backend"] for row in run["rows"]] for run in found] == [
        ["twin", "other"],
        ["other"],
    ]
    assert found[1]["left_out"] == [{"backend": "twin", "reason": "cannot compute in float64"}]
    only = configured("twin", precisions='["float32", "float64"]', **options)
    found = json.loads(harness(*only, "--json", "--quiet").out)["runs"]
    assert [run["status"] for run in found] == ["done", "skipped"]
    assert "twin can float32" in found[1]["reason"]


def test_the_command_line_wins_over_the_file(harness):
    said = harness(*configured(), "--model", "small.toml", "--batch-size", "6", "--json", "--quiet")
    (run,) = json.loads(said.out)["runs"]
    assert run["rows"][0]["batch_size"] == 6


# Going on


def interrupt_in(monkeypatch, name):
    """Have the run of that name end by Ctrl-C, after it has begun to train."""
    real = matrices.run

    def run(plan, dataset, folder, listener, *rest):
        if folder.path.name == name:

            def trained(_):
                raise KeyboardInterrupt

            listener.trained = trained
        return real(plan, dataset, folder, listener, *rest)

    monkeypatch.setattr(matrices, "run", run)


def test_one_that_was_interrupted_goes_on_where_it_stopped(harness, monkeypatch):
    with monkeypatch.context() as patched:
        interrupt_in(patched, SMALL[1])
        said = harness(*configured("twin,other"), "--out", "out")
    assert said.code == 130
    assert said.err.splitlines()[-1].endswith("Try: python -m harness run --matrix --resume out")
    before = (Path("out") / SMALL[0] / "summary.csv").read_bytes()
    samples = (Path("out") / SMALL[0] / "samples.csv").read_bytes()
    said = harness("--resume", "out")
    assert said.code == 0, said.err
    assert (Path("out") / SMALL[0] / "summary.csv").read_bytes() == before
    assert (Path("out") / SMALL[0] / "samples.csv").read_bytes() == samples, "not measured again"
    for name in SMALL:
        rows = read_rows(Path("out") / name / "summary.csv")
        assert [row["status"] for row in rows] == ["ok", "ok"]
    assert "large.toml b12: skipped" in " ".join(said.out.split())


def test_one_that_has_ended_is_shown_again_and_starts_no_worker(harness, monkeypatch):
    assert harness(*configured(), "--out", "out").code == 0
    from harness.run.process import WorkerProcess

    def start(*_, **__):
        raise AssertionError("a worker was started")

    monkeypatch.setattr(WorkerProcess, "__init__", start)
    said = harness("--resume", "out", "--json", "--quiet")
    assert [run["status"] for run in json.loads(said.out)["runs"]][:2] == ["done", "done"]


def test_a_run_that_was_cut_short_before_its_first_line_begins_anew(harness):
    assert harness(*configured(), "--out", "out", "--quiet").code == 0
    folder = Path("out") / SMALL[1]
    journal = (folder / "journal.jsonl").read_bytes()
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "journal.jsonl").write_bytes(journal[:20])
    assert harness("--resume", "out", "--quiet").code == 0
    assert [row["status"] for row in read_rows(folder / "summary.csv")] == ["ok"]


def test_what_has_changed_since_is_refused_by_name(harness):
    assert harness(*configured(), "--out", "out", "--quiet").code == 0
    Path("small.toml").write_text(MODEL.replace("filters = 2", "filters = 3"))
    said = harness("--resume", "out", "--quiet")
    assert said.code == 2
    assert "filters: 2 then, 3 now" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--resume", "nowhere"), "--resume nowhere: there is no matrix to go on with"),
        (("--resume", "out", "--epochs", "3"), "it takes no --epochs. Try: python -m harness run"),
        (("--resume", "out", "--config", "harness.toml"), "it takes no --config"),
        (("--config", "harness.toml", "--out", "out"), "not empty; name another folder, or go on"),
        (("--config", "harness.toml", "--out", "out"), "--matrix --resume out"),
        (("--config", "harness.toml", "--backend", "twim"), "Did you mean 'twin'?"),
        (("--config", "nowhere.toml"), "cannot read nowhere.toml"),
        (("--resume", "broken"), "matrix.json is no matrix to go on with"),
        (("--resume", "deep"), "matrix.json is no matrix to go on with"),
        (("--resume", "outside"), "no run: {'name': '..'"),
    ],
)
def test_what_cannot_be_is_one_message(harness, arguments, message):
    configured()
    Path("out").mkdir()
    Path("out/matrix.json").write_text('{"matrix": 1, "runs": []}')
    Path("broken").mkdir()
    Path("broken/matrix.json").write_text('{"matrix": 1, "runs": [{"name": "../x"}]}')
    Path("deep").mkdir()
    Path("deep/matrix.json").write_text("[" * 100_000)
    Path("outside").mkdir()
    options = dict.fromkeys(("model", "dataset", "device", "batch_size", "precision"), "")
    outside = {"matrix": 1, "runs": [{"name": "..", "options": options}]}
    Path("outside/matrix.json").write_text(json.dumps(outside))
    said = harness(*arguments)
    assert said.code == 2
    assert Path("small.toml").exists()
    assert message in " ".join(said.err.split())
    assert "Traceback" not in said.err


def test_a_matrix_taken_for_a_single_run_says_what_to_type(harness, capsys):
    Path("out").mkdir()
    Path("out/matrix.json").write_text("{}")
    with pytest.raises(SystemExit) as end:
        main(["run", "--resume", "out"])
    assert end.value.code == 2
    assert "Try: python -m harness run --matrix --resume out" in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_skipped_and_leaves_no_folder(harness, monkeypatch):
    from harness.run import plan, preparation

    monkeypatch.setattr(plan, "may_have_gpu", lambda: True)
    monkeypatch.setattr(preparation, "may_have_gpu", lambda: True)
    options = {"models": '["small.toml"]', "batch_sizes": "[8]", "devices": '["cpu", "gpu"]'}
    found = json.loads(harness(*configured(**options), "--out", "out", "--json", "--quiet").out)
    assert [run["status"] for run in found["runs"]] == ["done", "skipped"]
    assert found["runs"][1]["reason"].startswith("--device gpu: none is seen by twin")
    assert not (Path("out") / "2-small-synthetic-6x6x1-3-84-gpu").exists()


def test_with_fit_every_model_takes_the_images(harness):
    config = configured(fit="true", batch_sizes="[8]")
    found = json.loads(harness(*config, "--json", "--quiet").out)["runs"]
    assert [run["status"] for run in found] == ["done", "done"]


# Before and meanwhile


def test_a_dry_run_says_what_would_be_run_and_runs_nothing(harness, monkeypatch):
    from harness.run.process import WorkerProcess

    def start(*_, **__):
        raise AssertionError("a worker was started")

    monkeypatch.setattr(WorkerProcess, "__init__", start)
    said = harness(*configured("twin,other"), "--dry-run")
    assert (said.code, said.err) == (0, "")
    lines = [line.split() for line in said.out.splitlines()]
    assert ["small.toml", "b12", "planned", "twin,", "other"] in lines
    assert ["large.toml", "b8", "skipped"] in lines
    assert "large.toml b8: skipped: model 'small' takes 9x9x1" in " ".join(said.out.split())
    assert said.out.splitlines()[-1] == "2 of 4 would be run; nothing was."
    assert not Path("results").exists()
    found = json.loads(harness(*configured("twin,other"), "--dry-run", "--json").out)["runs"]
    assert [run["status"] for run in found] == ["planned", "planned", "skipped", "skipped"]
    assert [run["backends"] for run in found] == [["twin", "other"]] * 2 + [[]] * 2


def test_a_single_run_has_a_dry_run_too(harness, capsys):
    options = ("-m", "small.toml", "-d", "synthetic:6x6x1:3:84", "-b", "twin", "--dry-run")
    with pytest.raises(SystemExit) as end:
        main(["run", *options, "--epochs", "2"])
    assert not end.value.code
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("small on synthetic:6x6x1:3:84: 2 epochs, 3 seeds, batch 8, float32")
    assert lines[1] == "by twin; nothing was run."
    with pytest.raises(SystemExit):
        main(["run", *options, "--json"])
    assert json.loads(capsys.readouterr().out)["backends"] == ["twin"]
    assert not Path("results").exists()


def test_the_time_left_is_that_of_the_runs_before(harness, monkeypatch):
    from harness.commands import matrix as command

    clock = iter(range(0, 1000, 90))
    monkeypatch.setattr(command, "monotonic", lambda: float(next(clock)))
    said = harness(*configured(models='["small.toml"]', batch_sizes="[6, 8, 12]"))
    told = [line.partition("float32")[2] for line in said.err.splitlines() if " of 3: " in line]
    assert told == ["", ", about 3:00 left", ", about 1:30 left"]


# What ends a run, or all of them


def raising(monkeypatch, name, error):
    """Have the run of that name end by an error of the whole run."""
    real = matrices.run

    def run(plan, dataset, folder, *rest):
        if folder.path.name != name:
            return real(plan, dataset, folder, *rest)
        folder.close()
        raise error

    monkeypatch.setattr(matrices, "run", run)


def test_a_run_whose_reference_fails_is_failed_and_the_others_go_on(harness, monkeypatch):
    raising(monkeypatch, SMALL[0], WorkerError("the reference failed\nat length", "crashed"))
    said = harness(*configured(), "--json", "--out", "out", "--quiet")
    assert said.code == 4
    found = json.loads(said.out)["runs"]
    assert [run["status"] for run in found][:2] == ["failed", "done"]
    assert found[0]["reason"] == "the reference failed"


def test_a_full_disk_ends_all_and_says_how_to_go_on(harness, monkeypatch):
    full = OSError(28, "No space left on device")
    raising(monkeypatch, SMALL[1], StorageError(Path("samples.csv"), full))
    said = harness(*configured(), "--out", "out", "--quiet")
    assert said.code == 5
    assert said.err == (
        "error: cannot write samples.csv: No space left on device. Try: make room, then "
        "python -m harness run --matrix --resume out\n"
    )


def test_ctrl_c_between_two_runs_says_how_to_go_on(harness, monkeypatch):
    def load(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(matrices.data, "load", load)
    said = harness(*configured(), "--out", "out", "--quiet")
    assert said.code == 130
    assert said.err.endswith("Try: python -m harness run --matrix --resume out\n")
