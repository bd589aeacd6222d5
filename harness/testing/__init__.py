"""A test suite to import: all that a backend must do, for the tests of whoever writes one.

In the repository of the backend, with pytest installed:

    from harness.testing import BackendContract

    class TestMine(BackendContract):
        target = "mypackage:MyBackend"

docs/adding-a-backend.md says what is tested, and what can be chosen.
"""

from __future__ import annotations

try:
    import pytest
except ModuleNotFoundError:
    raise ImportError("harness.testing needs pytest. Try: pip install pytest") from None

# So that a failed assertion of the suite says what was found, as it does in a file of tests.
pytest.register_assert_rewrite("harness.testing.suite")

from harness.testing.suite import BackendContract  # noqa: E402 (rewritten from here on)

__all__ = ["BackendContract"]
