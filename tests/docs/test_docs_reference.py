"""The lines of Python in the reference do what they say."""

from __future__ import annotations

import os

from docs_pages import ROOT, fences, pages

from harness.spec import infer, load_spec

PAGES = pages()
FLOW = ROOT / "tests" / "flow"
SMALL = """name = "small"
input = [6, 6, 1]
layers = [{type = "flatten"}, {type = "dense", units = 3, activation = "softmax"}]
training = {batch_size = 16, epochs = 1}
"""
# What takes a framework and real images is done with a fake backend and small ones.
INSTEAD = {
    'registry.choose("torch", [])': 'registry.choose(None, ["flow_fakes:Twin"])',
    'load_spec("mnist-1conv")': 'load_spec("small.toml")',
    '"digits"': '"synthetic:6x6x1:3:84"',
}


def test_a_network_can_be_looked_at(capsys):
    (code,) = fences(PAGES["docs/reference/spec.md"], "python")
    exec(code, {})
    *layers, last = capsys.readouterr().out.splitlines()
    network = infer(load_spec("mnist-1conv"))
    assert [line.split()[0] for line in layers] == [node.path for node in network.nodes]
    assert last == f"{network.parameter_count} {network.flops_per_image}"


def test_a_run_can_be_made_from_python(tmp_path, monkeypatch, capsys):
    (code,) = fences(PAGES["docs/reference/run.md"], "python")
    for real, small in INSTEAD.items():
        assert real in code
        code = code.replace(real, small)
    (tmp_path / "small.toml").write_text(SMALL, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FLOW), str(ROOT)]))
    exec(code, {})
    assert capsys.readouterr().out.startswith("twin ok True 0.")
    assert (tmp_path / "results" / "mine" / "summary.csv").is_file()
