from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.run.agreement import (
    CHECK_IMAGES,
    TOLERANCE,
    Agreement,
    check_batch,
    check_parameters,
    compare,
    relative_difference,
)
from harness.spec import initial_parameters, parse_spec

SPEC = parse_spec(
    """
name = "two-dropouts"
input = [6, 5, 2]
layers = [
  { type = "dropout", rate = 0.25 },
  { type = "flatten" },
  { type = "dense", units = 200 },
  { type = "dropout", rate = 0.8, name = "late" },
  { type = "dense", units = 3 },
]
""",
    "test",
)
IMAGES = np.random.default_rng(0).random((40, 6, 5, 2), np.float32)
TARGETS = np.arange(40, dtype=np.int32) % 3
RIGHT = {"logits": np.array([[1.0, -4.0], [2.0, 0.5]]), "loss": np.array(2.0)}


def changed(name: str, value: object) -> dict[str, np.ndarray]:
    return {**RIGHT, name: np.asarray(value)}


def test_the_same_arrays_agree_exactly():
    agreement = compare(RIGHT, RIGHT, "float64")
    assert agreement.equivalent
    assert agreement.difference == 0.0


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_difference_up_to_the_tolerance_agrees_and_a_larger_one_does_not(precision):
    tolerance = TOLERANCE[precision]
    logits = RIGHT["logits"].copy()
    logits[1, 1] += 4.0 * tolerance * 0.99  # 4 is the largest value
    within = compare(changed("logits", logits), RIGHT, precision)
    logits[1, 1] += 4.0 * tolerance * 0.02
    above = compare(changed("logits", logits), RIGHT, precision)
    assert within.equivalent
    assert not above.equivalent
    assert within.where == above.where == "logits"
    assert above.difference == pytest.approx(1.01 * tolerance, rel=1e-3)


def test_in_bfloat16_the_norm_of_a_difference_counts_and_not_its_largest_value():
    right = {"logits": np.ones((10, 10))}
    one_off = right["logits"].copy()
    one_off[3, 4] += 9.9 * TOLERANCE["bfloat16"]
    assert compare({"logits": one_off}, right, "bfloat16").equivalent
    assert not compare({"logits": one_off}, right, "float32").equivalent
    all_off = right["logits"] * (1 + 1.01 * TOLERANCE["bfloat16"])
    assert not compare({"logits": all_off}, right, "bfloat16").equivalent


def test_in_bfloat16_what_moved_roundings_come_to_is_allowed_three_times():
    right = {"logits": np.ones((10, 10)), "loss": np.array(2.0)}
    moved = [{**right, "logits": right["logits"] * factor} for factor in (1.1, 0.98)]
    within = compare({**right, "logits": right["logits"] * 1.29}, right, "bfloat16", moved)
    assert within.equivalent
    assert within.tolerance == pytest.approx(0.3)
    assert not compare(
        {**right, "logits": right["logits"] * 1.31}, right, "bfloat16", moved
    ).equivalent
    loss = compare({**right, "loss": np.array(2.1)}, right, "bfloat16", moved)
    assert (loss.where, loss.equivalent) == ("loss", False)


def test_the_worst_array_is_named_wherever_it_stands():
    found = {"logits": RIGHT["logits"] * 1.001, "loss": np.array(2.5)}
    assert compare(found, RIGHT, "float32").where == "loss"
    assert compare(found, dict(reversed(RIGHT.items())), "float32").where == "loss"


WRONG = {
    "missing": {"loss": RIGHT["loss"]},
    "of another shape": changed("logits", [[1.0, -4.0, 2.0, 0.5]]),
    "with an axis more": changed("logits", RIGHT["logits"][None]),
    "empty": changed("logits", np.zeros((0, 2))),
    "infinite": changed("logits", [[1.0, np.inf], [2.0, 0.5]]),
    "NaN in one place": changed("logits", [[1.0, np.nan], [2.0, 0.5]]),
}


