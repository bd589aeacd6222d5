"""The page as text: all that it should hold, nothing that asks the network, nothing unescaped."""

from __future__ import annotations

import base64
import csv
import gzip
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from show_results import BASELINES, BATCH, HOSTILE, change_machine, spec_of, write_results

from harness.run.checked import network_hash
from harness.show.gather import gather, read_run
from harness.show.page.build import page, write_report
from harness.show.page.keys import Keys
from harness.show.page.learning import goal_of, seconds_to, training_loss
from harness.show.page.network import draw
from harness.show.page.sources import highlight


class Found(HTMLParser):
    """The elements of a page: names and attributes, and the text within each."""

    VOID = frozenset("meta link input br img".split())

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[dict] = []
        self.open: list[dict] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in self.VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1]["tag"] == tag, f"</{tag}> within <{self.open[-1]['tag']}>"
        self.open.pop()
        if tag in ("td", "th"):
            self.handle_data(" ")

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def of(self, tag, **attributes):
        wanted = attributes.items()
        return [
            e for e in self.elements if e["tag"] == tag and all(e.get(k) == v for k, v in wanted)
        ]

    def classed(self, name):
        return [e for e in self.elements if name in (e.get("class") or "").split()]

    @property
    def words(self):
        (body,) = self.of("body")
        return " ".join(body["text"].split())


def shown(*folders, checks=()):
    runs, problems = gather(list(folders))
    text = page(runs, checks, problems)
    return text, Found(text)


@pytest.fixture
def results(tmp_path):
    return write_results(tmp_path / "run", seeds=2)


def test_a_page_is_well_formed_and_asks_for_nothing_outside(results):
    text, found = shown(results)
    assert found.open == []
    assert not {"img", "iframe", "object", "embed", "base"} & {e["tag"] for e in found.elements}
    assert all("src" not in e for e in found.elements)
    links = {e["href"] for e in found.elements if "href" in e}
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in text
    assert not re.search(r"url\(|https?://", text)
    assert [e for e in found.elements if any(name.startswith("on") for name in e)] == []


def test_the_one_script_is_the_one_that_the_policy_allows(results):
    import hashlib

    text, found = shown(results)
    (policy,) = [e["content"] for e in found.of("meta") if e.get("http-equiv")]
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_anchors_are_unique_and_labels_refer_to_what_there_is(tmp_path):
    for name in ("a", "b"):
        write_results(tmp_path / name)
    _, found = shown(tmp_path)
    ids = [e["id"] for e in found.elements if "id" in e]
    assert len(ids) == len(set(ids))
    referred = [e["aria-labelledby"] for e in found.elements if "aria-labelledby" in e]
    assert set(referred) <= set(ids)
    assert {e["href"][1:] for e in found.of("a") if e["href"].startswith("#")} <= set(ids)


def test_the_answer_is_the_first_heading_and_the_title(results):
    _, found = shown(results)
    (title,), (heading,) = found.of("title"), found.of("h1")
    assert title["text"] == heading["text"]
    assert heading["text"].startswith("In this run tensorflow trained mnist-1conv fastest: 2.00")


def test_every_chart_has_words_for_those_who_do_not_see_it_and_a_table(results):
    _, found = shown(results)
    charts = [e for e in found.elements if e.get("role") == "img"]
    assert len(charts) >= 12
    assert all(e["aria-label"].strip() for e in charts)
    assert len(found.classed("data")) == 6, "a table in each section that has charts"


def test_the_table_of_throughput_has_the_figures_of_the_summary(results):
    _, found = shown(results)
    (table,) = [e for e in found.of("table") if e["text"].strip().startswith("Training, ")]
    cells = table["text"].split()
    assert "2,000" in cells
    assert "1,960" in cells, "the lower end of the interval"
    assert "2.00 (2.00 to 2.00)" in " ".join(cells)


def test_bars_are_as_long_as_their_values(results):
    _, found = shown(results)
    rows = [e for e in found.classed("row") if "images per second" in (e.get("data-tip") or "")]
    fills = list(found.classed("fill"))
    widths = [float(re.findall(r"width:([\d.]+)%", e["style"])[0]) for e in fills]
    values = [float(e["data-value"]) for e in rows[:2]]
    assert values == [2000.0, 1000.0]
    assert widths[0] / widths[1] == pytest.approx(2.0, rel=1e-3)


