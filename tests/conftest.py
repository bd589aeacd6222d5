"""Where tests run side by side (`-n`), those of one folder stay together: they share workers."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker(pytest.mark.xdist_group(item.path.relative_to(HERE).parts[0]))
