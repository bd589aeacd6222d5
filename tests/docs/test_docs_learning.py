"""The learner's page, in both languages: the example is right, figures are what commands print."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from docs_pages import ROOT, fences, pages

from harness.contract import Setting
from harness.spec import load_spec

LANGUAGES = {"en": "docs/how-a-cnn-learns.md", "zh": "docs/how-a-cnn-learns.zh.md"}
TEXTS = {name: pages()[path] for name, path in LANGUAGES.items()}
SPEC = load_spec(str(ROOT / "docs" / "pencil.toml"))
NUMBER = r"-?\d+(?:\.\d+)?(?:/\d+)?"
MATRIX = re.compile(rf"^(\w+'?) =((?: +{NUMBER})+)$((?:\n +{NUMBER}(?: +{NUMBER})*$)*)", re.M)
PATHS = {"k": "conv1.kernel", "b": "conv1.bias", "W": "dense1.kernel", "c": "dense1.bias"}
H = 1e-6


def arrays_of(text: str) -> dict[str, np.ndarray]:
    """Every array of the worked example by its name: rows of whole numbers, decimals, fractions."""
    found = {}
    for block in fences(text, "text"):
        for name, first, others in MATRIX.findall(block):
            rows = [map(Fraction, row.split()) for row in (first + others).split("\n")]
            assert name not in found, f"{name} stands there twice"
            found[name] = np.array([list(map(float, row)) for row in rows])
    return found


EXAMPLE = {name: arrays_of(text) for name, text in TEXTS.items()}


class Paper:
    """The network on paper, computed by the reference backend from its spec."""

    def __init__(self, given: dict[str, np.ndarray], place: Path) -> None:
        # Not above: other tests see that their process imports no backend.
        from backends.numpy_backend import NumpyBackend

        backend = NumpyBackend()
        source = place / "pencil.py"
        source.write_text(backend.source(SPEC, ""), encoding="utf-8")
        self.session = backend.open(source, SPEC, "", Setting(precision="float64"))
        self.images = given["x"][np.newaxis, :, :, np.newaxis]
        self.targets = given["t"].astype(int)[0]
        self.parameters = {
            "conv1.kernel": given["k"][:, :, np.newaxis, np.newaxis],
            "conv1.bias": given["b"][0],
            "dense1.kernel": given["W"],
            "dense1.bias": given["c"][0],
        }
        self.session.reset(self.parameters, 0)
        self.result = self.session.gradients(self.images, self.targets)

    def forward(self) -> dict[str, np.ndarray]:
        conv, relu, pool, _, dense = (layer.output for layer in self.session.leaves)
        shares = np.exp(dense) / np.exp(dense).sum()
        return {"z": conv, "a": relu, "m": pool, "s": dense, "q": shares, "L": self.result.loss}

    def backward(self) -> dict[str, np.ndarray]:
        gradient = self.session.module.loss_fn(self.session.leaves[-1].output, self.targets)[1]
        found = {"ds": gradient}
        names = ("dm", "", "da", "dz", "dx")
        for name, layer in zip(names, reversed(self.session.leaves), strict=True):
            gradient = layer.backward(gradient)
            found[name] = gradient
        del found[""]  # of the flatten
        return found | {f"d{n}": self.result.parameters[path] for n, path in PATHS.items()}

    def step(self, rate: float) -> dict[str, np.ndarray]:
        self.session.load(self.images, self.targets)
        self.session.reset(self.parameters, 0)
        self.session.train(np.array([[0]]), np.array([rate]))
        now = self.session.state()
        found = {f"{name}'": now[path] for name, path in PATHS.items()}
        return found | {"L'": self.session.gradients(self.images, self.targets).loss}

    def slope(self, path: str, index: tuple[int, ...]) -> float:
        """The central difference of the loss by one value of a parameter, or of the image."""
        losses = []
        for sign in (1, -1):
            moved = {name: value.copy() for name, value in self.parameters.items()}
            images = self.images.copy()
            (images if path == "images" else moved[path])[index] += sign * H
            self.session.reset(moved, 0)
            losses.append(self.session.gradients(images, self.targets).loss)
        return (losses[0] - losses[1]) / (2 * H)


@pytest.fixture(params=LANGUAGES)
def language(request) -> str:
    return request.param


@pytest.fixture
def paper(language, tmp_path) -> Paper:
    return Paper(EXAMPLE[language], tmp_path)


def test_the_example_has_every_step_of_the_way_there_and_back():
    names = "x k b W c t z a m s q L ds dW dc dm da dz dk db dx k' b' W' c' L'"
    for found in EXAMPLE.values():
        assert set(found) == set(names.split())


def test_both_languages_have_the_same_example_commands_and_output():
    english, chinese = EXAMPLE.values()
    for name, value in english.items():
        np.testing.assert_array_equal(chinese[name], value)
    for kind in ("python", "sh", "toml"):
        assert fences(TEXTS["zh"], kind) == fences(TEXTS["en"], kind)
    assert printed(TEXTS["zh"]) == printed(TEXTS["en"])


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_the_example_is_what_the_reference_computes(way, language, paper):
    for name, value in getattr(paper, way)().items():
        written = EXAMPLE[language][name]
        assert written.size == np.size(value), name
        np.testing.assert_allclose(written.ravel(), np.ravel(value), atol=5e-7, err_msg=name)


def test_the_step_of_the_example_is_that_of_the_optimizer(language, paper):
    rate = SPEC.training.optimizer.learning_rate
    for name, value in paper.step(rate).items():
        written = EXAMPLE[language][name]
        np.testing.assert_allclose(written.ravel(), np.ravel(value), atol=5e-7, err_msg=name)
    promised = rate * sum(float((g**2).sum()) for g in paper.result.parameters.values())
    fell = paper.result.loss - float(EXAMPLE[language]["L'"][0, 0])
    assert f"{promised:.5f}" in TEXTS[language]
    assert f"{fell:.5f}" in TEXTS[language]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("dk", "conv1.kernel"),
        ("db", "conv1.bias"),
        ("dW", "dense1.kernel"),
        ("dc", "dense1.bias"),
        ("dx", "images"),
    ],
)
def test_every_derivative_of_the_example_is_that_of_the_loss(name, path, language, paper):
    shape = (paper.images if path == "images" else paper.parameters[path]).shape
    slopes = [paper.slope(path, index) for index in np.ndindex(*shape)]
    np.testing.assert_allclose(EXAMPLE[language][name].ravel(), slopes, atol=1e-6)


def test_the_products_that_are_written_out_are_right(language):
    found = re.findall(r"^(\w+)\[(\d),(\d)\] : (.*) = (\S+)$", TEXTS[language], re.MULTILINE)
    assert [name for name, *_ in found] == ["z", "dk", "dx"]
    for name, i, j, sum_, result in found:
        assert eval(sum_.replace("·", "*")) == float(result)
        assert EXAMPLE[language][name][int(i), int(j)] == float(result)


def test_the_file_is_the_one_on_the_page(language):
    text = (ROOT / "docs" / "pencil.toml").read_text(encoding="utf-8")
    assert fences(TEXTS[language], "toml") == [text]


def listings(text: str) -> list[tuple[str, str]]:
    """Python on the page, and the output that follows it."""
    return re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, re.S)


def test_the_lines_of_numpy_print_what_the_page_says():
    code, output = listings(TEXTS["en"])[0]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code, {})
    close(said.getvalue(), output)


def test_the_lines_of_pytorch_print_what_the_page_says():
    pytest.importorskip("torch")
    code, output = listings(TEXTS["en"])[1]
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    close(done.stdout, output)


def printed(text: str) -> dict[str, str]:
    """What commands print on the page, by the command above it, without its comment."""
    pairs = re.findall(
        r"```sh\n(python -m [^\n]*)\n```\n(?:(?!```).)*?```text\n(.*?)```", text, re.S
    )
    return dict(pairs)


DIFFERENCE = re.compile(r"^\de[+-]\d+$")  # one digit: what rounding left, another on each machine


def close(found: str, wanted: str) -> None:
    """Compare word by word: words must be the same, numbers to five digits, differences small."""
    words = [re.sub(r"[(),;]", " ", text).split() for text in (found, wanted)]
    assert len(words[0]) == len(words[1]), found
    for one, other in zip(*words, strict=True):
        plain = [re.sub(r"[\[\].]+$|^[\[]+|tensor|,", "", word) for word in (one, other)]
        try:
            values = [float(word) for word in plain]
        except ValueError:
            assert one == other
            continue
        if DIFFERENCE.match(other):
            assert values[0] < 1e-5
        else:
            assert values[0] == pytest.approx(values[1], rel=2e-5, abs=1e-12), (one, other)


def harness(command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, *command.split()[1:]],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_layers_of_the_example_are_those_that_the_command_lists():
    close(harness("python -m harness models docs/pencil.toml"), printed(TEXTS["en"])[MODELS])


MODELS = "python -m harness models docs/pencil.toml"
EXPLAIN = "python -m harness explain --model mnist-1conv --backend torch"


def test_the_figures_of_a_real_batch_are_those_that_the_command_prints():
    pytest.importorskip("torch")
    close(harness(EXPLAIN), printed(TEXTS["en"])[EXPLAIN])


def test_the_four_frameworks_agree_on_the_page(language):
    rows = re.findall(r"^\| (\w+) \| (\S+) \| (\S+) \| (\S+) \|$", TEXTS[language], re.MULTILINE)
    named = {name: [float(value) for value in values] for name, *values in rows}
    assert set(named) == {"numpy", "flax", "keras", "tensorflow", "torch"}
    for values in named.values():
        assert values == pytest.approx(named["numpy"], rel=1e-9)
    shown = printed(TEXTS["en"])[EXPLAIN]
    assert f"{named['torch'][0]:.6f}" in shown


@pytest.mark.parametrize("framework", ["flax", "keras", "tensorflow", "torch"])
def test_the_sources_on_the_page_are_those_that_are_emitted(framework):
    program = harness(f"python -m harness emit --model mnist-1conv --backend {framework}")
    parts = re.findall(rf"<!-- {framework} -->\n```python\n(.*?)```", TEXTS["en"], re.S)
    assert len(parts) == 1
    for piece in re.split(r"\n *\.\.\.\n", parts[0]):
        assert piece.strip("\n") in program, piece
