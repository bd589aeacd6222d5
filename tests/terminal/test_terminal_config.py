"""A project's file: found, read whole, every mistake named; the command line wins over it."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from harness.config.combine import combine
from harness.config.model import Config, Gate, Matrix
from harness.config.read import read_config, read_gate, read_matrix, starting_config
from harness.errors import UsageError
from harness.verdict.limits import parse_limits

OPTIONS = {
    "model": "mnist-2conv",
    "dataset": "digits",
    "device": "all",
    "batch_size": None,
    "precision": "float32",
    "backend": None,
    "plugin": None,
    "seeds": 3,
    "epochs": None,
    "fit": False,
    "out": None,
}
PROJECT = '[project]\nname = "mine"\n[tool.harness.matrix]\nmodels = ["mnist-1conv"]\n'


def matrix(text: str) -> Matrix:
    path = Path("harness.toml")
    path.write_text(f"[matrix]\n{text}")
    return read_matrix(path)[0]


def mistakes(text: str) -> list[str]:
    Path("harness.toml").write_text(text)
    with pytest.raises(UsageError) as refused:
        read_matrix(Path("harness.toml"))
    return str(refused.value).splitlines()


# Found


def test_the_nearest_pyproject_that_has_the_section_is_read(here, monkeypatch):
    (here / "pyproject.toml").write_text(PROJECT)
    inner = here / "a" / "b"
    inner.mkdir(parents=True)
    (here / "a" / "pyproject.toml").write_text('[project]\nname = "another"\n')
    monkeypatch.chdir(inner)
    config, path = read_config(None)
    assert path == here / "pyproject.toml"
    assert config.matrix.models == ("mnist-1conv",)
    (inner / "pyproject.toml").write_text("[tool.harness.gate]\ninconclusive-ok = true\n")
    assert read_config(None).config.matrix is None
    assert read_gate(None).inconclusive_ok


def test_a_file_of_its_own_has_the_tables_at_its_top_or_as_a_pyproject_has_them(here):
    Path("own.toml").write_text('[matrix]\nmodels = ["mnist-1conv"]\n')
    Path("project.toml").write_text(PROJECT)
    for name in ("own.toml", "project.toml"):
        assert read_matrix(Path(name))[0].models == ("mnist-1conv",)


def test_without_a_file_nothing_is_set_and_a_matrix_says_what_to_type(here):
    assert read_config(None) == (Config(), None)
    with pytest.raises(
        UsageError, match=r"has a pyproject.toml with \[tool.harness.matrix\]. Try: python -m"
    ):
        read_matrix(None)
    Path("pyproject.toml").write_text("[tool.harness.gate]\n")
    with pytest.raises(UsageError, match=r"pyproject.toml has no table \[tool.harness.matrix\]"):
        read_matrix(None)


def test_paths_are_those_from_the_file_s_folder(here, monkeypatch):
    from harness.spec.start import starting_spec

    (here / "nets").mkdir()
    (here / "nets" / "mine.toml").write_text(starting_spec("mine"))
    (here / "harness.toml").write_text(
        '[matrix]\nmodels = ["nets/mine.toml", "mnist-1conv"]\n'
        'datasets = ["npz:data/x.npz", "image-folder:/pictures:8x8", "mnist"]\n'
    )
    (here / "inner").mkdir()
    monkeypatch.chdir(here / "inner")
    found, _ = read_matrix(Path("../harness.toml"))
    assert found.models == ("../nets/mine.toml", "mnist-1conv")
    assert found.datasets[0] == "npz:../data/x.npz"
    assert found.datasets[1].endswith("/pictures:8x8")
    assert found.datasets[2] == "mnist"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[matrix", "harness.toml: not valid TOML: "),
        (b"\xff\xfe", "harness.toml: not valid TOML: "),
        (b"x = " + b"[" * 5000, "harness.toml: not valid TOML: "),
    ],
)
def test_a_file_that_cannot_be_read_is_one_message(here, content, message):
    Path("harness.toml").write_bytes(content)
    with pytest.raises(UsageError) as refused:
        read_config(Path("harness.toml"))
    assert str(refused.value).startswith(message)
    with pytest.raises(UsageError, match=r"cannot read nowhere.toml: No such file"):
        read_config(Path("nowhere.toml"))


# Mistakes


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[matirx]", "matirx: unknown field; allowed: gate, matrix. Did you mean 'matrix'?"),
        ("[matrix]", "matrix.models: is missing"),
        ("[matrix]\nmodles = []", "matrix.modles: unknown field; allowed: backends, batch-sizes, "),
        ("[matrix]\nmodles = []", "Did you mean 'models'?"),
        ("[matrix]\nbatch_sizes = [3]", "matrix.batch_sizes: unknown field; allowed: "),
        ("[matrix]\nmodels = []", "matrix.models: [] is empty; allowed: one value or more"),
        ('[matrix]\nmodels = "m5"', "matrix.models: 'm5' should be an array"),
        ('[matrix]\nmodels = ["m5", 3]', "matrix.models[1]: 3 should be a string"),
        ('[matrix]\nmodels = ["m5", "m5"]', "matrix.models: ['m5', 'm5'] has 'm5' twice"),
        (
            '[matrix]\nmodels = ["m5"]\ndevices = ["gup"]',
            "matrix.devices[0]: 'gup' should be 'cpu', 'gpu' or 'all'. Did you mean 'gpu'?",
        ),
        (
            '[matrix]\nmodels = ["m5"]\nprecisions = ["float23"]',
            "matrix.precisions[0]: 'float23' should be 'float32', ",
        ),
        (
            '[matrix]\nmodels = ["m5"]\nbatch-sizes = [0]',
            "matrix.batch-sizes[0]: 0 should be greater than or equal to 1",
        ),
        ('[matrix]\nmodels = ["m5"]\nseeds = 0', "matrix.seeds: 0 should be greater than or"),
        ('[matrix]\nmodels = ["m5"]\nseeds = "3"', "matrix.seeds: '3' should be an integer"),
        (
            '[matrix]\nmodels = ["m5"]\ntimeout = "900,compil:1"',
            "matrix.timeout: '900,compil:1' does not fit; allowed: SECONDS, and PHASE:SECONDS",
        ),
        ('[matrix]\nmodels = ["m5"]\ntimeout = 0', "matrix.timeout: 0 does not fit; allowed: 1 to"),
        ('[matrix]\nmodels = ["m5"]\ntimeout = true', "matrix.timeout: true should be a string"),
        (
            '[matrix]\nmodels = ["m5"]\nmemory = "8"',
            "matrix.memory: '8' does not fit; allowed: 10MB",
        ),
        (
            '[matrix]\nmodels = ["m5"]\nexclude = [{modle = "m5"}]',
            "matrix.exclude[0].modle: unknown field; allowed: batch-size, dataset, device, model, ",
        ),
        (
            '[gate]\nfail-on = "trian:5%"',
            "gate.fail-on: 'trian:5%' unknown measure 'trian'; allowed: train, predict, compile, ",
        ),
        (
            '[gate]\nfail-on = "train:5pt"',
            "gate.fail-on: 'train:5pt' does not fit; allowed: a number",
        ),
        (
            '[gate]\nallow-changed = ["verions"]',
            "gate.allow-changed[0]: 'verions' is unknown; allowed: ",
        ),
        ('[gate]\nthreshold = "much"', "gate.threshold: 'much' does not fit; allowed: a number"),
        ("[gate]\ninconclusive-ok = 1", "gate.inconclusive-ok: 1 should be true or false"),
        (
            '[matrix]\nmodels = ["mnist-1cov"]',
            "matrix.models[0]: unknown model 'mnist-1cov'; known: ",
        ),
        ('[matrix]\nmodels = ["mnist-1cov"]', "Did you mean 'mnist-1conv'?"),
        (
            '[matrix]\nmodels = ["m5"]\ndatasets = ["mnist", "cifra10"]',
            "matrix.datasets[1]: unknown dataset 'cifra10'; known: ",
        ),
        ("[matrix]\nseeds = 99999999999999999999999", "matrix.seeds: an integer of more than 64"),
    ],
    ids=lambda text: text[:40],
)
def test_each_mistake_is_named_with_path_value_and_what_is_allowed(here, text, line):
    first, *lines = mistakes(text)
    assert re.fullmatch(r"harness.toml: \d mistakes?", first)
    assert any(line in one for one in lines), lines


def test_all_mistakes_are_said_at_once_and_where(here):
    lines = mistakes('[matrix]\nmodels = []\nseeds = 0\n[gate]\nfail_on = "train:5%"\n')
    assert lines[0] == "harness.toml: 3 mistakes"
    Path("pyproject.toml").write_text("[tool.harness]\nmatrx = 1\n")
    with pytest.raises(UsageError, match=r"^pyproject.toml, \[tool.harness\]: 1 mistake\n"):
        read_config(None)


# Combined


def test_every_value_is_combined_with_every_other_and_the_rest_holds_for_all(here):
    found = combine(
        matrix(
            'models = ["mnist-1conv", "mnist-2conv"]\ndatasets = ["digits", "mnist"]\n'
            'batch-sizes = [32, 64]\nbackends = ["torch", "flax"]\nseeds = 5\nepochs = 2\n'
        ),
        OPTIONS,
        {},
    )
    assert [one.name for one in found] == [
        "1-mnist-1conv-digits-b32",
        "2-mnist-1conv-digits-b64",
        "3-mnist-1conv-mnist-b32",
        "4-mnist-1conv-mnist-b64",
        "5-mnist-2conv-digits-b32",
        "6-mnist-2conv-digits-b64",
        "7-mnist-2conv-mnist-b32",
        "8-mnist-2conv-mnist-b64",
    ]
    assert {(one.options["seeds"], one.options["epochs"]) for one in found} == {(5, 2)}
    assert {one.options["backend"] for one in found} == {"torch,flax"}
    assert found[0].title == "mnist-1conv on digits, batch 32, float32"
    assert set(found[0].options) == set(OPTIONS)


def test_names_of_folders_are_different_and_safe(here):
    from harness.run.matrix_folder import Asked

    wild = matrix('models = ["m5"]\ndatasets = ["npz:a/../b.npz", "synthetic:6x6x1:3:84"]\n')
    names = [one.name for one in combine(wild, OPTIONS, {})]
    assert names == ["1-m5-npz-a-..-b.npz", "2-m5-synthetic-6x6x1-3-84"]
    assert all("/" not in name for name in names)
    assert isinstance(combine(wild, OPTIONS, {})[0], Asked)


def test_what_is_excluded_is_left_out(here):
    text = (
        'models = ["resnet-18", "resnet-20", "m5"]\nbatch-sizes = [32, 64]\n'
        'exclude = [{model = "resnet-*", batch-size = 32}, {model = "m5"}]\n'
    )
    found = combine(matrix(text), OPTIONS, {})
    assert [(one.options["model"], one.options["batch_size"]) for one in found] == [
        ("resnet-18", 64),
        ("resnet-20", 64),
    ]
    with pytest.raises(UsageError, match="matrix: 0 runs; allowed: 1 to"):
        combine(matrix(text), OPTIONS, {"model": "m5"})


def test_the_command_line_wins_and_leaves_of_an_axis_its_own_value(here):
    text = 'models = ["m5", "resnet-20"]\nbatch-sizes = [32, 64]\nseeds = 5\nepochs = 9\n'
    given = {"model": "mnist-1conv", "seeds": 1, "batch_size": 8}
    (one,) = combine(matrix(text), OPTIONS, given)
    assert (one.options["model"], one.options["batch_size"]) == ("mnist-1conv", 8)
    assert (one.options["seeds"], one.options["epochs"]) == (1, 9)


def test_no_one_can_want_too_many_runs(here):
    numbers = ", ".join(map(str, range(1, 1000)))
    text = f'models = ["m5"]\nbatch-sizes = [{numbers}]\nprecisions = ["float32", "float64"]\n'
    text += 'datasets = ["digits", "mnist", "cifar10", "cifar100", "fashion-mnist", "npz:x"]\n'
    with pytest.raises(UsageError, match="matrix: 11988 runs; allowed: 1 to 10000"):
        combine(matrix(text), OPTIONS, {})


# The file to start from


def test_what_init_writes_is_valid_and_has_every_field(harness, here):
    said = harness("init", "--config")
    assert said.code == 0
    assert said.out == (
        "Wrote harness.toml. Next: python -m harness run --matrix --config harness.toml\n"
    )
    text = Path("harness.toml").read_text()
    assert read_matrix(Path("harness.toml"))[0].models == ("mnist-1conv",)
    fields = {f.alias for kind in (Matrix, Gate) for f in kind.model_fields.values()}
    written = set(re.findall(r"^#?([a-z-]+) = ", text, re.MULTILINE))
    assert written == fields


OFF = re.findall(r"^#[a-z-]+ = .*$", starting_config(), re.MULTILINE)


@pytest.mark.parametrize("line", OFF)
def test_each_field_that_is_left_out_can_be_switched_on(here, line):
    text = starting_config().replace(f"\n{line}\n", f"\n{line[1:]}\n")
    assert tomllib.loads(text) != tomllib.loads(starting_config())
    Path("harness.toml").write_text(text)
    assert read_matrix(Path("harness.toml"))


# Gates


@pytest.fixture
def judged(monkeypatch):
    """What `compare` is asked to judge by."""
    from harness.verdict import compare
    from harness.verdict.report import Report

    asked = {}

    def fake(old, new, thresholds, allowed, inconclusive_ok, skip_absent):
        asked.update(limits=thresholds, allowed=allowed, ok=inconclusive_ok, absent=skip_absent)
        return Report("title", [], inconclusive_ok)

    monkeypatch.setattr(compare, "compare", fake)
    return asked


GATE = '[gate]\nfail-on = "train:7%"\nallow-changed = ["versions"]\ninconclusive-ok = true\n'


def test_compare_takes_its_gate_from_the_file_and_says_so(harness, judged):
    Path("gate.toml").write_text(GATE)
    said = harness("compare", "a", "b", "--config", "gate.toml")
    assert said.err == "gate: gate.toml\n"
    assert judged == {
        "limits": {"train": 0.07},
        "allowed": frozenset({"versions"}),
        "ok": True,
        "absent": False,
    }


def test_the_command_line_wins_over_the_gate(harness, judged):
    Path("pyproject.toml").write_text(GATE.replace("[gate]", "[tool.harness.gate]"))
    own = ("--fail-on", "memory:1%", "--allow-changed", "code", "--no-inconclusive-ok")
    harness("compare", "a", "b", *own)
    assert judged["limits"] == {"memory": 0.01}
    assert judged["allowed"] == frozenset({"code"})
    assert judged["ok"] is False


def test_without_a_file_compare_is_as_it_was(harness, judged):
    from harness.verdict.limits import DEFAULT

    assert harness("compare", "a", "b").err == ""
    assert judged["limits"] == parse_limits(DEFAULT)
    assert (judged["allowed"], judged["ok"], judged["absent"]) == (frozenset(), False, True)


def test_a_mistake_in_the_gate_stops_compare(harness, judged):
    Path("pyproject.toml").write_text('[tool.harness.gate]\nfail-on = "trian:5%"\n')
    said = harness("compare", "a", "b")
    assert said.code == 2
    assert "gate.fail-on: 'trian:5%' unknown measure 'trian'" in said.err
    assert judged == {}


@pytest.mark.parametrize(
    ("own", "rule"),
    [
        ((), ("4%", "9%", True)),
        (("--threshold", "1%"), ("1%", None, True)),
        (("--tolerance", "8%", "--no-inconclusive-ok"), ("4%", "8%", False)),
    ],
)
def test_ab_takes_its_limits_from_the_gate(harness, monkeypatch, own, rule):
    from harness.verdict import ab

    asked = []

    def fake(measure, threshold, tolerance, pairs, most_pairs, seconds):
        asked.append((threshold, tolerance))
        raise UsageError("that is enough")

    monkeypatch.setattr(ab, "parse_rule", fake)
    Path("gate.toml").write_text(
        '[gate]\nthreshold = "4%"\ntolerance = "9%"\ninconclusive-ok = true\n'
    )
    said = harness("ab", "torch", "torch", "--config", "gate.toml", *own)
    assert "that is enough" in said.err
    assert asked == [rule[:2]]


def test_a_configuration_without_a_matrix_is_of_no_use_to_a_single_run(harness):
    said = harness("run", "--config", "harness.toml")
    assert said.code == 2
    assert "--config is of --matrix. Try: --matrix --config FILE" in said.err


# The page that explains it

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_the_example_in_the_documentation_is_valid_and_every_field_is_explained(here, monkeypatch):
    from harness.config import read

    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    Path("pyproject.toml").write_text(example)
    monkeypatch.setattr(read, "load_spec", lambda _: None)  # nets/my-net.toml is the reader's own
    found, _ = read_matrix(None)
    assert len(combine(found, OPTIONS, {})) == 3 * 2 * 2 * 2 - 4 - 6 + 1
    fields = {f.alias for kind in (Matrix, Gate) for f in kind.model_fields.values()}
    assert [
        name for name in sorted(fields) if f"`{name}`" not in PAGE and f"`{name} =" not in PAGE
    ] == []


def test_every_command_in_the_documentation_can_be_parsed():
    from typer.main import get_command

    from harness.cli import app

    lines = re.findall(r"^python -m harness (.*)$", PAGE, re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        name, *words = shlex.split(line)
        assert get_command(app).commands[name].make_context(name, words)


def test_the_exit_codes_in_the_documentation_are_those_of_the_main_help():
    from harness.cli import app

    codes = re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
    assert codes == re.findall(r"\b(\d+) [a-zA-Z]", app.info.epilog.partition("Exit codes: ")[2])
