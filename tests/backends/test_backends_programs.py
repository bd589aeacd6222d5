"""Programs of generated sources: what they say, what they read, and that they train alike."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from studies import HERE, NETWORKS, backends, installed, network
from test_backends_sources import ruff

from harness.contract import Setting
from harness.data import load
from harness.run.agreement import check_parameters
from harness.run.arrays import write_arrays
from harness.run.environment import worker_environment
from harness.run.process import WorkerProcess
from harness.run.weights import write_weights
from harness.spec import Spec, infer, initial_parameters, library, load_spec, spec_from_json

LABELS = [label for label, info in backends().items() if info.backend != "numpy"]
ALLOWED = {
    "torch": {"torch"},
    "flax": {"jax", "flax", "optax"},
    "keras": {"keras", "tensorflow", "jax", "torch"},
    "tensorflow": {"tensorflow"},
}
SEED = 3


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """The folder of the programs, and the sources, of every network by every backend."""
    folder = tmp_path_factory.mktemp("programs")
    return write(folder, {name: network(name) for name in NETWORKS})


def write(folder: Path, specs: dict[str, Spec]) -> Path:
    (folder / "specs").mkdir()
    for name, spec in specs.items():
        (folder / "specs" / f"{name}.json").write_text(spec.model_dump_json())
    paths = map(str, sorted((folder / "specs").iterdir()))
    command = [sys.executable, str(HERE / "write_programs.py"), str(folder), *paths]
    subprocess.run(command, check=True, timeout=600)
    return folder


def text(programs: Path, name: str, label: str) -> str:
    return (programs / f"{name}_{label}.py").read_text()


@pytest.mark.parametrize("label", LABELS)
def test_programs_are_clean_for_ruff(programs, label):
    files = [str(programs / f"{name}_{label}.py") for name in NETWORKS]
    ruff("check", "--isolated", "--no-cache", *files)
    ruff("check", "--isolated", "--no-cache", "--select", "I", *files)
    ruff("format", "--isolated", "--no-cache", "--check", "--line-length", "100", *files)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_program_has_its_source_word_for_word(programs, name, label):
    program, source = text(programs, name, label), (programs / f"{name}_{label}.source").read_text()
    statements = ast.parse(source).body
    last = max(s.end_lineno for s in statements if isinstance(s, ast.Import | ast.ImportFrom))
    lines = source.splitlines()
    assert "\n".join(lines[last:]) in program
    for line in filter(None, lines[statements[0].end_lineno : last]):
        assert f"\n{line}\n" in program


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_program_needs_its_framework_and_numpy_only(programs, name, label):
    found = set()
    for node in ast.walk(ast.parse(text(programs, name, label))):
        match node:
            case ast.Import(names=names):
                found |= {alias.name.split(".")[0] for alias in names}
            case ast.ImportFrom(module=module):
                found.add(module.split(".")[0])
    allowed = ALLOWED[label.partition("@")[0]] | {"numpy", "sklearn"}
    assert found - set(sys.stdlib_module_names) <= allowed


@pytest.mark.parametrize("label", LABELS)
def test_notes_are_on_what_occurs(programs, label):
    def notes(name: str) -> str:
        return " ".join(ast.get_docstring(ast.parse(text(programs, name, label))).split())

    first, residual = notes("mnist-1conv"), notes("resnet-20")
    assert "Dropout" in first and "Dropout" not in residual
    assert "Batch norm" in residual or "batch norm" in residual
    assert "atch norm" not in first
    epsilon = re.compile(r"\b(eps|epsilon)\b")
    assert epsilon.search(first)
    assert not epsilon.search(residual.replace("and epsilon are given", ""))
    assert "velocity" in residual and "velocity" not in first
    assert "scikit-learn's digits" in first and "scikit-learn" not in residual
    assert "ayout" in first and "ayout" not in notes("dense")


def functions(programs: Path, name: str) -> dict:
    """Return what the NumPy part of a program defines, without importing its framework."""
    program = text(programs, name, "torch")
    own = program[program.index("\nEPOCHS = ") :]
    own = own[: own.index("\ndef set_weights")]
    scope = {"np": np}
    exec("import argparse, json, sys, time\n" + own, scope)
    return scope


SCHEDULES = {
    "warm": {"type": "constant", "warmup_epochs": 1.5},
    "step": {"type": "step", "epochs": [1.5, 2], "gamma": 0.5, "warmup_epochs": 1},
    "cosine": {"type": "cosine", "final": 0.1, "warmup_epochs": 0.5},
    "one_cycle": {"type": "one_cycle", "peak": 0.3},
}


def variation(name: str, **training) -> Spec:
    plain = network(name).model_dump(mode="json")
    plain["training"] |= training
    return spec_from_json(json.dumps(plain))


def test_rates_are_those_of_the_schedule(tmp_path):
    specs = {name: variation("dense", schedule=s) for name, s in SCHEDULES.items()}
    specs |= {name: load_spec(name) for name in library()}
    folder = write(tmp_path, specs)
    for name, spec in specs.items():
        found = functions(folder, name)["learning_rates"](3, 7)
        right = spec.training.model_copy(update={"epochs": 3}).learning_rates(7)
        assert found == pytest.approx(right, rel=1e-12), name


def test_digits_are_those_of_the_harness(programs):
    scope = functions(programs, "mnist-1conv")
    found = scope["as_images"](scope["load_digits"]()[0])
    dataset = load("digits")
    right = np.concatenate([dataset.train_images, dataset.test_images])
    found, right = (array.reshape(len(array), -1) for array in (found, right))
    found, right = (array[np.lexsort(array.round(4).T)] for array in (found, right))
    assert np.abs(found - right).max() < 1e-6


def test_a_fifth_of_one_set_is_for_testing(programs, tmp_path):
    images = np.arange(50 * 28 * 28, dtype=np.uint8).reshape(50, 28, 28)
    np.savez(tmp_path / "two.npz", images=images, labels=np.arange(50) % 10)
    scope = functions(programs, "mnist-1conv")
    found = scope["load_data"](tmp_path / "two.npz")
    assert [part.shape for part in found] == [(40, 28, 28, 1), (40,), (10, 28, 28, 1), (10,)]
    assert [part.dtype.name for part in found] == ["float32", "int32"] * 2
    assert 0.9 < found[0].max() <= 1.0
    together = np.concatenate([found[0], found[2]])
    assert len(np.unique(together.reshape(50, -1), axis=0)) == len(
        np.unique(images.reshape(50, -1), axis=0)
    )


def test_two_sets_stay_apart(programs, tmp_path):
    sets = {"x_train": np.zeros((3, 28, 28, 1)), "y_train": np.array([1, 2, 3])}
    sets |= {"x_test": np.ones((2, 28, 28, 1)), "y_test": np.array([[4], [5]])}
    np.savez(tmp_path / "four.npz", **sets)
    found = functions(programs, "mnist-1conv")["load_data"](tmp_path / "four.npz")
    assert found[1].tolist() == [1, 2, 3]
    assert found[3].tolist() == [4, 5]
    assert found[2].min() == 1


@pytest.mark.parametrize(
    ("sets", "reason"),
    [
        ({"images": np.zeros((5, 8, 8)), "labels": np.zeros(5, int)}, "images of shape .8, 8, 1."),
        ({"images": np.zeros((5, 28, 28)), "labels": np.arange(5) + 6}, "labels from 6 to 10"),
    ],
)
def test_data_that_do_not_fit_end_the_program(programs, tmp_path, sets, reason):
    np.savez(tmp_path / "bad.npz", **sets)
    with pytest.raises(SystemExit, match=reason):
        functions(programs, "mnist-1conv")["load_data"](tmp_path / "bad.npz")


def test_weights_are_read_as_the_harness_writes_them(programs, tmp_path):
    spec = network("norms")
    arrays = initial_parameters(spec, 1)
    write_weights(tmp_path / "w.safetensors", spec, arrays, {})
    found = functions(programs, "norms")["read_weights"](tmp_path / "w.safetensors")
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[path], arrays[path]) for path in arrays)


def test_augmentation_crops_flips_and_cuts_out(tmp_path):
    changes = {"crop_padding": 2, "flip": True, "cutout": 3}
    folder = write(tmp_path, {"all": variation("strides", augment=changes)})
    augment = functions(folder, "all")["augment"]
    images = np.random.default_rng(0).uniform(1, 2, (200, 19, 24, 2)).astype(np.float32)
    before = images.copy()
    found = augment(images, np.random.default_rng(1))
    assert np.array_equal(images, before)
    assert found.shape == images.shape
    for image, one in zip(images, found, strict=True):
        padded = np.pad(image, [(2, 2), (2, 2), (0, 0)])
        ways = [
            crop[:, ::turn]
            for y in range(5)
            for x in range(5)
            for crop in [padded[y : y + 19, x : x + 24]]
            for turn in (1, -1)
        ]
        assert any(np.array_equal(np.where(one == 0, 0, way), one) for way in ways)
    assert 0 < (found == 0).all(axis=(1, 2, 3)).mean() + (found == 0).mean() < 0.3
    for label in LABELS:
        assert "augment(train_images, random)" in text(folder, "all", label)


# What is trained, without dropout: masks are drawn otherwise in each framework.
TRAINED = ["mnist-1conv", "blocks", "transposes", "groups", "norms"]
COMPILED = {"torch@compile": TRAINED[:2], "tensorflow@session": TRAINED, "keras@jax": TRAINED[:3]}


def without_dropout(spec: Spec) -> Spec:
    plain = re.sub(r'("type":"dropout"[^}]*"rate":)[0-9.]+', r"\g<1>0.0", spec.model_dump_json())
    return spec_from_json(plain)


class Training:
    """Data, weights and the reference's losses of a network, and the command of its programs."""

    epochs, batch = 2, 8

    def __init__(self, folder: Path, name: str, spec: Spec) -> None:
        training = spec.training.model_copy(
            update={"batch_size": self.batch, "epochs": self.epochs}
        )
        self.name, self.spec = name, spec.model_copy(update={"training": training})
        random = np.random.default_rng(SEED)
        outputs = infer(spec).output_shape[0]
        count = 43 if training.last_batch == "keep" else 40
        self.images = random.normal(size=(count, *spec.input)).astype(np.float32)
        self.targets = random.integers(0, outputs, count).astype(np.int32)
        self.parameters = check_parameters(initial_parameters(spec, SEED))
        self.data, self.weights = folder / f"{name}.npz", folder / f"{name}.safetensors"
        sets = {"x_train": self.images, "y_train": self.targets}
        np.savez(self.data, **sets, x_test=self.images[:9], y_test=self.targets[:9])
        write_weights(self.weights, self.spec, self.parameters, {})

    def command(self, programs: Path, label: str) -> list[str]:
        program = programs / f"{self.name}_{label}.py"
        return [*map(str, (program, self.data, "--seed", SEED, "--weights", self.weights))]

    def losses(self, folder: Path, label: str, precision: str) -> list[float]:
        """Return the mean loss of each epoch, as a backend's own session computes them."""
        info = backends()[label]
        write_arrays(folder, {"train_images": self.images, "train_targets": self.targets})
        worker = WorkerProcess(label, folder / "log", worker_environment("stock", 1), 2)
        try:
            setting = vars(Setting("cpu", precision, 1))
            given = {"target": info.target, "variant": info.variant, "setting": setting}
            worker.ask("prepare", timeout=300, **given)
            source = str(folder / f"{self.name}_{info.backend}.py")
            opened = {"spec": self.spec.model_dump_json(), "source": source, "data": str(folder)}
            worker.ask("open", timeout=300, **opened)
            worker.ask("reset", self.parameters, timeout=300, seed=SEED)
            return [self._epoch(worker, batches) for batches in self._epochs()]
        finally:
            worker.close()

    def _epoch(self, worker: WorkerProcess, batches) -> float:
        found = []
        for order, rates in batches:
            _, arrays = worker.ask("train", {"order": order, "rates": rates}, timeout=300)
            found += arrays["losses"].tolist()
        return float(np.mean(found))

    def _epochs(self):
        random, count, size = np.random.default_rng(SEED), len(self.images), self.batch
        rates = self.spec.training.learning_rates(-(-count // size))
        for part in np.split(rates, self.epochs):
            order = random.permutation(count)
            full = count // size
            batches = [(order[: full * size].reshape(full, size), part[:full])]
            rest = (order[np.newaxis, full * size :], part[full:])
            yield batches + [rest] * bool(count % size)


def printed(output: str) -> list[float]:
    return [
        float(loss) for loss in re.findall(r"^epoch \d+: loss ([0-9.]+),", output, re.MULTILINE)
    ]


def run(*command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        env=environment,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def trainings(tmp_path_factory):
    """Each network's data, weights and losses of the reference."""
    folder = tmp_path_factory.mktemp("trainings")
    found = {}
    for name in TRAINED:
        place = folder / name
        place.mkdir()
        training = Training(place, name, without_dropout(network(name)))
        found[name] = (training, training.losses(place, "numpy", "float64"))
    write(folder, {name: training.spec for name, (training, _) in found.items()})
    return folder, found


@pytest.mark.parametrize("label", [pytest.param(label, marks=installed(label)) for label in LABELS])
def test_programs_print_the_losses_of_the_reference(trainings, label):
    folder, found = trainings
    names = COMPILED.get(label, TRAINED)
    commands = [" ".join(found[name][0].command(folder, label)) for name in names]
    parts = run(str(HERE / "run_programs.py"), *commands).split("== ")[1:]
    assert len(parts) == len(names)
    for name, part in zip(names, parts, strict=True):
        assert printed(part) == pytest.approx(found[name][1], rel=1e-4), name


# Those whose dropout is drawn by the seed alone, in the session as in the program.
SEEDED = ["torch", "torch@compile", "flax", "tensorflow", "tensorflow@session"]


@pytest.mark.parametrize("label", [pytest.param(label, marks=installed(label)) for label in LABELS])
def test_a_program_trains_as_its_session_does(tmp_path, label):
    training = Training(tmp_path, "mnist-1conv", load_spec("mnist-1conv"))
    programs = write(tmp_path, {"mnist-1conv": training.spec})
    losses = printed(run(*training.command(programs, label)))
    assert len(losses) == training.epochs
    if label in SEEDED:
        assert losses == pytest.approx(training.losses(tmp_path, label, "float32"), rel=1e-4)
    else:  # its masks are other ones, and so are the losses, but by little
        assert losses == pytest.approx(training.losses(tmp_path, label, "float32"), rel=0.2)


@pytest.mark.deep
@pytest.mark.parametrize("label", [pytest.param(label, marks=installed(label)) for label in LABELS])
def test_a_deep_program_prints_the_losses_of_the_reference(tmp_path, label):
    plain = load_spec("resnet-20")
    # At the paper's rate, ten steps on noise are chaos: what float32 rounds becomes a per cent.
    optimizer = plain.training.optimizer.model_copy(update={"learning_rate": 1e-3})
    training = plain.training.model_copy(update={"optimizer": optimizer})
    training = Training(tmp_path, plain.name, plain.model_copy(update={"training": training}))
    programs = write(tmp_path, {"resnet-20": training.spec})
    losses = printed(run(*training.command(programs, label)))
    assert losses == pytest.approx(training.losses(tmp_path, "numpy", "float64"), rel=1e-4)
