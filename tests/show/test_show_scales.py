"""Axes: round ticks, all values within."""

from __future__ import annotations

from itertools import pairwise

import pytest

from harness.show.page.marks import Key, spread
from harness.show.page.scales import around, from_zero, logarithmic


@pytest.mark.parametrize("top", [1e-9, 0.003, 0.7, 1.0, 4148.0, 9.99e6, 3e12])
def test_an_axis_from_zero_has_round_ticks_up_to_its_largest_value(top):
    axis = from_zero([top / 3, top])
    assert axis.at(0) == 0
    assert 90 < axis.at(top) < 100
    assert 3 <= len(axis.ticks) <= 7
    assert axis.ticks[0] == 0
    assert len({text for _, text in axis.labels}) == len(axis.labels), "no two look the same"


@pytest.mark.parametrize("values", [[0.97, 0.983], [5.0, 5.0], [0.0, 0.0], [-2.0, 3.0], []])
def test_an_axis_around_values_has_them_all_within(values):
    axis = around(values)
    assert all(0 < axis.at(value) < 100 for value in values)
    assert len(axis.ticks) >= 2


def test_labels_are_those_of_the_values_in_the_unit_of_the_axis():
    assert from_zero([0.031], factor=1000).labels[:3] == [
        (0.0, "0"),
        (pytest.approx(31.32, abs=0.01), "10"),
        (pytest.approx(62.64, abs=0.01), "20"),
    ]


def test_on_a_logarithmic_axis_equal_ratios_are_equal_lengths():
    axis = logarithmic([0.01, 1.0])
    assert axis.log
    assert axis.at(0.1) - axis.at(0.01) == pytest.approx(axis.at(1.0) - axis.at(0.1))
    assert {"0.01", "0.1", "1"} <= {text for _, text in axis.labels}


def test_values_of_one_magnitude_get_no_logarithm():
    assert not logarithmic([1.0, 5.0]).log


def test_names_at_the_ends_of_lines_are_moved_apart_and_keep_their_order():
    keys = [Key(str(n), "cpu", str(n), "") for n in range(4)]
    moved = spread(list(zip(keys, [50.0, 50.5, 51.0, 99.0], strict=True)))
    places = [place for _, place in moved]
    assert [key for key, _ in moved] == keys
    assert all(b - a >= 7.99 for a, b in pairwise(places))


def test_names_at_the_bottom_are_pushed_up_into_the_plot():
    keys = [Key(str(n), "cpu", str(n), "") for n in range(3)]
    places = [place for _, place in spread([(key, 100.0) for key in keys])]
    assert max(places) <= 100
    assert all(b - a >= 7.99 for a, b in pairwise(places))
