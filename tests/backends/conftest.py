"""A worker for every backend and precision, alive for the whole session, and their studies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from studies import (
    COMPARED,
    Arrays,
    Ask,
    Case,
    Study,
    backends,
    first_flagged,
    material,
    network,
    topics,
)

from harness.contract import Precision, Setting
from harness.run.arrays import write_arrays
from harness.run.environment import worker_environment
from harness.run.process import WorkerProcess

TIMEOUT = 300.0


class Bench:
    """One backend in one precision: its worker, and a thread that asks it one thing at a time."""

    def __init__(self, label: str, precision: Precision, folder: Path, cache: Path) -> None:
        self.label, self.precision, self.folder, self.cache = label, precision, folder, cache
        self.sources = folder / precision
        self.sources.mkdir(exist_ok=True)
        self.thread = ThreadPoolExecutor(1)
        self.worker: WorkerProcess | None = None

    def submit(self, job: Callable[..., Any], *arguments: Any) -> Future[Any]:
        return self.thread.submit(job, *arguments)

    def ask(self, command: str, arrays: Arrays | None = None, **fields: Any) -> tuple[dict, Arrays]:
        """Ask the worker, started if there is none alive."""
        if self.worker is None or self.worker.process.poll() is not None:
            self.worker = self._start()
        return self.worker.ask(command, arrays or {}, timeout=TIMEOUT, **fields)

    def _start(self) -> WorkerProcess:
        info = backends()[self.label]
        environment = worker_environment("stock", 1)
        environment["WATCHED"] = info.target
        # XLA compiles for most of the time, so what it compiled is kept from session to session,
        # by the hash of the program; and its optimizations, which make no other network, are
        # left to float32.
        environment["JAX_COMPILATION_CACHE_DIR"] = str(self.cache)
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(self.precision == "float64"))
        log = self.folder / f"{self.label}-{self.precision}.log"
        worker = WorkerProcess(self.label, log, environment, cpus=2)
        setting = asdict(Setting("cpu", self.precision, 1))
        target = "harness.run.watched:WatchedBackend"
        worker.ask("prepare", timeout=TIMEOUT, target=target, variant=info.variant, setting=setting)
        return worker

    def source(self, name: str) -> Path:
        """Return where the worker writes the source of a network."""
        return self.sources / f"{name}_{self.label}.py"

    def open(self, case: Case) -> None:
        """Open a network in the worker; where there are edits, from the source so altered."""
        path = self.source(case.network)
        if case.edits:
            text = path.read_text()
            for old, new in case.edits:
                assert old in text, f"{old!r} does not occur in {path.name}:\n{text}"
                text = text.replace(old, new)
            path = path.with_stem(f"mutant_{path.stem}")
            path.write_text(text)
        spec = network(case.network).model_dump_json()
        data = str(self.folder / case.network)
        self.ask("open", spec=spec, source=str(path), data=data, given=bool(case.edits))

    def end(self) -> None:
        """End the worker, before the thread that started it ends and Linux kills it for that."""
        if self.worker is not None:
            self.worker.close()


class Lab:
    """All benches; a study begins when it is first wanted, and is kept."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.cache = folder, cache
        self.benches: dict[tuple[str, str], Bench] = {}
        self.studies: dict[Case, Future[Study]] = {}

    def bench(self, label: str, precision: Precision = "float64") -> Bench:
        key = label, precision
        if key not in self.benches:
            self.benches[key] = Bench(label, precision, self.folder, self.cache)
        return self.benches[key]

    def begin(self, case: Case) -> Future[Study]:
        """Have a study made, behind those that its bench has to make already."""
        if case not in self.studies:
            if case.edits:
                self.begin(replace(case, edits=()))
            if case != case.reference:
                self.begin(case.reference)
            self._lay_out(case.network)
            bench = self.bench(case.label, case.precision)
            self.studies[case] = bench.submit(self._make, bench, case)
        return self.studies[case]

    def _lay_out(self, name: str) -> None:
        """Write the training set of a network to where workers find it."""
        if not (self.folder / name).exists():
            (self.folder / name).mkdir()
            given = material(name)
            arrays = {"train_images": given.images, "train_targets": given.targets}
            write_arrays(self.folder / name, arrays)

    def study(self, case: Case) -> Study:
        return self.begin(case).result()

    def work(self, case: Case, job: Callable[[Ask], Any]) -> Any:
        """Open a network, and return what `job` makes of it."""
        self._lay_out(case.network)
        bench = self.bench(case.label, case.precision)

        def opened() -> Any:
            bench.open(case)
            result = job(bench.ask)
            bench.ask("close")
            return result

        return bench.submit(opened).result()

    def close(self) -> None:
        for future in self.studies.values():
            future.cancel()
        for bench in self.benches.values():
            bench.submit(bench.end)
        for bench in self.benches.values():
            bench.thread.shutdown()

    def _make(self, bench: Bench, case: Case) -> Study:
        """Make a whole study, but of a mutant only as much as gives it away."""
        bench.open(case)
        study: Study = {}
        for topic, arrays in topics(bench.ask, case):
            study[topic] = arrays
            if case.edits and topic in COMPARED:
                reference = self.studies[case.reference].result()
                if first_flagged({topic: arrays}, reference, case.precision):
                    break
        bench.ask("close")
        return study


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab, in which all that the collected tests will ask for is on its way."""
    kept = getattr(request.config, "cache", None)  # none with `-p no:cacheprovider`
    folder = tmp_path_factory.mktemp("lab")
    lab = Lab(folder, Path(kept.mkdir("xla")) if kept else folder)
    for item in request.session.items:
        callspec = getattr(item, "callspec", None)
        case = callspec.params.get("case") if callspec else None
        if isinstance(case, Case) and not any(item.iter_markers("skip")):
            lab.begin(case)
    yield lab
    lab.close()


@pytest.fixture
def study(lab: Lab, case: Case) -> Study:
    return lab.study(case)


@pytest.fixture
def reference(lab: Lab, case: Case) -> Study:
    return lab.study(case.reference)
