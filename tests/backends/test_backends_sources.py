"""The generated sources as texts: whole, clean, harmless, and the same every time."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from studies import CHECKED, HERE, NETWORKS, Case, backends, cases, installed, material, network

from harness.errors import SpecError
from harness.registry import describe
from harness.spec import Spec, infer, parse_spec
from harness.spec.names import RESERVED

LABELS = [
    label
    for label, info in backends().items()
    if not info.error and label != "numpy@rounded"  # whose source is that of numpy
]
MIXED = [f"{label}_bfloat16" for label in LABELS if "bfloat16" in backends()[label].precisions]


def renamed(spec: Spec) -> tuple[Spec, dict[str, str]]:
    """Return the spec with names of the same length that no backend could think of."""
    names: dict[str, str] = {}

    def new(layer):
        if not layer.name:
            return layer.name
        return names.setdefault(layer.name, f"z{len(names)}{'q' * 60}"[: len(layer.name)])

    def all_new(layers):
        return tuple(
            layer.model_copy(
                update={"name": new(layer), **{f: inner(v) for f, v in layer if f in INNER}}
            )
            for layer in layers
        )

    def inner(value):
        is_branches = value and isinstance(value[0], tuple)
        return tuple(all_new(branch) for branch in value) if is_branches else all_new(value)

    return spec.model_copy(update={"layers": all_new(spec.layers)}), names


INNER = ("body", "shortcut", "layers", "branches")
DESCRIPTION = "\"\"\"\nimport os; os.abort()\n''' {braces} %s \\"


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """The folder of all sources: of every network, of it renamed, and described."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "specs").mkdir()
    for name in NETWORKS:
        spec = network(name)
        described = spec.model_copy(update={"description": DESCRIPTION})
        texts = {"as-is": spec, "renamed": renamed(spec)[0], "described": described}
        for kind, variation in texts.items():
            (folder / "specs" / f"{name}.{kind}.json").write_text(variation.model_dump_json())
    write(folder, "written", hash_seed=1)
    return folder


def write(folder, where, hash_seed):
    (folder / where).mkdir()
    specs = map(str, sorted((folder / "specs").iterdir()))
    subprocess.run(
        [sys.executable, str(HERE / "write_sources.py"), str(folder / where), *specs],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        check=True,
        timeout=300,
    )


