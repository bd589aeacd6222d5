"""The reference itself: its gradients against finite differences of its loss."""

from __future__ import annotations

import numpy as np
import pytest
from studies import Case, material

# Not "ties", as at a tie there is no derivative; elsewhere a tie is unlikely.
SMOOTH = ["dense", "drawn", "dropouts", "pools", "softmaxes", "strides"]
DIRECTIONS = 2


def slopes(ask, name):
    """Yield, for random directions of each array, the slope by gradient and by differences."""
    random, given = np.random.default_rng(5), material(name)
    images, rest = given.batch["images"].astype(np.float64), {**given.batch, **given.masks}
    parameters = {path: value.astype(np.float64) for path, value in given.parameters.items()}

    def loss(path, change):
        moved = {**parameters, "images": images}
        moved[path] = moved[path] + change
        batch = {**rest, "images": moved.pop("images")}
        ask("reset", moved, seed=0)
        return ask("gradients", batch)[0]["loss"]

    ask("reset", parameters, seed=0)
    gradients = ask("gradients", rest)[1]
    for path, value in {**parameters, "images": images}.items():
        for _ in range(DIRECTIONS):
            direction = random.normal(size=value.shape)
            direction *= 1e-6 * np.abs(value).max() / np.abs(direction).max()
            by_gradient = (gradients[f"gradient.{path}"] * direction).sum()
            by_difference = (loss(path, direction) - loss(path, -direction)) / 2
            yield path, by_gradient, by_difference


def check_slopes(lab, case):
    found = lab.work(case, lambda ask: list(slopes(ask, case.network)))
    scale = max(abs(by_gradient) for _, by_gradient, _ in found)
    for path, by_gradient, by_difference in found:
        assert by_difference == pytest.approx(by_gradient, rel=1e-5, abs=1e-6 * scale), path


@pytest.mark.parametrize("name", SMOOTH)
def test_the_gradients_are_the_slopes_of_the_loss(lab, name):
    check_slopes(lab, Case("numpy", name))


def test_a_gradient_wrong_by_a_thousandth_is_not_the_slope_of_the_loss(lab):
    lab.study(Case("numpy", "strides"))
    wrong = "def loss_fn(*batch):\n    loss, by_logits = layers.cross_entropy(*batch)\n"
    wrong += "    return loss, by_logits * 1.001\n"
    edits = (("loss_fn = layers.cross_entropy\n", wrong),)
    with pytest.raises(AssertionError):
        check_slopes(lab, Case("numpy", "strides", edits=edits))
