"""`--plugin module:Class`: a backend that no entry point names goes the way of all backends."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from check_climb import MODEL

from harness import registry
from harness.cli import main
from harness.errors import NotInstalledError, UsageError, WorkerError
from harness.registry import choose

TOY = "toy_plugin:Toy"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(MODEL)


def harness(command: str, *arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main([command, "--threads", "1", *arguments])
    return int(end.value.code or 0)


def check(*arguments: str) -> int:
    return harness("check", "--model", "small.toml", "--steps", "4", *arguments)


def test_a_plug_in_climbs_the_ladder_alone_and_is_not_imported_here(capsys):
    assert check("--plugin", TOY) == 0
    _, toy, *rest = capsys.readouterr().out.splitlines()
    assert toy.split() == ["toy", *["ok", "0"] * 6]
    assert "1 of 1 is the same network" in " ".join(rest)
    assert not {"toy_plugin", "backends"} & sys.modules.keys()


def test_plug_ins_and_registered_backends_climb_together_in_the_order_given(capsys):
    options = ("--plugin", f"{TOY}@loud", "--plugin", "toy_plugin:Wrong", "--backend", "numpy,toy")
    assert check(*options, "--json", "--quiet", "--out", "found") == 1
    found = json.loads(capsys.readouterr().out)
    verdicts = {b["label"]: b["verdict"] for b in found["backends"] if b["label"] != "reference"}
    assert list(verdicts) == ["toy@loud", "wrong", "numpy", "toy"]
    assert verdicts.pop("wrong") == "differs at forward: conv1 (evaluation)"
    assert set(verdicts.values()) == {"verified"}
    assert "a plug-in that talks" in Path("found/logs/toy@loud.log").read_text()
    assert "as a toy: the float64 reference" in Path("found/models/small_toy.py").read_text()


def test_a_plug_in_runs_and_predicts_like_any_backend(capsys):
    data = ("--dataset", "synthetic:8x8x2:3:84")
    options = (
        "--model",
        "small.toml",
        "--epochs",
        "1",
        "--seeds",
        "1",
        "--save-weights",
        "--no-limit",
    )
    assert harness("run", "--plugin", TOY, *data, *options, "--out", "ran", "--quiet") == 0
    weights = "ran/weights/toy-cpu-0.safetensors"
    said = ("--backend", "numpy", *data, "--weights", weights, "--json")
    capsys.readouterr()
    assert harness("predict", "--plugin", TOY, *said) == 0
    rows = json.loads(capsys.readouterr().out)["backends"]
    assert [row["backend"] for row in rows] == ["toy", "numpy"]


def test_a_session_without_all_methods_fails_with_their_names(capsys):
    assert check("--plugin", "toy_plugin:Unopened") == 4
    assert "NumpySession has no method close, state" in " ".join(capsys.readouterr().out.split())


def test_a_registered_backend_may_be_named_by_its_target_too():
    choice = choose(None, ["backends.numpy_backend:NumpyBackend"])
    assert [info.label for info in choice.chosen] == ["numpy"]
    assert [info.label for info in choice.known].count("numpy") == 1


def test_without_a_plug_in_all_are_chosen():
    assert choose(None, []).chosen == registry.select("all", choose(None, []).known)[0]


BAD = {
    "toy_plugin": "allowed: module:Class, or module:Class@variant. Try: --plugin mypackage:My",
    "toy plugin:Toy": "allowed: module:Class",
    ":Toy": "allowed: module:Class",
    "toy_plugin:": "allowed: module:Class",
    "no_such_plugin.own:Toy": "there is no module 'no_such_plugin', in the current folder or",
    "toy_plugin.own:Toy": "there is no module 'toy_plugin.own'",
    "toy_plugin:Tooy": "module 'toy_plugin' has no class 'Tooy'; its own: Toy, Wrong, Unopened, "
    "Clash, Half, NeedsArguments, NamedToy",
    "toy_plugin:annotations": "has no class 'annotations'",
    "toy_needy:Toy": "ModuleNotFoundError: No module named 'no_such_framework'",
    "toy_plugin:NeedsArguments": "missing 1 required positional argument: 'size'",
    "toy_plugin:Half": "is no backend: it has no devices, in_all, open, source, versions; name is "
    "'all of it'; allowed: letters, digits, - and _; variants is {'fast': 'numpy'}; allowed: "
    'modules by variant, as {"": ("torch",)}, with the default one, "". Read: docs/adding-a-',
    "toy_plugin:Clash": "a backend named 'torch' is there already, backends.torch_backend:Torch",
    "toy_plugin:Toy@lout": "unknown variant 'lout'; it has: loud, missing. Did you mean 'loud'?",
    "toy_plugin:Toy@": "unknown variant ''",
}


@pytest.mark.parametrize("plugin", BAD)
def test_what_is_no_plug_in_is_one_message(plugin):
    with pytest.raises(UsageError) as caught:
        choose(None, [plugin])
    assert BAD[plugin] in str(caught.value)
    assert str(caught.value).startswith("--plugin ")


def test_two_plug_ins_of_one_name_clash():
    with pytest.raises(UsageError, match=r"named 'toy' is there already, toy_plugin:Toy\."):
        choose(None, [TOY, "toy_plugin:NamedToy"])


def test_a_variant_whose_framework_is_missing_is_named():
    with pytest.raises(NotInstalledError, match="'toy@missing': no_such_module not installed"):
        choose(None, [f"{TOY}@missing"])


def test_a_plug_in_that_ends_its_process_is_a_failure_with_its_last_words(capsys):
    with pytest.raises(WorkerError, match="exit code 3\na plug-in's last words"):
        choose(None, ["toy_crash:Toy"])
    assert check("--plugin", "toy_crash:Toy") == 4
    assert "Traceback" not in capsys.readouterr().err