HOSTILE_COLUMNS = (
    "error note model dataset framework_version versions precision environment".split()
)


def test_text_of_strangers_is_escaped_wherever_it_comes_from(tmp_path):
    bad = {"status": HOSTILE, "variant": HOSTILE, "equivalence_where": HOSTILE, "commit": HOSTILE}
    bad |= dict.fromkeys(HOSTILE_COLUMNS, HOSTILE)
    folder = write_results(tmp_path / "run", changes={"torch": bad, "tensorflow": bad})
    sound = write_results(tmp_path / "sound")
    (folder / "machine.json").write_text(json.dumps(dict.fromkeys(("cpu", "command"), HOSTILE)))
    (sound / "models").mkdir(exist_ok=True)
    (sound / "models" / "mnist_1conv_torch.py").write_text(f"# {HOSTILE}\nx = '''{HOSTILE}'''\n")
    check = report_of("torch", "differs", where=HOSTILE, cause=HOSTILE, error=HOSTILE)
    (tmp_path / "check.json").write_text(json.dumps(check))
    text, found = shown(folder, sound, checks=[tmp_path])
    assert found.open == []
    assert found.of("img") == []
    assert len(found.of("script")) == 1
    assert "<img" not in text
    assert text.count("</script>") == 1
    assert "{{ 7*7 }}" in text, "it is data, not a template"
    assert found.words.count("onerror=") >= 8, "it is shown, as text"


def test_a_damaged_folder_among_others_is_named_on_the_page(tmp_path):
    write_results(tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "summary.csv").write_text("a\n")
    _, found = shown(tmp_path)
    assert "there is no column run_id" in found.words


def test_failed_rows_keep_their_place_and_reason(tmp_path):
    broken = {"status": "crashed", "error": "torch: SIGSEGV", "equivalent": None}
    empty = dict.fromkeys(("train_images_per_second", "peak_host_bytes"))
    folder = write_results(tmp_path / "run", changes={"torch": broken | empty})
    _, found = shown(folder)
    assert "torch on cpu, seed 0: crashed: torch: SIGSEGV" in found.words
    (table,) = found.classed("summary")
    assert "crashed" in table["text"]


def test_a_backend_that_differs_is_hatched_and_its_speed_compared_with_nothing(tmp_path):
    wrong = {
        "equivalent": False,
        "equivalence_difference": 0.25,
        "equivalence_where": "gradient.conv1.kernel",
    }
    _, found = shown(write_results(tmp_path / "run", changes={"torch": wrong}))
    (bar,) = [
        e
        for e in found.classed("row")
        if ("doubtful" in e["class"] and "value" in e["text"]) or "another network" in e["text"]
    ]
    assert bar["data-backend"] == "torch"
    (cell,) = found.classed("differs")
    assert "gradient.conv1.kernel" in cell["text"]


@pytest.mark.parametrize("missing", ["samples.csv", "machine.json", "spec.json"])
def test_a_page_is_made_of_what_is_left(results, missing):
    (results / missing).unlink()
    _, found = shown(results)
    assert found.open == []
    assert found.classed("summary")


@pytest.mark.parametrize(
    "damage", [5, "many", [3], {"a": 1}, True, None, 10**400], ids=lambda value: str(value)[:9]
)
def test_what_a_machine_s_file_has_of_another_type_is_left_out(results, damage):
    names = json.loads((results / "machine.json").read_text())
    text = json.dumps(dict.fromkeys((*names, "peaks", "cpu_generation"), damage))
    (results / "machine.json").write_text(text)
    _, found = shown(results)
    assert found.open == []
    assert found.classed("summary")


def test_a_page_is_made_of_the_least_that_a_summary_may_hold(tmp_path):
    (tmp_path / "summary.csv").write_text(
        "run_id,status,backend,device,seed\nx,failed,torch,cpu,0\n"
    )
    _, found = shown(tmp_path)
    assert found.open == []
    assert "torch: failed." in found.words


def test_targets_that_are_values_are_shown_by_their_error(tmp_path):
    changes = {n: {"test_accuracy": None, "test_rmse": 0.02} for n in ("torch", "tensorflow")}
    folder = write_results(tmp_path / "run", changes=changes)
    path = folder / "samples.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["rmse"], row["accuracy"] = row["accuracy"], ""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    _, found = shown(folder)
    titles = [e["text"] for e in found.of("h4")]
    assert "Root mean squared error by epoch" in titles
    assert not any(title.startswith("Accuracy") for title in titles)


