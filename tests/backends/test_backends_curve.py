"""ResNet-20 on real images, as it is timed: one loss curve in every framework."""

from __future__ import annotations

import numpy as np
import pytest
from studies import backends, installed

from harness.data import load
from harness.run.folder import ResultsFolder, read_rows
from harness.run.listener import Listener
from harness.run.plan import fit, make_plan
from harness.run.run import run
from harness.spec import Spec, load_spec

LABELS = ("torch", "tensorflow", "flax", "keras")
STEPS = 11  # in one epoch of the digits; rounding doubles in two steps, and would be seen in twenty
CIFAR = 50_000 // 128  # steps in an epoch of the images that the schedule was written for
pytestmark = [pytest.mark.deep, *(mark for label in LABELS for mark in installed(label))]


def as_on_cifar() -> Spec:
    """ResNet-20 for the digits, with the rates of the first steps on CIFAR-10.

    An epoch of the digits is shorter than its warm-up, which would rise to the whole rate.
    """
    spec = fit(load_spec("resnet-20"), load("digits"))
    training = spec.training
    share = STEPS / (training.schedule.warmup_epochs * CIFAR)
    optimizer = training.optimizer
    slower = optimizer.model_copy(update={"learning_rate": share * optimizer.learning_rate})
    return spec.model_copy(
        update={"training": training.model_copy(update={"optimizer": slower, "epochs": 1})}
    )


def test_the_rates_are_those_of_the_first_steps_on_cifar():
    wanted = load_spec("resnet-20").training.learning_rates(CIFAR)[:STEPS]
    found = as_on_cifar().training.learning_rates(STEPS)
    assert found == pytest.approx(wanted)


def test_resnet_20_has_the_same_loss_curve_on_real_images_in_all_four(tmp_path):
    known = list(backends().values())
    chosen = [backends()[label] for label in LABELS]
    plan = make_plan(as_on_cifar(), "digits", chosen, known, device="cpu", seeds=1, block_steps=1)
    folder = ResultsFolder(tmp_path / "out")
    run(plan, load("digits"), folder, Listener())
    rows = read_rows(folder.path / "summary.csv")
    assert {row["backend"]: (row["status"], row["equivalent"]) for row in rows} == dict.fromkeys(
        LABELS, ("ok", True)
    )
    blocks = [s for s in read_rows(folder.path / "samples.csv") if s["phase"] == "train"]
    curves = {
        label: np.array([s["loss"] for s in blocks if s["backend"] == label]) for label in LABELS
    }
    assert all(len(curve) == STEPS for curve in curves.values())
    first = curves["torch"]
    assert first[-1] < first[0], "something is learnt"
    for label, curve in curves.items():
        assert curve == pytest.approx(first, rel=1e-4), label
