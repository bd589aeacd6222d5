"""`emit` and `explain`, from the command line."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys

import pytest
from test_flow_cli import harness, place  # noqa: F401 (a fixture)

from harness.show.dialects import TITLES

FLAX, TORCH = "Flax (nnx and optax)", "PyTorch"


def emit(*arguments: str) -> subprocess.CompletedProcess[str]:
    return harness("emit", "--model", "mnist-1conv", *arguments)


def test_one_backend_is_printed_as_python(place):  # noqa: F811
    done = emit("--backend", "torch")
    assert done.returncode == 0, done.stderr
    tree = ast.parse(done.stdout)
    assert {"Model", "train_step", "main"} <= {getattr(node, "name", "") for node in tree.body}


def test_several_are_markdown_part_by_part(place):  # noqa: F811
    done = emit("--backend", "flax,torch")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"# mnist-1conv in {FLAX}, {TORCH}\n")
    headings = [line for line in done.stdout.splitlines() if line.startswith("## ")]
    titles = [f"## {title}" for title in TITLES.values()]
    assert headings == ["## What differs", *titles, "## Run them"]
    for title, part in zip(titles[1:], done.stdout.split("\n## ")[3:], strict=False):
        assert part.count("```python") == (1 if "Data" in title else 2)
    for block in done.stdout.split("```python\n")[1:]:
        ast.parse(block.partition("\n```")[0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-m", "mnist-1conv", "-o", "my net.py"), "Wrote my net.py. Next: python 'my net.py'\n"),
        (("-m", "small.toml", "-o", "net.py"), "Wrote net.py. Next: python net.py data.npz\n"),
        (("-m", "small.toml", "-o", "net.md"), "Wrote net.md.\n"),
    ],
)
def test_what_was_written_is_said_and_how_a_program_is_run(place, arguments, said):  # noqa: F811
    done = harness("emit", "-b", "torch", *arguments)
    assert (done.returncode, done.stdout) == (0, said), done.stderr


@pytest.mark.parametrize("suffix", ["md", "ipynb"])
def test_commands_in_what_is_written_name_the_file_that_was_given(place, suffix):  # noqa: F811
    done = harness("emit", "-m", "small.toml", "-b", "torch,flax", "-o", f"net.{suffix}")
    assert done.returncode == 0, done.stderr
    text = (place / f"net.{suffix}").read_text()
    commands = re.findall(r"python -m harness (\w+) --model ([\w.-]+)", text)
    assert set(commands) == {("check", "small.toml")} | (
        {("emit", "small.toml")} if suffix == "md" else set()
    )


def test_a_notebook_has_whole_programs_in_its_cells(place):  # noqa: F811
    assert emit("-b", "flax,torch", "-o", "both.ipynb").returncode == 0
    whole = json.loads((place / "both.ipynb").read_text())
    assert (whole["nbformat"], whole["nbformat_minor"]) == (4, 5)
    identifiers = [cell["id"] for cell in whole["cells"]]
    assert len(set(identifiers)) == len(identifiers)
    for cell in whole["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        assert ("outputs" in cell) == (cell["cell_type"] == "code")
    code = "".join(
        "".join(cell["source"]) + "\n\n\n"
        for cell in whole["cells"]
        if cell["cell_type"] == "code" and cell["id"].startswith("torch-")
    )
    program = emit("-b", "torch").stdout
    kept = program[program.index("import argparse") : program.index("\n\n\nif __name__")]
    lines = [line for line in code.splitlines() if line]
    assert lines == [*filter(None, kept.splitlines()), 'main(["--epochs", "3"])']


def test_a_folder_gets_a_program_of_each(place):  # noqa: F811
    done = emit("-b", "flax,keras@jax", "-o", "programs/")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (place / "programs").iterdir())
    assert names == ["mnist_1conv_flax.py", "mnist_1conv_keras_jax.py"]
    assert done.stdout.splitlines() == [f"programs/{name}" for name in names]


def test_a_backend_without_programs_shows_its_source(place):  # noqa: F811
    done = emit("--plugin", "flow_fakes:Twin")
    assert done.returncode == 0, done.stderr
    assert "twin: has no `script`; this is its source alone" in done.stderr
    ast.parse(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("-b", "pytorch"), "unknown backend 'pytorch'; known:"),
        (("-b", "numpy"), "backend 'numpy': it is the reference"),
        (("-b", "flax,torch", "-o", "x.py"), "a .py file is one program, and 2 backends"),
        (("-b", "torch", "-o", "x.txt"), "allowed: a folder, or a file that ends in .py"),
        (("-b", "torch", "-o", "nowhere/x.py"), "no folder to write to"),
        (("-m", "mnist-1con"), "Did you mean 'mnist-1conv'?"),
    ],
)
def test_what_cannot_be_emitted_is_refused(place, arguments, reason):  # noqa: F811
    done = emit(*arguments)
    assert done.returncode == 2
    assert reason in done.stderr
    assert done.stdout == ""


def explain(*arguments: str) -> subprocess.CompletedProcess[str]:
    given = ("--model", "small.toml", "-d", "synthetic:6x6x1:3:84", "--seed", "1")
    return harness("explain", *given, *arguments)


def test_gradients_agree_three_times_over(place):  # noqa: F811
    done = explain("--backend", "twin", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    layers = {layer["path"]: layer for layer in found["layers"]}
    assert found["loss"] == pytest.approx(found["automatic_loss"], rel=1e-12)
    elements = [e for layer in layers.values() for e in layer["elements"]]
    arrays = {element["array"] for element in elements}
    assert arrays == {p["path"] for p in found["parameters"] if not p["is_zero"]}
    for element in [*elements, *found["images_elements"]]:
        assert element["numeric"] == pytest.approx(element["by_hand"], rel=1e-4)
        assert element["automatic"] == pytest.approx(element["by_hand"], rel=1e-9)
    assert found["update"]["by_hand"] == pytest.approx(found["update"]["automatic"], rel=1e-9)
    assert found["update"]["by_hand"] != found["update"]["before"]


def test_a_wrong_gradient_shows(place):  # noqa: F811
    done = explain("--backend", "wrong", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    differences = {p["path"]: p["automatic_difference"] for p in found["parameters"]}
    assert max(differences.values()) > 1e-3


def test_the_text_fits_80_columns(place):  # noqa: F811
    done = explain("--backend", "twin")
    assert done.returncode == 0, done.stderr
    assert "L is a function of" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_network_that_is_off_is_said_to_be(place):  # noqa: F811
    done = explain("--backend", "twin", "--seed", "0")
    assert done.returncode == 0, done.stderr
    assert "Zero, or nothing but rounding, on these images: dense1.kernel" in done.stdout


def test_one_layer_alone(place):  # noqa: F811
    found = json.loads(explain("-b", "twin", "--layer", "dense1", "--json", "--quiet").stdout)
    assert [layer["path"] for layer in found["layers"]] == ["dense1"]
    assert found["images_elements"] == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("-l", "dense9"), "Did you mean 'dense1'? Try: python -m harness models small.toml"),
        (("-b", "pytorch"), "unknown backend 'pytorch'"),
        (("-b", "twin,wrong"), "allowed: one. Try: -b twin"),
        (("-b", "numpy"), "it differentiates by hand"),
        (("-d", "digits"), "takes 6x6x1 images"),
        (("--elements", "0"), "--elements 0; allowed: 1 to 20"),
    ],
)
def test_what_cannot_be_explained_is_refused(place, arguments, reason):  # noqa: F811
    done = explain(*arguments)
    assert done.returncode == 2
    assert reason in done.stderr


def test_both_have_examples_in_their_help(place):  # noqa: F811
    for command in ("emit", "explain"):
        assert f"python -m harness {command} " in harness(command, "--help").stdout


def test_no_formula_is_wider_than_a_terminal():
    program = (
        "from harness.show.formulas import layer_formulas, loss_formulas, update_formulas\n"
        "from harness.spec import infer, library, load_spec\n"
        "from harness.testing.networks import NAMES, network\n"
        "for spec in [*map(load_spec, library()), *map(network, NAMES)]:\n"
        "    for node in infer(spec).nodes:\n"
        "        assert layer_formulas(node), node\n"
        "        for line in layer_formulas(node):\n"
        "            print(len(line), spec.name, line)\n"
        "    for line in loss_formulas(spec.training) + update_formulas(spec.training):\n"
        "        print(len(line), spec.name, line)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    wide = {line for line in done.stdout.splitlines() if int(line.split()[0]) > 78}
    assert not wide