def test_the_limit_is_shown_where_a_summary_has_it(tmp_path):
    folder = write_results(tmp_path / "run")
    _, found = shown(folder)
    assert "How near the limit" not in found.words
    limit = {"limit_images_per_second": 8000, "fraction_of_limit": 0.25}
    changes = dict.fromkeys(("torch", "tensorflow"), limit)
    _, found = shown(write_results(tmp_path / "limited", changes=changes))
    assert "How near the limit" in found.words
    assert "25.00 %" in found.words


def test_downloads_are_the_files_themselves(results):
    _, found = shown(results)
    for name in ("summary.csv", "samples.csv", "machine.json", "spec.json"):
        (link,) = found.of("a", download=name)
        content = base64.b64decode(link["href"].partition(",")[2])
        assert content == (results / name).read_bytes()


def test_large_files_are_compressed_and_those_too_large_for_a_page_are_named(tmp_path, monkeypatch):
    from harness.show.page import downloads

    folder = write_results(tmp_path / "run")
    monkeypatch.setattr(downloads, "PLAIN_BYTES", 3000)
    _, found = shown(folder)
    (link,) = found.of("a", download="samples.csv.gz")
    content = gzip.decompress(base64.b64decode(link["href"].partition(",")[2]))
    assert content == (folder / "samples.csv").read_bytes()
    monkeypatch.setattr(downloads, "ALL_BYTES", 1000)
    _, found = shown(folder)
    assert "run/samples.csv (too large for this page)" in found.words


def report_of(backend, status="ok", **rung):
    """A check's report with one backend, whose second rung is as given."""
    blank = {"topic": "gradient", "where": "", "difference": 0.0, "tolerance": 1e-10, "cause": ""}
    rungs = [
        {**blank, "rung": "structure", "status": "ok", "error": ""},
        {**blank, "rung": "forward", "status": status, "error": "", **rung},
    ]
    spec = spec_of()
    cell = {"label": backend, "backend": backend, "variant": "", "device": "cpu", "versions": ""}
    return {
        "finished_at": "2026-01-01T00:00:00",
        "network_hash": network_hash(spec),
        "precision": "float64",
        "steps": 50,
        "backends": [{**cell, "verdict": "verified", "rungs": rungs}],
    }


def test_the_ladder_of_a_check_of_the_same_network_is_shown_to_the_first_difference(
    results, tmp_path
):
    found_there = {
        "difference": 0.5,
        "where": "bn1.variance",
        "cause": "as with the unbiased estimate",
    }
    (results / "check").mkdir()
    report = report_of("torch", "differs", **found_there)
    (results / "check" / "check.json").write_text(json.dumps(report))
    _, found = shown(results, checks=[tmp_path])
    (ladder,) = found.classed("ladder")
    assert "forward" in ladder["text"]
    (cell,) = [e for e in found.classed("differs") if e["tag"] == "td"]
    assert "bn1.variance" in cell["text"]
    assert "unbiased estimate" in cell["text"]


def test_a_check_of_another_network_or_a_damaged_one_is_left_out(results, tmp_path):
    other = {**report_of("torch"), "network_hash": "0" * 16}
    (tmp_path / "check.json").write_text(json.dumps(other))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "check.json").write_text('{"backends": [{}]}')
    _, found = shown(results, checks=[tmp_path])
    (ladder,) = found.classed("ladder")
    assert "forward" not in ladder["text"]
    assert "python -m harness check --backend all --model mnist-1conv" in found.words


def test_of_batch_sizes_and_repeated_runs_there_is_a_chart_each(tmp_path):
    for batch in (50, 100):
        write_results(tmp_path / f"b{batch}", batch_size=batch)
    for month in ("02", "03"):
        write_results(tmp_path / month, started_at=f"2026-{month}-01T00:00:00+00:00")
    _, found = shown(tmp_path)
    titles = [e["text"] for e in found.of("h2")]
    assert titles.count("By batch size: mnist-1conv on digits") == 1
    assert titles.count(f"Over time: mnist-1conv on digits, batch {BATCH}") == 1
    (matrix,) = found.classed("matrix")
    assert matrix["text"].count("fastest") == 4


