"""What the pages say in figures, in files and in Python is so."""

from __future__ import annotations

import ast
import re
import textwrap
from typing import get_args

import pytest
from docs_pages import fences, pages

from harness.contract import Device, Precision, faults_of
from harness.run.agreement import TOLERANCE
from harness.run.inference import CALLS, ROUNDS
from harness.run.peaks import BUDGET, CONVOLUTION_IMAGES, COPY_BYTES, PRODUCT_SIZE
from harness.run.pending import BLOCK_SECONDS, LEAST_SECONDS, LEAST_SHARE, TRIES
from harness.spec import infer, parse_spec
from harness.testing import BackendContract, networks

PAGES = pages()
MEASURED = PAGES["docs/how-it-is-measured.md"]
PERFORMANCE = PAGES["docs/performance.md"]
GUIDE = PAGES["docs/adding-a-backend.md"]
MODELS = PAGES["docs/adding-a-model.md"]


def test_what_the_page_on_performance_says_is_measured_is():
    text = " ".join(PERFORMANCE.split())
    for kind, sizes in {
        "rows": PRODUCT_SIZE,
        "to 128, images": CONVOLUTION_IMAGES,
    }.items():
        assert f"{kind} | {sizes['cpu']:,} | {sizes['gpu']:,} |" in text
    copies = [", ".join(f"{n / 2**20:,g}" for n in COPY_BYTES[d]) for d in ("cpu", "gpu")]
    assert f"copies, MiB | {copies[0]} | {copies[1]} |" in text
    assert f"repeated for {BUDGET:g} seconds" in text
    assert (ROUNDS, CALLS.budget, CALLS.most) == (10, 0.2, 100)
    assert "then ten rounds" in text
    assert "about 0.2 seconds, at most 100 times" in text


def test_the_models_in_the_guide_are_valid_specs():
    whole, *parts = fences(MODELS, "toml")
    assert parse_spec(whole, "adding-a-model.md").name == "my-net"
    for part in parts:
        head = "" if "[training" in part else 'name = "part"\ninput = [28, 28, 1]\n'
        assert parse_spec(head + part if head else whole + part, "adding-a-model.md")


def test_the_tolerances_in_the_text_are_those_of_the_code():
    assert f"within {TOLERANCE['float32']:g} in float32" in " ".join(MEASURED.split())
    assert f"and {TOLERANCE['float64']:g} in float64" in " ".join(MEASURED.split())


@pytest.mark.parametrize("path", [path for path in PAGES if fences(PAGES[path], "python")])
def test_python_in_the_pages_is_python(path):
    for block in fences(PAGES[path], "python"):
        ast.parse(textwrap.dedent(block))


def test_the_first_class_of_the_guide_is_a_backend():
    first, suite = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    names: dict = {}
    exec(first, names)
    backend = names["MyBackend"]()
    assert faults_of(backend) == []
    assert list(backend.versions()) == ["numpy"]
    assert backend.source(parse_spec(MODEL, "guide"), "").startswith('"""guide, as an expert')
    exec(suite, names)
    assert issubclass(names["TestMine"], BackendContract)


MODEL = (
    'name = "guide"\ninput = [2, 2, 1]\nlayers = [{type = "flatten"}, {type = "dense", units = 2}]'
)


def test_the_guide_names_every_test_and_every_choice_of_the_suite():
    chapter = GUIDE[GUIDE.index("## The suite") :]
    named = set(re.findall(r"^\| `(\w+)` \|", chapter, re.M))
    members = {name for name in vars(BackendContract) if not name.startswith(("_", "pytest_"))}
    assert named == members - {"subject"}
    (start,) = re.findall(r"`\((.*)\)` is a start", GUIDE)
    assert {name.strip(' "') for name in start.split(",")} <= set(networks.NAMES)
    assert {"float64", "float32", "tf32", "bfloat16"} == set(get_args(Precision))
    assert {"cpu", "gpu"} == set(get_args(Device))


def test_the_figures_of_the_self_test_in_the_guide_are_those_of_the_code():
    text = " ".join(GUIDE.split())
    assert f"a block of about {1000 * BLOCK_SECONDS:g} ms" in text
    assert f"more than {1000 * LEAST_SECONDS:g} ms and more than a quarter" in text
    assert (LEAST_SHARE, TRIES) == (0.25, 5)
    assert "the median of five such blocks" in text


def test_the_shipped_networks_are_read_from_the_package():
    assert all(infer(networks.network(name)).parameters for name in networks.NAMES)
