"""An absurd spec is one clear error of every command that trains, before any worker starts."""

from __future__ import annotations

import pytest

from harness.cli import main
from harness.run.process import WorkerProcess

ABSURD = {
    "10^12 parameters": (
        'layers = [{type = "flatten"}, {type = "dense", units = 1000000}, '
        '{type = "dense", units = 1000000}]',
        "layers[2] 'dense2': more than 1e+10 parameters by this layer; make it smaller",
    ),
    "a kernel larger than its input": (
        'layers = [{type = "conv2d", filters = 1, kernel = 9}, {type = "flatten"}]',
        "layers[0] 'conv1': kernel = [9, 9] is larger than its input of 8x8 pixels",
    ),
    "a block a thousand million times": (
        'layers = [{type = "sequence", repeat = 1000000000, layers = [{type = "flatten"}]}]',
        "layers[0].repeat: 1000000000 should be less than or equal to 1000",
    ),
}


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(("layers", "line"), ABSURD.values(), ids=ABSURD)
def test_no_worker_starts_for_it(command, layers, line, tmp_path, monkeypatch, capsys):
    def start(*_, **__):
        raise AssertionError("a worker was started")

    monkeypatch.setattr(WorkerProcess, "__init__", start)
    (tmp_path / "net.toml").write_text(f'name = "net"\ninput = [8, 8, 1]\n{layers}\n')
    with pytest.raises(SystemExit) as ended:
        main([command, "--model", str(tmp_path / "net.toml"), "--out", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_sound_spec_does_start_one(tmp_path, monkeypatch, capsys):
    def start(*_, **__):
        raise AssertionError("a worker was started")

    monkeypatch.setattr(WorkerProcess, "__init__", start)
    with pytest.raises(SystemExit):
        main(["run", "--backend", "torch", "--model", "mnist-1conv", "--out", str(tmp_path / "o")])
    assert "AssertionError: a worker was started" in capsys.readouterr().err
