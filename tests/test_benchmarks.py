"""The scripts behind the documentation's figures: what they ask for, and what they print."""

from __future__ import annotations

import ast
import csv
import json
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import growth, markdown, overhead, plot, soak
from benchmarks.kept import read
from benchmarks.recipes.backend import RecipeSession
from benchmarks.recipes.measure import Side
from benchmarks.tuning import __main__ as tuning
from benchmarks.tuning.trials import TRIALS
from harness.output import append_rows
from harness.spec import load_spec

SVG = "{http://www.w3.org/2000/svg}"


def test_a_plot_has_every_line_within_its_panel_and_names_it(tmp_path):
    lines = {"torch <&>": [(1, 10.0), (100, 1e6)], "flax": [(1, 20.0), (10, 5e5), (100, 1e6)]}
    panels = [
        plot.Panel("a", "batch", "images/s", lines),
        plot.Panel("b", "n", "y", {"x": [(4, 2)]}),
    ]
    plot.write_svg(tmp_path / "plot.svg", panels)
    root = ElementTree.parse(tmp_path / "plot.svg").getroot()
    drawn = root.findall(f".//{SVG}polyline")
    assert [len(line.get("points").split()) for line in drawn] == [2, 3, 1]
    for line in drawn:
        for point in line.get("points").split():
            x, y = map(float, point.split(","))
            assert plot.LEFT <= x <= plot.WIDTH - plot.RIGHT
            assert plot.TOP <= y <= plot.HEIGHT - plot.BOTTOM
    texts = [text.text for text in root.findall(f".//{SVG}text")]
    assert {"torch <&>", "flax", "batch", "images/s"} <= set(texts)
    ends = [float(t.get("y")) for t in root.findall(f".//{SVG}text") if t.text in lines]
    assert abs(ends[0] - ends[1]) >= 12, "no name over another"


def test_more_is_further_right_and_higher_up():
    scale = plot._Scale([1.0, 1000.0], 0, 300)
    assert [round(scale.place(v)) for v in (1, 10, 100, 1000)] == [0, 100, 200, 300]
    assert scale.ticks() == [1, 10, 100, 1000]
    assert len(plot._Scale([20.0, 80.0], 0, 1).ticks()) >= 2