def changed(**columns):
    return dict.fromkeys(("torch", "tensorflow"), columns)


@pytest.mark.parametrize("column", ["model_hash", "dataset_hash", "machine_key"])
def test_what_has_the_same_name_and_is_another_thing_has_no_course_over_time(tmp_path, column):
    for month in ("02", "03"):
        started = f"2026-{month}-01T00:00:00+00:00"
        own = {} if month == "02" else changed(**{column: "0" * 16})
        write_results(tmp_path / month, started_at=started, changes=own)
    _, found = shown(tmp_path)
    assert not any(e["text"].startswith("Over time") for e in found.of("h2"))
    titles = [e["text"] for e in found.classed("kicker")][1:]
    assert len(set(titles)) == 2, "told apart by their time, or by the machine"


def test_of_another_network_by_the_same_name_there_is_no_chart_by_batch_size(tmp_path):
    for batch in (50, 100):
        own = {} if batch == 50 else changed(model_hash="0" * 16)
        write_results(tmp_path / str(batch), batch_size=batch, changes=own)
    _, found = shown(tmp_path)
    assert not any(e["text"].startswith("By batch size") for e in found.of("h2"))


def test_charts_of_several_results_say_of_which_model_they_are(tmp_path):
    for model in ("mnist-1conv", "resnet-20"):
        for month in ("02", "03"):
            started = f"2026-{month}-01T00:00:00+00:00"
            write_results(tmp_path / model / month, model=model, started_at=started)
    _, found = shown(tmp_path)
    courses = [e for e in found.of("section") if "history-" in (e.get("id") or "")]
    assert {(e["data-model"], e["data-model"] in e["text"]) for e in courses} == {
        ("mnist-1conv", True),
        ("resnet-20", True),
    }


def test_a_legend_has_the_backends_of_its_own_charts(tmp_path):
    write_results(tmp_path / "a", {"torch": 2.0, "tensorflow": 1.0})
    write_results(tmp_path / "b", {"torch": 2.0, "flax": 1.0}, model="lenet-5")
    _, found = shown(tmp_path)
    legends = ["".join(e["text"].split()) for e in found.classed("legend")]
    own = sorted(legend for legend in legends if "torch" in legend)
    assert own == ["flaxtorch", "tensorflowtorch"]


