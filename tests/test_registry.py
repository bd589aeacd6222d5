from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import pytest

from harness import registry
from harness.errors import HarnessError, NotInstalledError, UsageError
from harness.registry import BackendInfo, describe, load_backend, select


def info(backend: str, variant: str = "", **changes: object) -> BackendInfo:
    extra = backend.replace("flax", "jax")
    fields = {
        "target": f"backends.{backend}_backend:Backend",
        "in_all": True,
        "missing": (),
        "versions": {backend: "1.0"},
        "install": f'pip install "cnn-harness[{extra}]"',
        **changes,
    }
    return BackendInfo(backend, variant, **fields)


KNOWN = [
    info("flax", missing=("flax", "jax")),
    info("keras"),
    info("keras", "jax", missing=("jax",)),
    info("numpy", in_all=False),
    info("tensorflow"),
    info("tensorflow", "graph"),
    info("torch"),
    info("torch", "compile"),
    info("zig", in_all=False, error="SyntaxError: invalid syntax (zig.py, line 1)"),
]
LABELS = "flax, keras, keras@jax, numpy, tensorflow, tensorflow@graph, torch, torch@compile, zig"


def chosen(request: str) -> list[str]:
    return [found.label for found in select(request, KNOWN)[0]]


def skipped(request: str) -> dict[str, str]:
    return {found.label: reason for found, reason in select(request, KNOWN)[1]}


def test_all_are_the_default_variants_that_want_to_be_included():
    assert chosen("all") == ["keras", "tensorflow", "torch"]


def test_all_leaves_out_what_is_not_installed_and_says_how_to_add_it():
    assert skipped("all") == {
        "flax": 'flax, jax not installed. To add it: pip install "cnn-harness[jax]"'
    }


@pytest.mark.parametrize(
    ("request_", "labels"),
    [
        ("torch", ["torch"]),
        ("torch@compile", ["torch@compile"]),
        ("numpy", ["numpy"]),
        ("torch,keras", ["torch", "keras"]),
        (" torch , ,keras,", ["torch", "keras"]),
        ("torch,torch", ["torch"]),
        ("torch@compile,all", ["torch@compile", "keras", "tensorflow", "torch"]),
        ("t*", ["tensorflow", "tensorflow@graph", "torch", "torch@compile"]),
        ("*@*", ["tensorflow@graph", "torch@compile"]),
        ("t?rch", ["torch"]),
        ("[kn]*", ["keras", "numpy"]),
        ("*", ["keras", "numpy", "tensorflow", "tensorflow@graph", "torch", "torch@compile"]),
    ],
)
def test_names_variants_and_globs_are_resolved_in_the_order_asked_for(request_, labels):
    assert chosen(request_) == labels


def test_a_glob_leaves_out_what_is_not_installed_or_broken():
    assert skipped("*") == {
        "flax": 'flax, jax not installed. To add it: pip install "cnn-harness[jax]"',
        "keras@jax": 'jax not installed. To add it: pip install "cnn-harness[keras]"',
        "zig": "SyntaxError: invalid syntax (zig.py, line 1). "
        'To add it: pip install "cnn-harness[zig]"',
    }


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("pytorch", " Did you mean 'torch'?"),
        ("Torch", " Did you mean 'torch'?"),
        ("torch@compiled", " Did you mean 'torch@compile'?"),
        ("mxnet", ""),
        ("caffe*", ""),
        ("torch@", " Did you mean 'torch'?"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones_and_the_nearest(name, hint):
    with pytest.raises(UsageError) as caught:
        select(f"keras,{name}", KNOWN)
    assert str(caught.value) == (
        f"unknown backend {name!r}; known: {LABELS}, all, and globs.{hint} "
        "Try: python -m harness backends"
    )


def test_what_is_named_and_not_installed_is_an_error_with_the_line_that_installs_it():
    with pytest.raises(NotInstalledError) as caught:
        select("torch,flax", KNOWN)
    assert str(caught.value) == (
        "backend 'flax': flax, jax not installed. Try: pip install \"cnn-harness[jax]\""
    )
    with pytest.raises(NotInstalledError, match="backend 'keras@jax': jax not installed"):
        select("keras@jax", KNOWN)


def test_what_is_named_and_broken_is_an_error_with_the_reason():
    with pytest.raises(NotInstalledError, match="backend 'zig': SyntaxError: invalid syntax"):
        select("zig", KNOWN)


def test_if_nothing_is_left_all_reasons_are_given():
    with pytest.raises(UsageError) as caught:
        select("f*,all", [KNOWN[0]])
    assert str(caught.value) == (
        "--backend 'f*,all' leaves no backend to run.\n"
        '  flax: flax, jax not installed. To add it: pip install "cnn-harness[jax]"\n'
        'Try: pip install "cnn-harness[all]"'
    )


@pytest.mark.parametrize("request_", ["", " ", ",", " , ,"])
def test_no_name_at_all_is_said_plainly(request_):
    with pytest.raises(UsageError) as caught:
        select(request_, KNOWN)
    assert (
        str(caught.value) == f"--backend {request_!r} leaves no backend to run. Try: --backend all"
    )


PLUGIN = """
from typing import ClassVar

class Good:
    name = "good"
    variants: ClassVar = {"": ("json",), "fast": ("json", "no_such_module", "no.such.module")}
    in_all = True

class NoVariants:
    in_all = True

class BadVariants(Good):
    variants: ClassVar = {"": None}

class NeedsArguments(Good):
    def __init__(self, size):
        pass

class Leaving(Good):
    def __init__(self):
        raise SystemExit(3)

print("a plug-in that talks", end="")
import atexit
atexit.register(print, "and has the last word")
"""
POINTS = {
    "good": "own_plugin:Good",
    "broken-argument": "own_plugin:NeedsArguments",
    "broken-attribute": "own_plugin:NoSuchClass",
    "broken-class": "own_plugin:NoVariants",
    "broken-exit": "own_plugin:Leaving",
    "broken-module": "no_such_plugin:Backend",
    "broken-name": "own plugin!",
    "broken-syntax": "own_broken_plugin:Backend",
    "broken-variants": "own_plugin:BadVariants",
}


@pytest.fixture
def plugins(tmp_path, monkeypatch) -> Path:
    """A package that is installed, and has some good and some broken backends."""
    (tmp_path / "own_plugin.py").write_text(PLUGIN)
    (tmp_path / "own_broken_plugin.py").write_text("def :")
    package = tmp_path / "own_plugins-1.2.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: own-plugins\nVersion: 1.2\n")
    lines = [f"{name} = {target} [{name}-extra]" for name, target in POINTS.items()]
    (package / "entry_points.txt").write_text("\n".join(["[harness.backends]", *lines, ""]))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def test_the_backends_of_this_project_are_described_without_their_frameworks():
    found = {info.label: info for info in describe()}
    assert {"flax", "keras", "numpy", "tensorflow", "torch"} <= set(found)
    numpy = found["numpy"]
    assert not numpy.in_all
    assert numpy.target == "backends.numpy_backend:NumpyBackend"
    assert numpy.install == 'pip install "cnn-harness"'
    assert found["torch"].install == 'pip install "cnn-harness[torch]"'
    assert found["torch"].in_all
    assert found["torch"].precisions == ("float32", "tf32", "float64", "bfloat16")
    assert found["tensorflow@session"].precisions == ("float32", "tf32", "float64")


