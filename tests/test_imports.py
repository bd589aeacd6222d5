"""Who imports whom: one direction, and frameworks only in the backends, only when needed."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FRAMEWORKS = frozenset("tensorflow keras torch jax jaxlib flax optax".split())

# A part of the harness imports parts of a lower rank, and itself. What is not listed, like the
# command line, stands above all, and may import anything.
RANK = {
    "": 0,  # harness/__init__.py
    "errors": 1,
    "sheets": 1,
    "output": 2,
    "spec": 2,
    "data": 2,
    "contract": 3,
    "machine": 3,
    "registry": 4,
    "run": 5,
    "verdict": 6,
    "exchange": 6,
    "check": 7,
    "testing": 8,
    "fuzz": 8,
    "doctor": 6,
    "config": 7,
    "loggers": 10,
    "show": 9,
}
TOP = 11
BACKENDS_MAY = ("backends", "harness.contract", "harness.spec")


@dataclass(frozen=True)
class Import:
    """A dotted name that a line imports; `eager` means as soon as its file is."""

    name: str
    line: int
    eager: bool


def imports(source: str, package: str) -> Iterator[Import]:
    """Every import of a file of `package`; what is imported from a module counts as part of it."""

    def walk(node: ast.AST, eager: bool) -> Iterator[Import]:
        names: list[str] = []
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom():
                above = package.split(".")[: len(package.split(".")) + 1 - node.level]
                base = [*(above if node.level else []), *filter(None, [node.module])]
                names = [".".join([*base, alias.name]) for alias in node.names]
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="__import__")):
                names = [a.value for a in node.args if isinstance(a, ast.Constant)][:1]
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                eager = False
        yield from (Import(name, node.lineno, eager) for name in names)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, eager)

    return walk(ast.parse(source), True)


def part(name: str) -> str:
    """The part of the harness that a dotted name lies in: `spec` of `harness.spec.layers`."""
    first = name.split(".")[1] if "." in name else ""
    exists = any((ROOT / "harness" / f"{first}{end}").exists() for end in ("", ".py"))
    return first if (first in RANK or exists) and first != "__init__" else ""


def is_within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def problems(file: str, source: str) -> list[str]:
    """What the imports of `file`, a path from the repository's root, do against the rules."""
    path = Path(file)
    found = []
    for item in imports(source, ".".join(path.parent.parts)):
        root, reason = item.name.split(".")[0], ""
        if path.parts[0] == "harness":
            own, other = part(".".join(path.with_suffix("").parts)), part(item.name)
            if root in FRAMEWORKS:
                reason = "is a framework"
            elif root == "backends":
                reason = "is a backend"
            elif root == "harness" and other not in (own, ""):
                rank, its = RANK.get(own, TOP), RANK.get(other, TOP)
                if its > rank or (its == rank != TOP):
                    reason = f"is not below {own or 'the package itself'}"
        elif root == "harness" and not is_within(item.name, BACKENDS_MAY):
            reason = "is none of the backends' business"
        elif root in FRAMEWORKS and item.eager:
            reason = "is a framework, imported before it is needed"
        if reason:
            found.append(f"{file}:{item.line}: {item.name} {reason}")
    return found


def files(folder: str) -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("file", files("harness") + files("backends"))
def test_every_file_imports_only_what_it_may(file):
    assert problems(file, (ROOT / file).read_text()) == []


def test_the_files_are_found():
    assert {"harness/__init__.py", "harness/errors.py", "harness/run/process.py"} <= set(
        files("harness")
    )
    assert "backends/torch_backend.py" in files("backends")


FRAMEWORK, BACKEND = "is a framework", "is a backend"
BAD = [
    ("spec/x.py", "import torch", FRAMEWORK),
    ("spec/x.py", "import torch.nn.functional as F", FRAMEWORK),
    ("spec/x.py", "from jax import numpy", FRAMEWORK),
    ("spec/x.py", "def f():\n    import keras", FRAMEWORK),
    ("spec/x.py", "class A:\n    async def f(self):\n        from flax import nnx", FRAMEWORK),
    ("spec/x.py", "try:\n    import optax\nexcept ImportError:\n    pass", FRAMEWORK),
    ("spec/x.py", "import importlib\nimportlib.import_module('tensorflow')", FRAMEWORK),
    ("spec/x.py", "__import__('jaxlib')", FRAMEWORK),
    ("spec/x.py", "import backends", BACKEND),
    ("spec/x.py", "from backends.numpy_backend import NumpyBackend", BACKEND),
    ("spec/x.py", "from harness.run.plan import Plan", "is not below spec"),
    ("spec/x.py", "from harness import run", "is not below spec"),
    ("spec/x.py", "from ..run import plan", "is not below spec"),
    ("spec/x.py", "from .. import contract", "is not below spec"),
    ("spec/x.py", "import harness.data", "is not below spec"),
    ("spec/x.py", "import harness.cli", "is not below spec"),
    ("errors.py", "from harness.spec import Spec", "is not below errors"),
    ("__init__.py", "from harness.errors import HarnessError", "is not below the package itself"),
    ("contract.py", "import harness.registry", "is not below contract"),
    ("run/x.py", "from harness.check import ladder", "is not below run"),
    ("run/x.py", "def f():\n    from harness.show import table", "is not below run"),
    ("verdict/x.py", "from harness.exchange import graph", "is not below verdict"),
    ("verdict/x.py", "import harness.check", "is not below verdict"),
    ("run/x.py", "from harness.exchange import graph", "is not below run"),
    ("exchange/x.py", "from harness.check import ladder", "is not below exchange"),
    ("exchange/x.py", "def f():\n    import keras", FRAMEWORK),
    ("show/x.py", "from harness import cli", "is not below show"),
]
OTHERS, EARLY = "is none of the backends' business", "imported before it is needed"
BAD_BACKEND = [
    ("from harness.run.messages import read_message", OTHERS),
    ("from harness import registry", OTHERS),
    ("import harness", OTHERS),
    ("from harness.contractual import x", OTHERS),
    ("def f():\n    from harness.errors import HarnessError", OTHERS),
    ("import torch", EARLY),
    ("class A:\n    import jax", EARLY),
    ("try:\n    from tensorflow import keras\nexcept ImportError:\n    pass", EARLY),
]
EXAMPLES = [
    *((f"harness/{file}", source, reason) for file, source, reason in BAD),
    *(("backends/x.py", source, reason) for source, reason in BAD_BACKEND),
]


