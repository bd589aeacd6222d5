from __future__ import annotations

import numpy as np
import pytest
from spec_examples import CONV, DENSE, FLATTEN, parse, problem, toml

from harness.data.augment import augment
from harness.spec import Augment, library, load_spec, parse_spec, spec_from_json

# As they were before there was anything to augment; results on disk are known by them.
HASHES = {"mnist-1conv": "d0aaae34d22aeeb1", "mnist-2conv": "7c9061e57b0d448e"}


def augmented(text: str):
    return parse(CONV, FLATTEN, DENSE, training=f"[training.augment]\n{text}\n")


def test_a_section_of_its_own_says_what_is_changed():
    spec = augmented("crop_padding = 4\nflip = true\ncutout = 6")
    assert spec.training.augment == Augment(crop_padding=4, flip=True, cutout=6)
    assert parse(CONV, FLATTEN, DENSE).training.augment is None


def test_each_of_its_fields_changes_the_hash():
    texts = ("crop_padding = 4", "crop_padding = 2", "flip = true", "cutout = 4")
    hashes = {parse(CONV, FLATTEN, DENSE).hash, *(augmented(text).hash for text in texts)}
    assert len(hashes) == 5


@pytest.mark.parametrize("name", HASHES)
def test_specs_without_it_keep_the_hash_that_they_had(name):
    assert name in library()
    assert load_spec(name).hash == HASHES[name]


def test_it_arrives_at_a_worker():
    spec = augmented("cutout = 3")
    assert spec_from_json(spec.model_dump_json()) == spec


WRONG = {
    "crop_padding = -1": "training.augment.crop_padding: -1 should be greater than or equal to 0",
    "cutout = 5000": "training.augment.cutout: 5000 should be less than or equal to 4096",
    "flip = 1": "training.augment.flip: 1 should be true or false",
    "mirror = true": "training.augment.mirror: unknown field; allowed: crop_padding, cutout, flip.",
    "": "training.augment: {} changes nothing; set crop_padding, flip or cutout, or leave it out",
    "flip = false": "training.augment: {flip = false} changes nothing; set",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_named_with_its_path(text):
    found = problem(toml(training=f"[training.augment]\n{text}\n"))
    assert found.startswith(WRONG[text])


def test_what_is_at_its_limit_leaves_something_and_one_more_would_not():
    """Of 9x7 pixels: whatever is drawn, one more leaves a black image at some time."""
    images, rows = np.ones((1, 9, 7, 1), np.float32), np.zeros(4000, np.int64)
    for field, most in (("crop_padding", 6), ("cutout", 8)):
        for value, is_left in ((most, True), (most + 1, False)):
            change = Augment(**{field: value})
            changed = augment(images, rows, change, seed=0, epoch=0)
            assert changed.any(axis=(1, 2, 3)).all() == is_left
            text = toml(size=(9, 7, 1), training=f"[training.augment]\n{field} = {value}\n")
            if is_left:
                parse_spec(text, "example.toml")
            else:
                assert problem(text).endswith(f"allowed: 0 to {most}")


def test_it_must_be_a_table():
    assert problem(toml(training="[training]\naugment = true\n")) == (
        "training.augment: true should be a table"
    )
