"""What the README says in figures and files is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from harness.contract import Device, Precision, faults_of
from harness.run.agreement import TOLERANCE
from harness.run.inference import CALLS, ROUNDS
from harness.run.peaks import BUDGET, CONVOLUTION_IMAGES, COPY_BYTES, PRODUCT_SIZE
from harness.run.pending import BLOCK_SECONDS, LEAST_SECONDS, LEAST_SHARE, TRIES
from harness.spec import infer, parse_spec
from harness.testing import BackendContract, networks

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
VERDICTS = (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8")
READING = (ROOT / "docs" / "reading-the-numbers.md").read_text(encoding="utf-8")
PERFORMANCE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "adding-a-backend.md").read_text(encoding="utf-8")


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


def test_the_models_in_the_readme_are_valid_specs():
    whole, *parts = re.findall(r"```toml\n(.*?)```", README, re.S)
    assert parse_spec(whole, "README.md").name == "my-net"
    for part in parts:
        head = "" if "[training" in part else 'name = "part"\ninput = [28, 28, 1]\n'
        assert parse_spec(head + part if head else whole + part, "README.md")


def test_the_tolerances_in_the_readme_are_those_of_the_code():
    assert f"within {TOLERANCE['float32']:g} in float32" in " ".join(README.split())
    assert f"and {TOLERANCE['float64']:g} in float64" in " ".join(README.split())


@pytest.mark.parametrize(
    "text",
    [README, GUIDE, VERDICTS, READING, PERFORMANCE],
    ids=["README", "guide", "verdicts", "reading", "performance"],
)
def test_every_command_in_the_documents_has_options_that_exist(text):
    from typer.main import get_command

    from harness.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    found = re.findall(r"python -m harness ([\w-]+)(.*)", text)
    assert found
    for name, rest in found:
        command = commands[name]
        inner = getattr(command, "commands", {})  # `history add` and `history show`
        command = inner.get(rest.split()[0], command) if inner else command
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(?<=\s)--?[a-z-]+", rest.partition("#")[0])) <= known, rest


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


@pytest.mark.parametrize("text", [GUIDE, READING], ids=["guide", "reading"])
def test_the_files_that_a_guide_links_to_exist(text):
    links = re.findall(r"\]\(([\w./-]+)\)", text)
    assert len(links) >= 5
    assert all((ROOT / "docs" / link).is_file() for link in links)


def test_the_shipped_networks_are_read_from_the_package():
    assert all(infer(networks.network(name)).parameters for name in networks.NAMES)