@pytest.mark.parametrize("names", [("a",), ("a", "b")])
def test_no_level_of_headings_is_left_out(tmp_path, names):
    for name in names:
        write_results(tmp_path / name)
    _, found = shown(tmp_path)
    levels = [int(e["tag"][1]) for e in found.elements if e["tag"] in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_commands_on_the_page_are_of_the_file_that_was_run(tmp_path):
    folder = write_results(tmp_path / "run", batch_size=BATCH)
    ran = f"python -m harness run --model=nets/mine.toml -d digits --batch-size {BATCH}"
    _, found = shown(change_machine(folder, command=ran))
    assert "python -m harness check --backend all --model nets/mine.toml" in found.words
    assert (
        "python -m harness ab tensorflow torch --model nets/mine.toml --dataset digits "
        f"--batch-size {BATCH}"
    ) in found.words


@pytest.mark.parametrize(
    ("command", "model", "said"),
    [
        ("python -m harness run", "mnist-1conv", "--model mnist-1conv --dataset digits"),
        ("python -m harness run --matrix -m m5", "mine", "--model mine.toml --dataset digits"),
        ("python -m harness run -m 'no end", "mine", "--model mine.toml --dataset digits"),
        ("python -m harness run -m", "mine", "--model mine.toml --dataset digits"),
    ],
)
def test_without_a_file_in_the_command_it_goes_by_the_name(tmp_path, command, model, said):
    folder = write_results(tmp_path / "run", changes=changed(model=model))
    _, found = shown(change_machine(folder, command=command))
    assert f"python -m harness ab tensorflow torch {said}" in found.words


def test_a_model_that_was_fitted_is_checked_and_compared_as_fitted(tmp_path):
    folder = write_results(tmp_path / "run")
    ran = "python -m harness run -m resnet-20 -d digits --fit"
    _, found = shown(change_machine(folder, command=ran))
    assert "check --backend all --model resnet-20 --fit --dataset digits" in found.words
    said = "--model resnet-20 --dataset digits --fit"
    assert f"harness ab tensorflow torch {said}" in found.words


def test_a_colour_belongs_to_a_backend_on_the_whole_page():
    from harness.show.table import Line

    names = ["torch", "flax", "keras", "tensorflow", *(f"torch@v{n}" for n in range(9))]
    keys = Keys([Line(name, "cpu") for name in names])
    colours = [keys.key(name, "cpu").colour for name in names]
    assert len(set(colours)) == len(names), "with their dashes, all differ"
    fewer = Keys([Line("torch", "cpu")])
    assert fewer.key("torch", "cpu").colour == colours[0]


@pytest.mark.parametrize("model", ["resnet-20", "squeezenet", "googlenet", "m5", "mobilenet-v2"])
def test_any_network_is_drawn_with_all_its_layers_and_totals(tmp_path, model):
    from harness.spec import infer

    (case,) = read_run(write_results(tmp_path / "run", model=model)).cases
    drawing = draw(case)
    network = infer(case.spec)

    def leaves(items):
        for item in items:
            inner = [leaf for _, branch in item.branches for leaf in leaves(branch)]
            yield from inner or [item]

    found = list(leaves(drawing.items))
    assert [item.path for item in found] == [node.path for node in network.nodes]
    assert sum(item.parameters for item in found) == network.parameter_count
    assert sum(item.flops for item in drawing.items) == network.flops_per_image
    assert len(drawing.volumes) == len(network.parts) + 1
    _, page_found = shown(tmp_path)
    assert page_found.open == []


def test_highlighting_changes_no_character_of_a_source():
    body = '    """<b>&"""  # 1 < 2\n    return "a" if not x else f"{x}"\n'
    source = f"@jax.jit\ndef f(x: int) -> str:\n{body}"
    found = Found(f"<body>{highlight(source)}</body>")
    assert found.of("body")[0]["text"] == source
    classes = {e["class"]: e["text"] for e in found.of("b")}
    assert classes["hf"] == "f"
    assert classes["hd"] == "@jax"


def test_seconds_to_a_goal_are_of_training_alone(tmp_path):
    from harness.show.page.learning import evaluated

    (case,) = read_run(write_results(tmp_path / "run", seeds=2)).cases
    assert goal_of(case) == 0.97
    torch = next(line for line in case.lines if line.backend == "torch")
    time = seconds_to(evaluated(case, torch, "accuracy"), 0.8)
    blocks = [b for b in torch.blocks if b["epoch"] <= 2]
    assert time == pytest.approx(sum(b["seconds"] for b in blocks) / 2, rel=0.01)
    assert seconds_to(evaluated(case, torch, "accuracy"), 0.99) is None


def test_many_blocks_are_averaged_and_none_is_left_out():
    from harness.show.table import Line

    blocks = [
        {
            "seed": 0,
            "epoch": 1 + n // 500,
            "images": 10,
            "seconds": 0.5,
            "loss": float(n),
            "steps": 1,
        }
        for n in range(1000)
    ]
    (curve,) = training_loss(Line("torch", "cpu", [], blocks)).values()
    assert len(curve) <= 150
    assert curve[-1].epochs == pytest.approx(2.0)
    assert curve[-1].seconds == pytest.approx(500.0)
    assert curve[0].value == pytest.approx(sum(range(7)) / 7)


def test_fifty_cells_stay_below_eight_megabytes(tmp_path):
    names = {f"torch@v{n}": 1000.0 + n for n in range(10)}
    for number in range(5):
        write_results(tmp_path / str(number), names, seeds=3, epochs=20, batch_size=100 + number)
        models = tmp_path / str(number) / "models"
        for name in names:
            text = "x = layer(x, 'a', 1)  # applies a layer to x\n" * 400
            (models / f"mnist_1conv_torch_{name[6:]}.py").write_text(text)
    output = tmp_path / "report.html"
    write_report([tmp_path], output)
    assert output.stat().st_size < 8_000_000
    assert len(Found(output.read_text()).of("figure")) == 50


def test_the_page_of_the_baselines_has_a_chapter_for_each():
    _, found = shown(BASELINES)
    assert len(found.of("article")) == len(list(BASELINES.rglob("summary.csv")))
