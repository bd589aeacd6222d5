"""A place to be in, where fake backends are installed and a small model lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODEL = """
name = "small"
input = [6, 6, 1]
layers = [
  { type = "conv2d", filters = 2, kernel = 3, activation = "relu" },
  { type = "flatten" },
  { type = "dense", units = 3, activation = "softmax" },
]
[training]
batch_size = 8
"""
FAKES = ("Steady", "Slower", "Placed", "Crashing", "Diverging", "Wrong", "Lying")
PLUGINS = "[harness.backends]\n" + "".join(
    f"{name.lower()} = verdict_fakes:{name}\n" for name in FAKES
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    package = tmp_path / "site" / "verdict_plugins-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: verdict-plugins\nVersion: 1.0\n"
    )
    (package / "entry_points.txt").write_text(PLUGINS)
    (tmp_path / "small.toml").write_text(MODEL)
    paths = [str(package.parent), str(HERE), str(HERE.parents[1])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    return tmp_path
