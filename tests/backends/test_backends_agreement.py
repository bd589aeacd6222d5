from __future__ import annotations

import sys
from typing import get_args

import numpy as np
import pytest
from studies import (
    GATHERING,
    NETWORKS,
    OWN,
    SUBSETS,
    TRAINED,
    Case,
    backends,
    cases,
    deep,
    installed,
    material,
    network,
)

from harness.run.agreement import compare
from harness.spec import infer, library
from harness.spec.blocks import LAYER_TYPES
from harness.spec.training import OPTIMIZER_TYPES, LossName


def agree(found, reference, precision="float64"):
    agreement = compare(found, reference, precision)
    assert agreement.equivalent, str(agreement)


def of(case):
    return infer(network(case.network))


def test_every_backend_that_is_registered_loads():
    assert not [f"{label}: {info.error}" for label, info in backends().items() if info.error]
    assert SUBSETS.keys() <= backends().keys()


def test_no_backend_and_no_framework_is_imported_here():
    heavy = {"backends", "flax", "jax", "keras", "tensorflow", "torch"}
    assert not heavy & sys.modules.keys()


every_case = pytest.mark.parametrize("case", cases(NETWORKS), ids=str)


@every_case
def test_every_layers_output_is_the_references(case, study, reference):
    assert list(study["activations"]) == [node.path for node in of(case).nodes]
    agree(study["activations"], reference["activations"])


@every_case
def test_every_layers_output_in_training_mode_is_the_references(case, study, reference):
    assert list(study["training mode"]) == [node.path for node in of(case).nodes]
    agree(study["training mode"], reference["training mode"])


@every_case
def test_predictions_logits_loss_and_every_gradient_are_the_references(case, study, reference):
    assert study["batch"].keys() == {
        *("predictions", "logits", "loss", "gradient.images"),
        *(f"gradient.{parameter.path}" for parameter in of(case).parameters),
    }
    agree(study["batch"], reference["batch"])


@pytest.mark.parametrize("case", cases(GATHERING), ids=str)
def test_running_statistics_after_a_step_are_the_references(case, study, reference):
    assert study["statistics"].keys() == {statistic.path for statistic in of(case).statistics}
    agree(study["statistics"], reference["statistics"])


@pytest.mark.parametrize("name", [pytest.param(n, marks=deep(n)) for n in GATHERING])
def test_in_the_reference_every_running_statistic_moves_in_a_step(lab, name):
    study, before = lab.study(Case("numpy", name)), material(name).parameters
    for path, value in study["statistics"].items():
        assert not np.array_equal(value, before[path]), path


@pytest.mark.parametrize("case", cases(TRAINED), ids=str)
def test_losses_and_weights_of_a_training_are_the_references(case, study, reference):
    assert len(study["training"]["losses"]) >= 4
    for parameter in of(case).parameters:
        for slot in network(case.network).training.optimizer.slots:
            assert f"last state.{parameter.path}.{slot}" in study["training"]
    agree(study["training"], reference["training"])


@pytest.mark.parametrize("case", cases(["dropouts", "drawn"]), ids=str)
def test_without_masks_the_gradients_leave_dropout_out(case, study, reference):
    agree(study["batch without masks"], reference["batch without masks"])
    masked, plain = study["batch"], study["batch without masks"]
    assert np.array_equal(masked["predictions"], plain["predictions"])
    assert np.allclose(plain["logits"], plain["predictions"], rtol=1e-12)
    assert not np.allclose(masked["logits"], plain["logits"], rtol=0.01)


@pytest.mark.parametrize("case", cases(TRAINED), ids=str)
def test_a_reset_and_a_training_in_other_blocks_give_the_same_again(case, study):
    again = study["training again"]
    assert again.keys() <= study["training"].keys()
    for key, value in again.items():
        assert np.array_equal(value, study["training"][key]), key


@pytest.mark.parametrize("case", cases(["dense"]), ids=str)
def test_the_cross_entropy_of_huge_logits_is_finite(case, study):
    logits, loss = study["batch"]["logits"], study["batch"]["loss"]
    assert np.abs(logits).max() > 10_000
    assert 1000 < loss < np.abs(logits).max() * 2


@pytest.mark.parametrize("case", cases(["pools", "ties"]), ids=str)
def test_padding_never_wins_a_window(case, study):
    padded = {"pools": "pool1", "ties": "pool2"}[case.network]  # there, every value is negative
    assert study["activations"][padded].max() < 0


@pytest.mark.parametrize("case", cases(["ties"]), ids=str)
def test_of_equal_values_the_first_in_row_major_order_takes_the_gradient(case, study):
    gradient = study["batch"]["gradient.images"][0]  # of an image of one colour
    assert np.any(gradient[::2, ::2])
    assert not np.any(gradient[1::2])
    assert not np.any(gradient[:, 1::2])


# Where float32 takes other paths: oneDNN, and XLA with all its optimizations.
FLOAT32 = [
    pytest.param(Case(label, name, "float32"), marks=installed(label))
    for label in ("flax", "tensorflow", "torch")
    for name in ("mnist-1conv", "ties")
]


@pytest.mark.parametrize("case", FLOAT32, ids=str)
def test_in_float32_as_it_is_timed_all_is_the_references_too(case, study, reference):
    assert study["batch"]["logits"].dtype == np.float32
    agree(study["activations"], reference["activations"], "float32")
    agree(study["batch"], reference["batch"], "float32")


@pytest.mark.parametrize("name", [pytest.param(n, marks=deep(n)) for n in NETWORKS])
def test_in_the_reference_no_layer_is_dead_and_no_gradient_zero(lab, name):
    study = lab.study(Case("numpy", name))
    for topic in ("activations", "batch"):
        for key, value in study[topic].items():
            assert np.any(value), key


@pytest.mark.parametrize("name", TRAINED)
def test_in_the_reference_every_weight_is_trained(lab, name):
    trained, first = lab.study(Case("numpy", name))["training"], "first state."
    for key in filter(lambda key: key.startswith(first), trained):
        assert not np.array_equal(trained[key], trained[key.replace(first, "last state.")]), key


def test_the_networks_are_of_every_kind_of_layer_and_optimizer():
    specs = [network(name) for name in OWN]
    layers = [part.layer for spec in specs for part in (*infer(spec).nodes, *infer(spec).blocks)]
    assert {layer.type for layer in layers} == set(LAYER_TYPES)
    assert {spec.training.optimizer.type for spec in specs} == set(OPTIMIZER_TYPES)
    assert {spec.training.loss for spec in specs} == set(get_args(LossName))
    assert not set(OWN) & set(library())
