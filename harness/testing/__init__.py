"""A test suite to import: all that a backend must do, for the tests of whoever writes one.

In the repository of the backend, with pytest installed:

    from harness.testing import BackendContract

    class TestMine(BackendContract):
        target = "mypackage:MyBackend"

docs/adding-a-backend.md says what is tested, and what can be chosen.
"""

from __future__ import annotations

try:
    import pytest as _pytest  # noqa: F401 (only to say what is missing)
except ModuleNotFoundError:
    raise ImportError("harness.testing needs pytest. Try: pip install pytest") from None

from harness.testing.suite import BackendContract

__all__ = ["BackendContract"]