@pytest.mark.parametrize("found", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("order", [1, -1])
def test_an_array_that_cannot_be_right_never_agrees(found, order):
    reference = dict(list(RIGHT.items())[::order])
    agreement = compare(found, reference, "float32")
    assert not agreement.equivalent
    assert agreement.where == "logits"


def test_nan_is_named_though_a_later_array_is_infinitely_wrong():
    agreement = compare(changed("logits", np.full((2, 2), np.nan)) | {"loss": 9}, RIGHT, "float32")
    assert np.isnan(agreement.difference)
    assert agreement.where == "logits"


def test_infinite_values_agree_with_nothing_not_even_themselves():
    infinite = {"loss": np.array([np.inf])}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not compare(infinite, infinite, "float32").equivalent


def test_a_gradient_that_is_zero_but_for_rounding_is_held_against_the_largest():
    right = {"gradient.conv1.kernel": np.array([2.0]), "gradient.conv1.bias": np.array([3e-16])}
    noisy = {**right, "gradient.conv1.bias": np.array([-4e-15])}
    assert compare(noisy, right, "float64").equivalent
    wrong = {**right, "gradient.conv1.bias": np.array([4e-9])}
    agreement = compare(wrong, right, "float64")
    assert not agreement.equivalent
    assert agreement.where == "gradient.conv1.bias"
    small = {**right, "gradient.conv1.bias": np.array([1e-9])}  # small, but no rounding
    assert not compare(
        {**small, "gradient.conv1.bias": np.array([1.1e-9])}, small, "float32"
    ).equivalent


def test_without_a_reference_there_is_no_agreement():
    with pytest.raises(ValueError, match="no reference"):
        compare(RIGHT, {}, "float32")


def test_arrays_that_the_reference_has_not_do_not_matter():
    assert compare({**RIGHT, "more": np.array(np.nan)}, RIGHT, "float64").equivalent


def test_an_agreement_says_where_and_by_how_much():
    assert str(Agreement("logits", 3e-7, 1e-4)) == (
        "logits differs by 3.0e-07 of its largest value, within 1e-04"
    )
    assert str(Agreement("gradient.conv1.bias", float("nan"), 1e-4)) == (
        "gradient.conv1.bias differs by nan of its largest value, above 1e-04"
    )


@given(
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=20),
    st.floats(1e-3, 1e3),
    st.integers(-1, 1),
)
def test_the_relative_difference_is_the_largest_one_over_the_largest_value(values, scale, sign):
    right = np.array(values)
    left = right * (1 + sign * 1e-3)
    found = relative_difference(left, right)
    largest = max(abs(value) for value in values)
    expected = max(abs(a - b) for a, b in zip(left, values, strict=True))
    assert found == pytest.approx(expected / largest if largest else 0.0, rel=1e-9)
    assert relative_difference(left * scale, right * scale) == pytest.approx(found, abs=1e-12)


def test_where_all_is_zero_the_difference_is_absolute():
    assert relative_difference(np.array([0.0, 0.25]), np.zeros(2)) == 0.25
    assert relative_difference(np.zeros(2), np.zeros(2)) == 0.0
    assert relative_difference(np.zeros((0, 3)), np.zeros((0, 3))) == 0.0


def test_float32_is_compared_in_double_precision():
    right = np.array([1.0])
    assert relative_difference(np.array([1.0], np.float32), right + 1e-12) == pytest.approx(1e-12)


def test_the_check_batch_has_one_mask_for_each_dropout_of_its_inputs_shape():
    batch = check_batch(SPEC, IMAGES, TARGETS)
    assert set(batch) == {"images", "targets", "mask.dropout1", "mask.late"}
    assert batch["mask.dropout1"].shape == (CHECK_IMAGES, 6, 5, 2)
    assert batch["mask.late"].shape == (CHECK_IMAGES, 200)
    assert np.array_equal(batch["targets"], TARGETS[:CHECK_IMAGES])


@pytest.mark.parametrize(("name", "rate"), [("dropout1", 0.25), ("late", 0.8)])
def test_a_mask_drops_its_rate_and_scales_the_rest(name, rate):
    mask = check_batch(SPEC, IMAGES, TARGETS)[f"mask.{name}"]
    assert mask.dtype == np.float64, "most such factors are no float32"
    assert np.unique(mask).tolist() == [0.0, 1 / (1 - rate)]
    assert (mask == 0).mean() == pytest.approx(rate, abs=0.1)
    assert not (mask == mask[:1]).all()


def test_the_check_images_are_the_real_ones_with_a_little_noise_and_no_ties():
    plain = np.zeros_like(IMAGES)
    batch = check_batch(SPEC, plain, TARGETS)
    assert batch["images"].dtype == np.float32
    assert len(np.unique(batch["images"])) > 0.99 * batch["images"].size
    assert batch["images"].min() >= 0
    assert batch["images"].max() <= 0.1
    assert not plain.any()
    closer = check_batch(SPEC, IMAGES, TARGETS)["images"] - IMAGES[:CHECK_IMAGES]
    assert np.abs(closer).max() <= 0.1 + 1e-6


def test_everyone_gets_the_same_check():
    first, again = (check_batch(SPEC, IMAGES, TARGETS) for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_few_images_are_enough():
    batch = check_batch(SPEC, IMAGES[:3], TARGETS[:3])
    assert {len(array) for array in batch.values()} == {3}


def test_the_check_parameters_leave_no_bias_at_zero():
    parameters = initial_parameters(SPEC, 0)
    checked = check_parameters(parameters)
    assert list(checked) == list(parameters)
    for path, array in checked.items():
        assert array.dtype == np.float32
        assert array.shape == parameters[path].shape
        assert np.abs(array).min() > 0
        assert np.abs(array - parameters[path]).max() < 0.2