def test_only_what_runs_on_jax_is_tuned_by_flags_of_xla():
    """TensorFlow holds another XLA, which ends at flags that it does not know."""
    tuned = {info.label for info in describe() if info.tuned}
    assert tuned == {"flax", "keras@jax"}


def test_element_wise_work_is_not_given_to_what_writes_past_its_memory():
    """jaxlib 0.10.2 does on predictions of wrn-16-4, where convolutions are not given, too."""
    (flags,) = {info.tuned["XLA_FLAGS"] for info in describe() if info.tuned}
    kinds = flags.partition("=")[2].split(",")
    assert kinds == ["LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT", "LIBRARY_FUSION_TYPE_REDUCE"]


def test_broken_plug_ins_do_not_hide_the_others(plugins):
    found = {info.label: info for info in describe()}
    assert "numpy" in found
    good = found["good"]
    assert (good.backend, good.variant, good.in_all) == ("good", "", True)
    assert (good.missing, good.error) == ((), "")
    assert good.install == 'pip install "own-plugins[good-extra]"'
    assert found["good@fast"].missing == ("no_such_module", "no.such.module")
    errors = {label: info.error for label, info in found.items() if label.startswith("broken")}
    assert set(errors) == {name for name in POINTS if name.startswith("broken")}
    assert errors["broken-name"] == "ModuleNotFoundError: No module named 'ownplugin!'"
    assert "missing 1 required positional argument" in errors["broken-argument"]
    assert "has no attribute 'NoSuchClass'" in errors["broken-attribute"]
    assert errors["broken-class"].startswith("AttributeError: ")
    assert errors["broken-exit"] == "SystemExit: 3"
    assert errors["broken-module"] == "ModuleNotFoundError: No module named 'no_such_plugin'"
    assert errors["broken-syntax"].startswith("SyntaxError: ")
    assert errors["broken-variants"].startswith("TypeError: ")
    assert not any(found[label].in_all for label in errors)


def test_a_description_that_fails_is_an_error_with_its_reason(plugins):
    (plugins / "own_plugin.py").write_text("import os\nos.write(2, b'why it failed')\nos._exit(1)")
    with pytest.raises(HarnessError, match="ended with exit code 1\nwhy it failed"):
        describe()


def test_a_plug_in_that_never_loads_is_not_waited_for(plugins, monkeypatch):
    (plugins / "own_plugin.py").write_text("import time\ntime.sleep(600)")
    monkeypatch.setattr(registry, "DESCRIBE_SECONDS", 0.5)
    with pytest.raises(HarnessError, match=r"a plug-in did not load in 0.5 s"):
        describe()


def test_a_class_is_loaded_by_module_and_name():
    assert isinstance(load_backend("decimal:Context"), __import__("decimal").Context)
    with pytest.raises(ModuleNotFoundError):
        load_backend("no_such_module:Backend")


def test_another_checkout_s_harness_describes_its_own_backends_even_an_older_one(tmp_path):
    package = tmp_path / "harness"
    package.mkdir()
    (package / "__init__.py").touch()
    item = {**asdict(BackendInfo("old", "", "old:Old", True, (), {}, "pip")), "missing": []}
    (package / "registry.py").write_text(
        f"import json\n\n\ndef print_description():\n    print({registry.MARK!r} + "
        f"json.dumps([{item!r}]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}
    (found,) = registry.describe(environment=environment)
    assert (found.label, found.target) == ("old", "old:Old")


def test_what_only_a_newer_or_an_older_harness_says_of_a_backend_is_no_error():
    item = asdict(BackendInfo("x", "", "x:X", True, ("m",), {}, "pip", origin="x.py"))
    assert registry._info({**item, "from_the_future": 1}) == BackendInfo(**item)
    older = {name: item[name] for name in item if name not in ("precisions", "origin")}
    found = registry._info({**older, "missing": ["m"]})
    assert (found.missing, found.origin) == (("m",), "")
    assert found.precisions == ("float32", "float64")


def test_a_description_says_where_the_class_came_from():
    found = {info.label: info for info in describe()}
    assert found["numpy"].origin.endswith("backends/numpy_backend.py")
