"""`--log-to`: what loggers get is what is on disk, after the run, without a framework."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from flow_model import MODEL, info

from harness import registry
from harness.cli import main
from harness.errors import NotInstalledError, UsageError
from harness.loggers import parse
from harness.loggers.logged import read_logged
from harness.loggers.parse import LOGGERS, parse_loggers
from harness.run.folder import read_rows

ROOT = Path(__file__).parents[2]
REAL = pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])


@pytest.fixture
def ran(go):
    return go("twin", "other", seeds=2, epochs=3)


def test_epochs_and_figures_are_those_of_the_files(ran):
    logged = read_logged(ran.path)
    assert logged.run_id == ran.rows[0]["run_id"]
    assert [training.name for training in logged.trainings] == [
        "twin-cpu-seed0",
        "other-cpu-seed0",
        "twin-cpu-seed1",
        "other-cpu-seed1",
    ]
    training, row = logged.trainings[2], ran.row("twin", 1)
    assert [epoch.number for epoch in training.epochs] == [1, 2, 3]
    for epoch in training.epochs:
        blocks = ran.of("train", backend="twin", seed=1, epoch=epoch.number)
        (test,) = ran.of("test", backend="twin", seed=1, epoch=epoch.number)
        images, seconds = (sum(block[key] for block in blocks) for key in ("images", "seconds"))
        assert epoch.values["train/images_per_second"] == pytest.approx(images / seconds)
        mean = sum(block["loss"] * block["images"] for block in blocks) / images
        assert epoch.values["train/loss"] == pytest.approx(mean)
        assert epoch.values["test/loss"] == test["loss"]
        assert epoch.values["test/accuracy"] == test["accuracy"]
    times = [epoch.time for epoch in training.epochs]
    assert training.began <= times[0] <= times[1] <= times[2] <= training.ended
    for name in ("train_images_per_second", "test_accuracy", "step_ms_p50", "peak_host_bytes"):
        assert training.figures[name] == row[name]
    assert training.figures["equivalent"] == 1.0
    assert training.settings["seed"] == 1
    assert training.settings["training.optimizer.type"] == "adam"
    assert training.settings["model_hash"] == row["model_hash"]
    assert set(training.settings) & set(training.figures) == set()


def test_a_training_that_failed_is_logged_as_far_as_it_came(go):
    failed = read_logged(go("twin", "crashing", seeds=2).path).trainings[-1]
    assert (failed.name, failed.status) == ("crashing-cpu-seed1", "crashed")
    assert failed.epochs == []
    assert "test_accuracy" not in failed.figures


def test_validation_and_errors_of_values_have_names_of_their_own(go):
    text = MODEL.replace(', activation = "softmax"', "").replace("units = 3", "units = 2")
    text += 'loss = "mean_squared_error"\nvalidation_split = 0.25\n'
    ran = go("twin", model=text, dataset="synthetic-regression:6x6x1:2:84", seeds=1)
    (training,) = read_logged(ran.path).trainings
    assert {"validation/loss", "validation/rmse", "validation/mae"} <= set(
        training.epochs[0].values
    )
    assert "test/rmse" not in training.epochs[0].values
    assert "test/rmse" in training.epochs[-1].values
    assert "test/accuracy" not in training.epochs[-1].values


# Which loggers, and where


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(parse, "see_installed", lambda name: None)


def test_several_are_parted_by_commas_and_a_place_may_have_colons(installed):
    found = parse_loggers("tensorboard:a/b, mlflow:http://server:5000,wandb")
    assert [logger.name for logger in found] == ["tensorboard", "mlflow", "wandb"]
    assert found[0].folder == Path("a/b")
    assert found[1].uri == "http://server:5000"
    (folder,) = parse_loggers("mlflow:/a/b")
    assert folder.uri == "sqlite:////a/b/mlflow.db"
    assert found[2].folder == Path()
    assert parse_loggers(None) == parse_loggers("") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "tensorbaord:x",
            r"allowed: tensorboard:DIR, mlflow:DIR, wandb:DIR. Did you mean 'tensorb",
        ),
        ("wandb:a,wandb:b", "has wandb twice; allowed: each once"),
        ("tensorboard:file", "file is a file. Try: --log-to tensorboard:FOLDER"),
    ],
)
def test_what_is_no_logger_is_refused(installed, text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(UsageError, match=message):
        parse_loggers(text)


@REAL
def test_a_missing_package_is_one_message_with_the_line_that_installs_it(name, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(NotInstalledError) as refused:
        parse_loggers(f"{name}:x")
    assert str(refused.value) == (
        f"--log-to {name}:x: this needs {name}, which is not installed. "
        f'Try: pip install "cnn-harness[{name}]"'
    )


# The command


class Remembering:
    name = "tensorboard"
    logged: list = []  # noqa: RUF012 (each test begins it anew)

    def __init__(self, place):
        self.place = place

    def log(self, logged):
        rows = read_rows(next(Path().glob("**/summary.csv")))
        assert {row["status"] for row in rows} == {"ok"}, "the run has ended"
        self.logged.append(logged)
        return f"see {self.place}"


class Failing(Remembering):
    def log(self, logged):
        raise OSError("no such luck")


@pytest.fixture
def harness(tmp_path, monkeypatch, capsys, installed):
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(MODEL)
    monkeypatch.setattr(registry, "describe", lambda: [info("twin"), info("numpy")])
    monkeypatch.setitem(LOGGERS, "tensorboard", Remembering)
    monkeypatch.setattr(Remembering, "logged", [])
    options = ("-m", "small.toml", "-d", "synthetic:6x6x1:3:84", "-b", "twin", "--device", "cpu")

    def called(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["run", *options, "--seeds", "1", "--no-limit", "--quiet", *arguments])
        return int(end.value.code or 0), capsys.readouterr()

    return called


def test_results_are_logged_once_the_run_has_ended_and_it_is_said_where(harness):
    code, said = harness("--log-to", "tensorboard:there")
    assert code == 0
    assert "Logged:  see there" in said.out
    (logged,) = Remembering.logged
    assert [training.name for training in logged.trainings] == ["twin-cpu-seed0"]


def test_a_logger_that_fails_costs_no_run(harness, monkeypatch):
    monkeypatch.setitem(LOGGERS, "tensorboard", Failing)
    code, said = harness("--log-to", "tensorboard:there")
    assert code == 0
    assert said.err == "not logged to tensorboard: OSError: no such luck\n"
    assert "Results: " in said.out


def test_a_wrong_logger_is_refused_before_anything_is_run(harness):
    code, _ = harness("--log-to", "tensorbaord")
    assert code == 2
    assert not Path("results").exists()


def test_each_run_of_a_matrix_is_logged(harness):
    Path("harness.toml").write_text(
        '[matrix]\nmodels = ["small.toml"]\nbatch-sizes = [6, 8]\nlog-to = "tensorboard:there"\n'
    )
    code, said = harness("--matrix", "--config", "harness.toml", "--json")
    assert code == 0
    assert [logged.trainings[0].settings["batch_size"] for logged in Remembering.logged] == [6, 8]
    assert json.loads(said.out)["logged"] == ["see there"]


def test_a_run_that_is_taken_up_again_can_be_logged(harness):
    assert harness("--out", "out")[0] == 0
    assert Remembering.logged == []
    with pytest.raises(SystemExit) as end:
        main(["run", "--resume", "out", "--log-to", "tensorboard:there", "--quiet"])
    assert not end.value.code
    assert [training.name for training in Remembering.logged[0].trainings] == ["twin-cpu-seed0"]


def test_results_that_are_there_are_exported_to_loggers(harness, capsys):
    for name in "ab":
        assert harness("--out", f"all/{name}")[0] == 0
    with pytest.raises(SystemExit) as end:
        main(["export", "all", "--log-to", "tensorboard:there"])
    assert not end.value.code
    assert capsys.readouterr().out == "see there\n"
    assert len({logged.run_id for logged in Remembering.logged}) == 2


@pytest.mark.parametrize("options", [(), ("--format", "bencher", "--log-to", "wandb")])
def test_an_export_has_a_format_or_a_logger(installed, options, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["export", str(tmp_path), *options])
    assert end.value.code == 2
    assert "--format and --log-to: give one of the two" in capsys.readouterr().err


# The real packages


@pytest.fixture
def logged(ran):
    return read_logged(ran.path)


def test_tensorboard_reads_every_scalar_and_the_settings(logged, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    (logger,) = parse_loggers(f"tensorboard:{tmp_path / 'tb'}")
    for _ in range(2):  # the second time takes the place of the first
        assert logger.log(logged) == f"tensorboard --logdir {tmp_path / 'tb'}"
    training = logged.trainings[1]
    folder = tmp_path / "tb" / logged.run_id / training.name
    read = EventAccumulator(str(folder))
    read.Reload()
    for tag in ("train/loss", "train/images_per_second", "test/loss", "test/accuracy"):
        scalars = read.Scalars(tag)
        assert [scalar.step for scalar in scalars] == [1, 2, 3]
        assert [scalar.value for scalar in scalars] == pytest.approx(
            [epoch.values[tag] for epoch in training.epochs]
        )
        assert [scalar.wall_time for scalar in scalars] == [epoch.time for epoch in training.epochs]
    for name, value in training.figures.items():
        (scalar,) = read.Scalars(f"run/{name}")
        assert scalar.value == pytest.approx(value)
    content = read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["backend"].string_value == "other"
    assert settings["training.optimizer.learning_rate"].number_value == 0.001
    assert len(list(folder.iterdir())) == 1


def test_mlflow_reads_every_metric_and_parameter(logged, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    (logger,) = parse_loggers(f"mlflow:{tmp_path / 'ml'}")
    for _ in range(2):
        logger.log(logged)
    assert not Path("mlruns").exists(), "nothing is left elsewhere"
    client = mlflow.MlflowClient(tracking_uri=logger.uri)
    experiment = client.get_experiment_by_name(logged.title)
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {training.name for training in logged.trainings}
    for training in logged.trainings:
        run = runs[training.name]
        assert run.info.status == "FINISHED"
        assert run.info.start_time == int(1000 * training.began)
        assert run.data.params["training.batch_size"] == "8"
        history = client.get_metric_history(run.info.run_id, "test/accuracy")
        assert [(metric.step, metric.value) for metric in history] == [
            (epoch.number, epoch.values["test/accuracy"]) for epoch in training.epochs
        ]
        assert run.data.metrics["run/step_ms_p50"] == training.figures["step_ms_p50"]


def test_wandb_has_a_run_of_each_training_offline(logged, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    (logger,) = parse_loggers(f"wandb:{tmp_path / 'w'}")
    said = logger.log(replace(logged, trainings=logged.trainings[:1]))
    assert said == f"wandb sync {tmp_path / 'w' / 'wandb'}/offline-run-*"
    (file,) = (tmp_path / "w" / "wandb").glob("offline-run-*/*.wandb")
    content = file.read_bytes()
    for word in (b"test/accuracy", b"twin-cpu-seed0", b"run/step_ms_p50", b"synthetic:6x6x1"):
        assert word in content


def test_wandb_is_asked_for_what_is_there(logged, tmp_path, monkeypatch):
    """With a fake of it: it need not be installed."""
    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    begun = []

    class Run:
        def __init__(self, **fields):
            self.fields, self.lines, self.summary, self.code = fields, [], {}, None
            begun.append(self)

        def log(self, values, step):
            self.lines.append((step, values))

        def finish(self, exit_code):
            self.code = exit_code

    fake = type("wandb", (), {"init": staticmethod(Run), "Settings": dict})
    monkeypatch.setitem(sys.modules, "wandb", fake)
    broken = replace(logged.trainings[1], status="crashed")
    place = tmp_path / "w"
    LOGGERS["wandb"](str(place)).log(replace(logged, trainings=[logged.trainings[0], broken]))
    assert [run.code for run in begun] == [0, 1]
    first, training = begun[0], logged.trainings[0]
    assert (first.fields["mode"], first.fields["dir"]) == ("offline", str(place))
    assert (first.fields["group"], first.fields["name"]) == (logged.run_id, training.name)
    assert first.fields["config"] == training.settings
    assert [step for step, _ in first.lines] == [1, 2, 3]
    assert first.lines[2][1] == {**training.epochs[2].values, "epoch": 3}
    assert first.summary["run/test_accuracy"] == training.figures["test_accuracy"]


@REAL
def test_logging_imports_no_framework(name, ran, tmp_path):
    pytest.importorskip(name)
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from harness.loggers.logged import read_logged\n"
        "from harness.loggers.parse import parse_loggers\n"
        f"(logger,) = parse_loggers({f'{name}:{tmp_path / name}'!r})\n"
        f"logger.log(read_logged(Path({str(ran.path)!r})))\n"
        "print(*{module.split('.')[0] for module in sys.modules})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = set(done.stdout.splitlines()[-1].split())
    assert found & {"tensorflow", "torch", "jax", "keras", "flax", "backends"} == set()