def test_adapter_and_recipe_train_in_a_worker_each(tmp_path):
    pytest.importorskip("torch")
    options = "--backend torch --model resnet-20 --environment tuned --blocks 1".split()
    command = [sys.executable, "-m", "benchmarks.recipes", *options, "--block-seconds", "0.01"]
    done = subprocess.run(
        [*command, "--pairs", "1", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader((tmp_path / "blocks.csv").open())
    assert float(row["adapter_seconds"]) > 0
    assert float(row["recipe_seconds"]) > 0
    assert int(row["steps"]) >= 1
    assert re.search(r"\| torch \| \d+\.\d\d \(.* to .*\); 1\.3; \d+ \|", done.stdout)


def test_a_recipe_may_have_a_clock_of_its_own():
    class Fit:
        def __init__(self, *given):
            self.seconds = 1.5

        def train(self, batches):
            assert batches.shape == (3, 2)

    class Loop(Fit):
        def __init__(self, *given):
            pass

    class Worker:
        def __init__(self, training):
            self.session = RecipeSession(SimpleNamespace(start=training), load_spec("mnist-1conv"))
            self.session.load(np.zeros((6, 28, 28, 1)), np.zeros(6, np.int64))

        def ask(self, command, arrays, timeout):
            losses = self.session.train(arrays["order"], arrays["rates"])
            return {"seconds": 9.0}, {"losses": losses}

    given = np.arange(6).reshape(3, 2), np.ones(3)
    assert Side(Worker(Fit), is_recipe=True).train(*given) == pytest.approx(1.5)
    assert Side(Worker(Loop), is_recipe=True).train(*given) == 9.0
    assert Side(Worker(Fit), is_recipe=False).train(*given) == 9.0, "those are losses"


class Recipes:
    """What `measure` would find: the backend is so many times as fast as its recipe."""

    def __init__(self, ratio, pairs_before_ctrl_c=1000):
        self.ratio, self.asked, self.left = ratio, [], pairs_before_ctrl_c

    def __call__(self, info, environment, rows, folder, blocks, block_seconds, seed):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.asked.append((info.label, rows.spec.name, environment, seed))
        return 10, [0.5] * blocks, [0.5 * self.ratio] * blocks


def recipes_of(monkeypatch, folder, found, *more):
    """Run the benchmark with that in the place of workers."""
    from benchmarks.recipes import __main__ as program

    monkeypatch.setattr(program, "measure", found)
    monkeypatch.setattr(program, "lay_out", lambda spec, _: SimpleNamespace(spec=spec))
    given = ["--backend", "torch,flax", "--model", "mnist-1conv,resnet-20", "--pairs", "6"]
    monkeypatch.setattr(sys, "argv", ["recipes", *given, "--out", str(folder), *more])
    program.main()


def test_the_table_of_recipes_has_ratio_interval_goal_and_speed(monkeypatch, tmp_path, capsys):
    recipes_of(monkeypatch, tmp_path, Recipes(3.0))
    said = capsys.readouterr().out
    # 10 steps of 128 images in half a second.
    assert "| torch | 3.00 (3.00 to 3.00); 2.0; 2,560 | 3.00 (3.00 to 3.00); 1.3; 2,560 |" in said
    assert "| flax | 3.00 (3.00 to 3.00); 1.0; 2,560 |" in said.partition("stock")[2]


def test_recipes_are_measured_in_turns_and_gone_on_with_where_they_ended(monkeypatch, tmp_path):
    first = Recipes(2.0, pairs_before_ctrl_c=11)
    with pytest.raises(KeyboardInterrupt):
        recipes_of(monkeypatch, tmp_path, first)
    assert {one[3] for one in first.asked[:8]} == {0}, "all that is asked for, before a second pair"
    second = Recipes(2.0)
    recipes_of(monkeypatch, tmp_path, second)
    assert len(first.asked) + len(second.asked) == 2 * 2 * 2 * 6
    assert not set(first.asked) & set(second.asked)
    recipes_of(monkeypatch, tmp_path, third := Recipes(2.0))
    assert third.asked == []


def test_tables_of_what_was_measured_before_name_its_machine_and_days(
    monkeypatch, tmp_path, capsys
):
    recipes_of(monkeypatch, tmp_path, Recipes(2.0))
    kept = json.loads((tmp_path / "machine.json").read_text())
    (tmp_path / "machine.json").write_text(json.dumps({**kept, "cpu": "An Older One"}))
    blocks = tmp_path / "blocks.csv"
    header, *lines = blocks.read_text().splitlines()
    days = ["2025-12-31T23:59:59+00:00", "2026-01-01T00:00:01+00:00"] * len(lines)
    dated = [f"{line.rpartition(',')[0]},{day}" for line, day in zip(lines, days, strict=False)]
    blocks.write_text("\n".join([header, *dated]) + "\n")
    capsys.readouterr()
    recipes_of(monkeypatch, tmp_path, Recipes(2.0), "--table")
    head = capsys.readouterr().out.splitlines()[0]
    assert "An Older One" in head
    assert head.endswith(", 2025-12-31 to 2026-01-01:")


def test_recipes_of_another_machine_are_not_gone_on_with(monkeypatch, tmp_path):
    (tmp_path / "machine.json").write_text('{"machine_key": "another"}')
    with pytest.raises(SystemExit, match=r"measured on another machine\. Try: another folder"):
        recipes_of(monkeypatch, tmp_path, Recipes(2.0))
    with pytest.raises(SystemExit, match=r"nothing was measured\. Try: without --table"):
        recipes_of(monkeypatch, tmp_path, Recipes(2.0), "--table")


@pytest.mark.parametrize("axis", growth.AXES)
def test_every_run_of_an_axis_is_one_that_the_command_line_takes(axis):
    from typer.main import get_command

    from harness.cli import app

    command = get_command(app).commands["run"]
    found = growth.points(axis, "mnist-1conv")
    assert [point.value for point in found] == sorted({point.value for point in found})
    for point in found:
        values = command.make_context("run", [*point.options]).params
        assert values["model"] == point.model
        assert values["batch_size"] == point.batch
        assert values["fit"]
        load_spec(point.model)
        assert point.images >= point.batch


def row(backend, value, speed, limit=5000.0, status="ok"):
    return {
        "axis": "batch",
        "value": value,
        "backend": backend,
        "variant": "",
        "status": status,
        "train_images_per_second": speed,
        "limit_images_per_second": limit,
    }


def test_growth_has_a_column_for_each_backend_and_the_limit_and_gaps_where_one_failed(tmp_path):
    rows = [row("torch", 1, 100.0), row("flax", 1, 200.0), row("torch", 8, 400.0)]
    rows += [row("flax", 8, None, status="crashed")]
    lines = growth.axis_table("batch", rows).splitlines()
    assert lines[0] == "| images in a batch | torch | flax | limit |"
    assert lines[2:] == ["| 1 | 100 | 200 | 5,000 |", "| 8 | 400 |  | 5,000 |"]
    growth.write(tmp_path, [])
    assert not (tmp_path / "growth.svg").exists()


def test_a_point_of_growth_is_the_median_of_its_passes_with_the_range():
    rows = [row("torch", 1, speed, limit=None) for speed in (300.0, 100.0, 220.0)]
    assert growth.axis_table("batch", rows).splitlines()[-1] == "| 1 | 220 (100 to 300) |"
    assert growth.lines_of("batch", rows) == {"torch": [(1, 220.0)]}


def test_growth_runs_all_points_in_each_pass_but_large_networks_once(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(growth, "of_this_machine", lambda out: None)
    monkeypatch.setattr(
        growth, "carry_out", lambda point, number, options: asked.append((point, number)) or []
    )
    arguments = ["growth", "--axis", "model,threads", "--passes", "2", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    growth.main()
    models = [(point.model, number) for point, number in asked if point.axis == "model"]
    assert models.count(("resnet-20", 1)) == models.count(("resnet-20", 2)) == 1
    assert [number for model, number in models if model == "resnet-50"] == [1]
    assert [number for _, number in asked] == sorted(number for _, number in asked)
    assert "pass 2, threads" in capsys.readouterr().err


def test_growth_goes_on_with_a_run_that_was_begun_and_begins_the_others(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        growth.subprocess,
        "run",
        lambda command, **_: asked.append(command) or SimpleNamespace(returncode=0),
    )
    options = SimpleNamespace(out=tmp_path, backend="torch", device="cpu")
    first, second, *_ = growth.points("batch", "mnist-1conv")
    begun = tmp_path / "batch-1-3"
    begun.mkdir()
    (begun / "journal.jsonl").touch()
    for point in (first, second):
        assert growth.carry_out(point, 3, options) == [], "nothing was really run"
    assert asked[0][-2:] == ["--resume", str(begun)]
    assert "--model" not in asked[0]
    assert asked[1][-2:] == ["--out", str(tmp_path / "batch-4-3")]


def test_the_cost_of_a_worker_is_a_ratio_over_pairs():
    spec = load_spec("mnist-1conv")
    options = type("Options", (), {"steps": 10})
    blocks = np.array(
        [[pair, n, 1.0, 0.98, 1.002, 0.001, 0.0049] for pair in range(6) for n in range(4)], float
    )
    worker, bare, ratio, between, cpu, waiting = overhead._line(blocks, options, spec)
    assert (worker, bare) == ("1,280", "1,306")
    assert ratio.startswith("0.980 (0.980 to 0.980)")
    assert (between, cpu, waiting) == ("2.00 ms", "0.10 %", "0.50 %")


def test_a_phase_lasts_until_another_begins_and_lines_within_it_are_its_own():
    told = [(10.0, ""), (12.0, "import"), (12.5, "import"), (15.0, "build"), (15.5, "train")]
    told += [(17.0, "seed 0 epoch 1/1  4,471 images/s"), (20.0, "predict"), (21.5, "results")]
    found = overhead.phase_seconds(told, last=21.0)
    assert {phase: seconds for phase, seconds in found.items() if seconds} == {
        "import": 3.0,
        "build": 0.5,
        "train": 4.5,
        "predict": 1.0,
    }


def test_a_heading_names_machine_and_date():
    assert re.search(
        r"\d+ cores of .+ GiB, Python 3\.\d+\.\d+, \d{4}-\d\d-\d\d:$", markdown.heading()
    )


def test_the_load_is_measured_over_a_whole_run_and_one_that_goes_on():
    command = [sys.executable, "-m", "benchmarks.load", "--cells", "60"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert "60 cells" in done.stdout, done.stderr
    assert "to the first block, gone on" in done.stdout


def test_large_results_are_made_up_and_compared_in_a_process_of_their_own():
    command = [sys.executable, "-m", "benchmarks.large", "--rows", "4000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert "`compare` of 4,000 and 4,000 samples" in done.stdout, done.stderr
    assert "| memory, MB |" in done.stdout


def soaked(**grown: float) -> list[dict[str, float]]:
    """Samples of a long run, in which some figures grow by so much in all."""
    base = {"rss_bytes": 2e8, "files": 20, "processes": 5, "cells_ended": 0}
    return [
        {k: v + n * grown.get(k, 0) / 39 for k, v in base.items()}
        | {"cells_ended": n, "seconds": n}
        for n in range(40)
    ]


def test_what_grows_in_a_long_run_is_named():
    assert soak.verdict(soaked(), {"ok", "interrupted"}) == []
    assert "rss_bytes grew" in soak.verdict(soaked(rss_bytes=5e7), {"ok"})[0]
    assert "files grew" in soak.verdict(soaked(files=10), {"ok"})[0]
    assert "cells that are crashed" in soak.verdict(soaked(), {"ok", "crashed"})[0]
    assert "nothing can be said" in soak.verdict(soaked()[:5], {"ok"})[0]


@pytest.mark.parametrize(
    ("backend", "operation"),
    [
        ("torch", r"`aten::\w*convolution\w*`"),
        ("tensorflow", r"`\w*Conv2DBackpropFilter\w*`"),
        ("keras", r"`\w*Conv2DBackpropFilter\w*`"),
    ],
)
def test_a_profile_says_what_the_operations_of_a_step_take(backend, operation):
    pytest.importorskip("torch" if backend == "torch" else "tensorflow")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.profile", "--backend", backend, "--steps", "3"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if "%" in line]
    seconds = {name: float(figure) for name, figure, _ in rows}
    assert any(re.fullmatch(operation, name) for name in seconds), done.stdout
    assert seconds["a step, traced"] > 0
    assert seconds["a step, not traced"] > 0


WRITE_SOURCES = """
import json, sys
from benchmarks.error_rates.given import own_source
from harness.spec import load_spec
pairs = [pair.split() for pair in sys.argv[1:]]
print(json.dumps([own_source(backend, load_spec(model)) for backend, model in pairs]))
"""


@pytest.fixture(scope="module")
def sources():
    """What each backend writes for the models of its trials; no backend is imported here."""
    pairs = sorted({f"{trial.backend} {trial.model}" for trial in TRIALS})
    command = [sys.executable, "-c", WRITE_SOURCES, *pairs]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return dict(zip(pairs, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_a_trial_of_tuning_is_one_change_of_what_is_there(trial, tmp_path, monkeypatch, sources):
    spec, source = load_spec(trial.model), sources[f"{trial.backend} {trial.model}"]
    monkeypatch.setattr(tuning, "own_source", lambda name, chosen: source)
    changed = trial.changed(source)
    ast.parse(changed)
    is_edited = bool(trial.edits or trial.rewrite)
    assert (changed != source) == is_edited
    assert is_edited + bool(trial.environment) + bool(trial.options) == 1
    given = tuning.sides(trial, spec, {"XLA_FLAGS": "-a"}, tmp_path)
    if is_edited:
        assert (tmp_path / "a.py").read_text() == source
        assert (tmp_path / "b.py").read_text() == changed
        assert "--env-a=XLA_FLAGS=-a" in given and "--env-b=XLA_FLAGS=-a" in given
    else:
        assert given[:2] == [trial.backend] * 2
        assert not list(tmp_path.iterdir())


def test_what_a_pair_of_tuning_came_to_is_read_again_as_it_was(tmp_path):
    pair = {"pair": "0", "seconds_a": "1.5", "seconds_b": "1.2", "log_ratio": "-0.25"}
    kept = tuning._kept({**pair, "started_at": "2026-01-01", "status": "ok"})
    append_rows(tmp_path / "pairs.csv", tuning.COLUMNS, [{"trial": "a"} | kept])
    (row,) = read(tmp_path / "pairs.csv")
    assert float(row["log_ratio"]) == -0.25


def test_the_table_of_tuning_has_what_was_expected_beside_what_was_found():
    trial = TRIALS[0]
    rows = [{"trial": trial.name, "log_ratio": str(np.log(1.25))}] * 6
    (line,) = tuning.table_of(rows).splitlines()[2:]
    assert trial.what in line
    assert line.endswith(f"| {trial.expected} | +25.0 % (+25.0 to +25.0) |")


def test_a_trial_of_text_that_is_not_there_says_so():
    trial = replace(TRIALS[0], edits=[("no such line", "")])
    with pytest.raises(ValueError, match="0 times in it: 'no such line'"):
        trial.changed("a = 1\n")
