"""The command line in processes of its own, with plug-in backends found by their entry points."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from flow_model import MODEL

from harness import registry
from harness.cli import main
from harness.run.folder import read_rows

HERE = Path(__file__).parent
PLUGINS = """[harness.backends]
twin = flow_fakes:Twin
wrong = flow_fakes:Wrong
crashing = flow_fakes:Crashing
waiting = flow_fakes:Waiting
missing = no_such_module:Backend
"""
DATA = ("--dataset", "synthetic:6x6x1:3:84", "--device", "cpu")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to be in, with a model's file and an installed package of plug-ins."""
    package = tmp_path / "site" / "flow_plugins-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: flow-plugins\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(PLUGINS)
    (tmp_path / "small.toml").write_text(MODEL)
    paths = [str(package.parent), str(HERE), str(HERE.parents[1])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def small(*arguments: str) -> subprocess.CompletedProcess[str]:
    return harness("run", "--model", "small.toml", *DATA, "--no-limit", *arguments)


def test_a_run_ends_with_a_table_and_a_results_folder(place):
    done = small("--backend", "twin", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    assert "twin" in done.stdout
    (folder,) = (place / "results").iterdir()
    assert str(folder.relative_to(place)) in done.stdout
    assert len(read_rows(folder / "summary.csv")) == 2
    command = json.loads((folder / "machine.json").read_text())["command"]
    assert command.startswith("python -m harness run --model small.toml")
    assert "epoch 3/3" in done.stderr
    assert f"Report:  {folder.relative_to(place) / 'report.html'}" in done.stdout
    assert "In this run" not in (page := (folder / "report.html").read_text())
    assert "twin trains small at" in page


def test_quiet_prints_only_the_table(place):
    done = small("--backend", "twin", "--seeds", "1", "--quiet")
    assert done.stderr == ""
    assert "twin" in done.stdout


def test_a_backend_that_differs_makes_exit_code_1(place):
    done = small("--backend", "twin,wrong", "--seeds", "1", "--quiet")
    assert done.returncode == 1
    assert "wrong on cpu is NOT the same network: gradient.dense1.bias" in " ".join(
        done.stdout.split()
    )


def test_a_backend_that_fails_makes_exit_code_4(place):
    done = small("--backend", "crashing", "--seeds", "2", "--quiet")
    assert done.returncode == 4
    assert "crashed" in done.stdout


def test_a_glob_skips_what_is_broken_and_says_why(place):
    done = small("--backend", "twin,miss*", "--seeds", "1")
    assert done.returncode == 0
    assert "skipped missing: ModuleNotFoundError" in done.stderr


def test_bad_input_ends_a_process_of_its_own_with_exit_code_2_and_no_traceback(place):
    done = small("--backend", "twix")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: unknown backend 'twix'; known: crashing, flax, ")


@pytest.fixture(scope="module")
def known():
    """What the registry would say, without a process for each time that it is asked."""

    def fake(name, error=""):
        return registry.BackendInfo(name, "", f"fakes:{name}", not error, (), {}, "pip", error)

    return [fake("twin"), fake("numpy"), fake("missing", "ModuleNotFoundError: no_such_module")]


BAD = {
    "unknown backend 'twix'": ("--backend", "twix"),
    "Did you mean 'twin'?": ("--backend", "twim"),
    "backend 'numpy' is the reference": ("--backend", "numpy"),
    "ModuleNotFoundError": ("--backend", "missing"),
    "leaves no backend to run": ("--backend", ","),
    "unknown model 'smal'": ("--model", "smal"),
    "cannot read the model file 'nowhere.toml'": ("--model", "nowhere.toml"),
    "layers[0].filters: 0 ": ("--model", "bad.toml"),
    "unknown dataset 'mnits'": ("--dataset", "mnits"),
    "no such file": ("--dataset", "npz:nowhere.npz"),
    "damaged, or no .npz file": ("--dataset", "npz:broken.npz"),
    "takes 6x6x1 images": ("--dataset", "synthetic:7x6x1:3:84"),
    "has 3 outputs": ("--dataset", "synthetic:6x6x1:4:84"),
    "--device 'tpu'": ("--device", "tpu"),
    "--device gpu: this machine has none": ("--device", "gpu"),
    "--epochs 0; allowed: 1 to 10000": ("--epochs", "0"),
    "--epochs -3; allowed": ("--epochs", "-3"),
    "--epochs 1000000000; allowed": ("--epochs", "1000000000"),
    "--seeds 0; allowed": ("--seeds", "0"),
    "--batch-size 0; allowed": ("--batch-size", "0"),
    "batch_size 999 is more than the 84 training images": ("--batch-size", "999"),
    "--threads 4096; allowed": ("--threads", "4096"),
    "--timeout 0; allowed": ("--timeout", "0"),
    "--timeout nan; allowed": ("--timeout", "nan"),
    "--block-steps 0; allowed": ("--block-steps", "0"),
    "--precision 'float16'; allowed": ("--precision", "float16"),
    "can float32 and float64. Try: --precision float32": ("--precision", "bfloat16"),
    "--precision 'tf32' is a mode of GPUs": ("--precision", "tf32", "--device", "cpu"),
    "--environment 'tunde'": ("--environment", "tunde"),
    "Invalid value for '--epochs'": ("--epochs", "many"),
    "No such option": ("--epoch", "3"),
    "cannot write results to taken": ("--out", "taken"),
    "holds a run already": ("--out", "full"),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_gives_one_clear_message_and_exit_code_2(
    place, known, message, monkeypatch, capsys
):
    (place / "bad.toml").write_text(MODEL.replace("filters = 2", "filters = 0"))
    (place / "broken.npz").write_bytes(b"PK\x03\x04 no zip file")
    (place / "taken").write_text("a file, not a folder")
    (place / "full").mkdir()
    (place / "full" / "summary.csv").write_text("run_id\n1\n")
    if message == "--device gpu: this machine has none" and Path("/dev/nvidia0").exists():
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(registry, "describe", lambda: known)
    with pytest.raises(SystemExit) as end:
        main(["run", "--model", "small.toml", *DATA, "--backend", "twin", *BAD[message]])
    said = capsys.readouterr().err
    assert end.value.code == 2, said
    assert message in " ".join(said.replace("│", "").split())
    assert "Traceback" not in said
    assert not (place / "results").exists(), "nothing was run"


def test_ctrl_c_keeps_what_was_measured_and_leaves_no_process(place):
    signal_file = place / "seed-1-has-begun"
    command = [sys.executable, "-m", "harness", "run", "--model", "small.toml", *DATA]
    command += ["--no-limit"]
    process = subprocess.Popen(
        [*command, "--backend", "twin,waiting", "--seeds", "2", "--out", "out"],
        env={**os.environ, "FLOW_SIGNAL": str(signal_file)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not signal_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) == 3, "two workers, and the guardian"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "error: interrupted; what was measured before is in out"
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
    rows = read_rows(place / "out" / "summary.csv")
    assert [(row["seed"], row["status"]) for row in rows] == [
        (0, "ok"),
        (0, "ok"),
        (1, "interrupted"),
        (1, "interrupted"),
    ]
    assert any(s["seed"] == 1 for s in read_rows(place / "out" / "samples.csv"))


def test_backends_lists_plug_ins_and_what_is_wrong_with_them(place):
    found = {item["name"]: item for item in json.loads(harness("backends", "--json").stdout)}
    assert found["twin"]["installed"] is True
    assert found["missing"]["installed"] is False
    assert "ModuleNotFoundError" in found["missing"]["error"]
    assert {"torch", "flax", "keras", "keras@jax", "tensorflow@session", "numpy"} <= set(found)
    table = harness("backends").stdout
    assert "torch@compile" in table


def test_models_as_json_is_a_list_of_objects_with_the_promised_names(place):
    found = {item["name"]: item for item in json.loads(harness("models", "--json").stdout)}
    assert found["mnist-2conv"]["parameters"] == 3_274_634
    assert found["mnist-1conv"]["input"] == [28, 28, 1]
    assert found["mnist-1conv"]["flops_per_image"] > 1_000_000
    assert "mnist-2conv" in harness("models").stdout


def test_a_model_s_name_gives_the_table_of_its_layers(place):
    shown = harness("models", "resnet-20").stdout
    lines = [line.split() for line in shown.splitlines()]
    assert ["stage2.0.shortcut.conv1", "conv2d", "16x16x32", "512", "0.26"] in lines
    assert ["54", "layers", "10", "272,474", "81.63"] in lines
    rows = json.loads(harness("models", "resnet-20", "--json").stdout)
    assert sum(row["parameters"] for row in rows) == 272_474
    assert rows[0] == {
        "path": "conv1",
        "type": "conv2d",
        "activation": "linear",
        "output": [32, 32, 16],
        "parameters": 432,
        "statistics": 0,
        "flops": 884_736,
    }
    assert harness("models", "resnet-21").returncode == 2


@pytest.mark.parametrize("command", ["datasets", "machine"])
def test_the_other_lists_print_tables_and_json(place, command):
    found = json.loads(harness(command, "--json").stdout)
    assert found
    shown = harness(command)
    assert shown.returncode == 0
    assert shown.stdout.strip()


@pytest.mark.parametrize(
    "command",
    [[], ["run"], ["predict"], ["infer"], ["backends"], ["models"], ["schema"], ["datasets"]],
)
def test_help_has_an_example(place, command):
    done = harness(*command, "--help")
    assert done.returncode == 0
    assert "python -m harness" in done.stdout