@pytest.mark.parametrize(("file", "source", "reason"), EXAMPLES)
def test_an_import_against_the_rules_is_noticed(file, source, reason):
    (problem,) = problems(file, source)
    assert problem.startswith(f"{file}:")
    assert problem.endswith(reason)


def test_an_import_is_named_with_its_line():
    source = "import numpy\n\nfrom harness.run.process import WorkerProcess, END_SECONDS\n"
    assert problems("harness/data/x.py", source) == [
        "harness/data/x.py:3: harness.run.process.WorkerProcess is not below data",
        "harness/data/x.py:3: harness.run.process.END_SECONDS is not below data",
    ]


GOOD = [
    ("harness/spec/x.py", "from harness.spec.layers import Layer\nfrom . import model"),
    ("harness/spec/x.py", "import harness\nfrom harness import __version__"),
    ("harness/spec/x.py", "import numpy\nTEXT = 'import torch'\nx = importlib.import_module(y)"),
    ("harness/run/x.py", "from harness import data, spec, registry\nimport harness.run.plan"),
    ("harness/exchange/x.py", "import onnx\nfrom harness.run.weights import write_weights"),
    ("harness/show/x.py", "from harness.verdict.accuracy import judge_accuracy"),
    ("harness/cli.py", "from harness.show import table\nfrom harness import other_command"),
    ("harness/__main__.py", "from harness.cli import main"),
    ("backends/x.py", "from harness.contract import Backend\nfrom harness.spec import Dense"),
    ("backends/x.py", "from backends import stepwise\ndef prepare():\n    import torch"),
    ("backends/x.py", "from . import stepwise"),
]


@pytest.mark.parametrize(("file", "source"), GOOD)
def test_an_import_within_the_rules_is_not(file, source):
    assert problems(file, source) == []


def loaded(statement: str) -> set[str]:
    """The packages, by their first name, that a fresh interpreter has after a statement."""
    script = (
        f"import sys, json; before = set(sys.modules); {statement}\n"
        "print(json.dumps([m.split('.')[0] for m in set(sys.modules) - before]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_alone_loads_nothing_else():
    assert loaded("import harness") - set(sys.stdlib_module_names) == {"harness"}


MODULES = [
    ".".join(Path(file).with_suffix("").parts).removesuffix(".__init__")
    for file in files("harness")
    if not file.endswith("__main__.py")
]


def test_no_module_of_the_harness_loads_a_framework_or_a_backend():
    """One after the other in one process, so that the first to do it is named."""
    names = sorted(FRAMEWORKS | {"backends"})
    statement = (
        f"import importlib\nfor module in {MODULES}:\n    importlib.import_module(module)\n"
        f"    bad = set({names}) & set(sys.modules)\n"
        "    assert not bad, f'{module} imports {bad}'"
    )
    assert loaded(statement) & set(names) == set()


def test_files_of_other_tools_are_read_without_loading_their_packages_first():
    modules = [module for module in MODULES if module.startswith("harness.exchange")]
    assert modules
    assert loaded(f"import {', '.join(modules)}") & {"onnx", "onnxruntime", "h5py"} == set()


@pytest.mark.parametrize(
    "module", ["harness.spec", "harness.data", "harness.contract", "harness.run.process"]
)
def test_what_a_worker_needs_first_is_light(module):
    heavy = {*FRAMEWORKS, "backends", "scipy", "sklearn", "pooch", "rich", "typer", "pandas"}
    assert loaded(f"import {module}") & heavy == set()


def test_describing_the_backends_loads_their_classes_and_no_framework():
    found = loaded("from harness.registry import describe_here; assert describe_here()")
    assert "backends" in found
    assert found & FRAMEWORKS == set()
