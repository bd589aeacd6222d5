"""A pytest plug-in: the fixture `harness_backend`, for benchmarks of one's own networks.

    def test_my_block(benchmark, harness_backend):
        benchmark(harness_backend.open("my-block.toml").train_step)

Such a test runs once for each backend of `--harness-backend`. It needs pytest-benchmark, which gets
a timer that stands still but while the worker computes. docs/gating-ci.md has more of it.

pytest loads this file wherever the package is installed: what is heavy is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.registry import Choice
    from harness.spec import Spec
    from harness.testing.timed import TimedModel

CHOICE = pytest.StashKey["Choice"]()
FIXTURE = "harness_backend"
OPTIONS = {
    "backend": (None, "backends to run the tests with: all (the default), names, globs, by commas"),
    "plugin": (None, "module:Class of a backend that is not registered"),
    "model": ("mnist-1conv", "what the fixture harness_model is: a library model or a TOML file"),
    "device": ("cpu", "cpu or gpu"),
    "precision": ("float32", "float32, tf32, float64 or bfloat16"),
    "environment": ("tuned", "tuned or stock"),
    "batch-size": (None, "instead of the model's own"),
    "threads": (None, "of each worker; all cores, if not given"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--harness-backend` and what else can be chosen."""
    group = parser.getgroup("cnn-harness", "networks in every framework, by cnn-harness")
    for name, (default, text) in OPTIONS.items():
        kind = int if name in ("batch-size", "threads") else str
        group.addoption(f"--harness-{name}", default=default, type=kind, help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what is no backend now: once tests are collected, it would be an error of theirs."""
    if config.getoption("--harness-backend") or config.getoption("--harness-plugin"):
        _choice(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each backend."""
    if FIXTURE in metafunc.fixturenames:
        labels = [info.label for info in _choice(metafunc.config).chosen]
        metafunc.parametrize(FIXTURE, labels, indirect=True)


# By the worker's clock, which stands still between steps. pytest-benchmark's own second would make
# many thousand rounds of a short step, and five of a long one.
ROUNDS = {"max_time": 0.2, "min_rounds": 20}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have pytest-benchmark time these tests by the workers' clock, unless the test says how."""
    standard = {"max_time": 1.0, "min_rounds": 5}
    asked = {name: config.getoption(f"benchmark_{name}", standard[name]) for name in standard}
    rounds = {name: ROUNDS[name] for name in ROUNDS if float(asked[name]) == standard[name]}
    for item in items:
        if FIXTURE not in getattr(item, "fixturenames", ()):
            continue
        from harness.testing.timed import worker_clock

        mark = item.get_closest_marker("benchmark")
        given = mark.kwargs if mark else {}
        group = getattr(item, "originalname", item.name)
        options = {"timer": worker_clock, "group": group, **rounds, **given}
        item.add_marker(pytest.mark.benchmark(**options), append=False)


class HarnessBackend:
    """One backend of a test; `label` is its name on the command line."""

    def __init__(self, label: str, config: pytest.Config, folder: Path, extra: dict[str, Any]):
        self.label, self._config, self._folder, self._extra = label, config, folder, extra
        self._opened: list[TimedModel] = []

    def open(self, model: Spec | str | Path) -> TimedModel:
        """Start a worker with a network: a spec, a library model's name, a TOML file, or its text.

        Raises:
            SpecError: it is no network.
            WorkerError: the worker failed; with status `skipped`, it sees no such device.

        """
        from harness.spec import Spec, load_spec, parse_spec
        from harness.testing.timed import TimedModel

        if isinstance(model, Spec):
            spec = model
        elif "\n" in str(model):
            spec = parse_spec(str(model), "the text given to harness_backend.open")
        else:
            spec = load_spec(str(model))
        timed = TimedModel(self._plan(spec), self._folder / str(len(self._opened)))
        self._opened.append(timed)
        self._extra.update(timed.facts)
        return timed

    def close(self) -> None:
        """End its workers."""
        for timed in self._opened:
            self._extra.update(timed.facts)
            timed.close()

    def _plan(self, spec: Spec) -> Any:
        from harness.run.plan import make_plan

        known = _choice(self._config).known
        given = {name: self._config.getoption(f"--harness-{name}") for name in OPTIONS}
        return make_plan(
            spec,
            "made up",
            [info for info in known if info.label == self.label],
            known,
            device=given["device"],
            precision=given["precision"],
            environment=given["environment"],
            batch_size=given["batch-size"],
            threads=given["threads"],
        )


@pytest.fixture
def harness_backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HarnessBackend]:
    """One backend after the other; `open` a network in it, and time what that can do."""
    extra: dict[str, Any] = {}
    if "benchmark" in request.fixturenames:
        extra = request.getfixturevalue("benchmark").extra_info
    folder = tmp_path_factory.mktemp("harness")
    backend = HarnessBackend(request.param, request.config, folder, extra)
    try:
        yield backend
    finally:
        backend.close()


@pytest.fixture
def harness_model(pytestconfig: pytest.Config) -> str:
    """What `--harness-model` names."""
    return str(pytestconfig.getoption("--harness-model"))


def _choice(config: pytest.Config) -> Choice:
    """Return the backends that were asked for, looked up once.

    Raises:
        pytest.UsageError: there are none; the message lists what there is.

    """
    if CHOICE not in config.stash:
        from harness.errors import HarnessError
        from harness.registry import choose

        backend, plugin = (config.getoption(f"--harness-{name}") for name in ("backend", "plugin"))
        try:
            config.stash[CHOICE] = choose(backend, [plugin] if plugin else [])
        except HarnessError as error:
            raise pytest.UsageError(f"--harness-backend: {error}") from None
    return config.stash[CHOICE]