def ruff(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_processes_write_the_same_whatever_the_hash_seed(sources):
    write(sources, "again", hash_seed=2)
    files = sorted((sources / "written").iterdir())
    everyone = [info for info in describe() if not info.error]  # those that only predict as well
    assert len(files) == (len(everyone) + len(MIXED)) * len(NETWORKS) * 3
    for path in files:
        assert path.read_text() == (sources / "again" / path.name).read_text(), path.name


@pytest.mark.parametrize("case", cases(NETWORKS), ids=str)
def test_what_a_worker_imports_is_what_is_written(lab, sources, case, study):
    written = sources / "written" / f"{case.network}.as-is_{case.label}.py"
    assert lab.bench(case.label).source(case.network).read_text() == written.read_text()


@pytest.mark.parametrize("label", [*LABELS, *MIXED])
def test_sources_are_clean_for_ruff(sources, label):
    files = [str(path) for path in sources.glob(f"written/*.as-is_{label}.py")]
    assert len(files) == len(NETWORKS)
    ruff("check", "--isolated", "--no-cache", *files)
    ruff("format", "--isolated", "--no-cache", "--check", "--line-length", "100", *files)


@pytest.mark.parametrize("label", [*LABELS, *MIXED])
@pytest.mark.parametrize("name", NETWORKS)
def test_sources_compile_and_end_in_one_newline(sources, label, name):
    text = (sources / "written" / f"{name}.as-is_{label}.py").read_text()
    compile(text, f"{name}_{label}", "exec")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert text.isascii()


@pytest.mark.parametrize("label", [*LABELS, *MIXED])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_only_names_of_layers_are_those_of_the_spec(sources, label, name):
    text = (sources / "written" / f"{name}.renamed_{label}.py").read_text()
    for original, new in renamed(network(name))[1].items():
        assert not re.search(rf"self\.{original}\b|name=\"{original}\"|# {original}\b", text)
        text = text.replace(new, original)
    assert text == (sources / "written" / f"{name}.as-is_{label}.py").read_text()


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_description_stays_out_of_the_source(sources, label, name):
    described = (sources / "written" / f"{name}.described_{label}.py").read_text()
    assert described == (sources / "written" / f"{name}.as-is_{label}.py").read_text()


HOSTILE = [
    'a"""\nimport os; os.abort()\n"""',
    "a\nimport os",
    "a'; import os #",
    "a{0}",
    "a%s",
    "a\\n",
    "a b",
    "../a",
    "a" * 65,
    "\u0430",  # a Cyrillic letter that looks like a Latin one
    "",
]
TEXT = """
name = {spec}
input = [2, 2, 1]
layers = [{{ type = "flatten" }}, {{ type = "dense", units = 2, name = {layer} }}]
"""


def toml(value: str) -> str:
    return '"' + "".join(f"\\U{ord(character):08x}" for character in value) + '"'


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_name_that_could_be_code_is_refused_before_any_source_is_written(hostile):
    assert infer(parse_spec(TEXT.format(spec='"fine"', layer='"fine"'), "test")).parameter_count
    with pytest.raises(SpecError, match="name"):
        parse_spec(TEXT.format(spec=toml(hostile), layer='"fine"'), "test")
    with pytest.raises(SpecError, match=r"layers\[1\]\.name"):
        parse_spec(TEXT.format(spec='"fine"', layer=toml(hostile)), "test")


@pytest.mark.parametrize("word", ["x", "self", "import", "match", "torch", "forward", "training"])
def test_a_layer_is_not_named_like_what_the_sources_use(word):
    with pytest.raises(SpecError, match="reserved"):
        parse_spec(TEXT.format(spec='"fine"', layer=f'"{word}"'), "test")


OWNERS = {"flax": "flax.nnx", "tensorflow": "tensorflow", "torch": "torch.nn"}


@pytest.mark.parametrize("label", [pytest.param(one, marks=installed(one)) for one in OWNERS])
def test_a_layer_is_not_named_like_what_generated_classes_inherit(label):
    """Its module would hide behind the method, or take its place."""
    program = f"import {OWNERS[label]} as owner; print(*dir(owner.Module))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    )
    inherited = [word for word in done.stdout.split() if re.fullmatch(r"[a-z][a-z0-9_]*", word)]
    assert "name" in inherited or "train" in inherited
    assert sorted(set(inherited) - RESERVED) == []


COLLISION = """
name = "collision"
input = [2, 2, 1]
layers = [
  { type = "flatten", name = "a_b" },
  { type = "residual", name = "a", body = [{ type = "dense", units = 4, name = "b" }] },
]
"""


def test_keras_refuses_two_layers_for_which_it_has_but_one_name():
    program = (
        "import sys; from backends.keras_backend import KerasBackend; "
        "from harness.spec import parse_spec; "
        "KerasBackend().source(parse_spec(sys.argv[1], 'test'), '')"
    )

    def written(spec):
        command = [sys.executable, "-c", program, spec]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

    refused = written(COLLISION)
    assert refused.returncode
    assert "layers 'a_b' and 'a.b': Keras would call both 'a_b'" in refused.stderr
    assert not written(COLLISION.replace("a_b", "a_add")).returncode


def test_a_source_that_is_given_is_imported_as_it_lies_there(lab):
    case = Case("numpy", "dense")
    written = lab.study(case)["activations"]["dense1"]
    path = lab.bench("numpy").source("dense")
    before = path.read_text()
    given = Case(
        "numpy", "dense", edits=(('activations.Relu("dense1")', 'activations.Softmax("dense1")'),)
    )

    def activations(ask):
        ask("reset", material("dense").parameters, seed=0)
        return ask("activations", {"images": material("dense").images[:CHECKED]})[1]

    found = lab.work(given, activations)["dense1"]
    assert np.allclose(found.sum(1), 1)
    assert not np.allclose(written.sum(1), 1)
    assert path.read_text() == before
