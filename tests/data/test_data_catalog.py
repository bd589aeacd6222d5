from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from harness.data import catalog, load
from harness.data.dataset import build, check_size, fingerprint
from harness.errors import DataError


def test_an_unknown_name_is_answered_with_the_known_ones_and_the_nearest():
    with pytest.raises(DataError) as caught:
        load("minst")
    assert str(caught.value) == (
        "unknown dataset 'minst'; known: digits, fashion-mnist, mnist, cifar10, cifar100, "
        "npz:FILE, image-folder:DIR, huggingface:NAME, "
        "synthetic:HxWxC:classes:n, synthetic-regression:HxWxC:outputs:n. "
        "Did you mean 'mnist'? Try: python -m harness datasets"
    )


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("MNIST", "mnist"),
        ("digit", "digits"),
        ("sinthetic:8x8x1:2:10", "synthetic"),
        ("synthetic-regresion:8x8x1:2:10", "synthetic-regression"),
    ],
)
def test_a_near_miss_is_recognised(name, near):
    with pytest.raises(DataError, match=f"Did you mean '{near}'"):
        load(name)


@pytest.mark.parametrize("name", ["", "digits:8", "mnist:train", "/etc/passwd"])
def test_anything_else_is_unknown(name):
    with pytest.raises(DataError, match="unknown dataset"):
        load(name)


def test_the_catalog_lists_what_can_be_loaded():
    rows = {info.name: info for info in catalog()}
    assert list(rows) == [
        "digits",
        "fashion-mnist",
        "mnist",
        "cifar10",
        "cifar100",
        "npz:FILE",
        "image-folder:DIR",
        "huggingface:NAME",
        "synthetic:HxWxC:classes:n",
        "synthetic-regression:HxWxC:outputs:n",
    ]
    assert rows["digits"].where == "bundled with scikit-learn"
    assert rows["synthetic:HxWxC:classes:n"].where == "generated"
    mnist = rows["mnist"]
    assert (mnist.image_shape, mnist.classes, mnist.train, mnist.test) == (
        "28x28x1",
        10,
        60_000,
        10_000,
    )


def test_the_catalog_says_where_the_files_are_now(tiny, cache):
    def where() -> str:
        return {info.name: info.where for info in catalog()}["mnist"]

    assert where() == "not here yet; downloaded on first use"
    tiny.put(cache / "mnist")
    assert where() == str(cache / "mnist")
    next((cache / "mnist").iterdir()).unlink()
    assert where() == "not here yet; downloaded on first use"


def test_running_out_of_memory_is_an_error_and_no_traceback(monkeypatch):
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("harness.data.names.load_synthetic", fail)
    with pytest.raises(DataError, match="dataset 'synthetic:8x8x1:2:10': not enough memory"):
        load("synthetic:8x8x1:2:10")


def test_importing_the_package_is_cheap():
    heavy = "sklearn scipy pooch requests rich torch tensorflow jax keras pandas"
    script = f"import sys, harness.data; print(*set('{heavy}'.split()) & set(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == []


IMAGES = np.zeros((2, 3, 3, 1), np.float32)
LABELS = np.zeros(2, np.int32)


def test_the_hash_sees_every_value_type_and_shape():
    other = IMAGES.copy()
    other[1, 2, 2, 0] = 1
    hashes = [
        fingerprint([IMAGES, LABELS]),
        fingerprint([other, LABELS]),
        fingerprint([LABELS, IMAGES]),
        fingerprint([IMAGES.reshape(2, 9, 1, 1), LABELS]),
        fingerprint([IMAGES.view(np.int32), LABELS]),
        fingerprint([IMAGES, LABELS + 1]),
    ]
    assert len(set(hashes)) == len(hashes)
    assert all(len(bytes.fromhex(digest)) == 8 for digest in hashes)


def test_the_hash_does_not_depend_on_memory_layout_or_byte_order():
    images = np.arange(18, dtype=np.float32).reshape(2, 3, 3, 1)
    assert (
        fingerprint([images])
        == fingerprint([np.asfortranarray(images)])
        == fingerprint([images.astype(">f4")])
        == "62afff63e53df0d5"
    )


def test_a_dataset_knows_the_shape_of_its_images():
    dataset = build("own", (IMAGES, LABELS), (IMAGES, LABELS), 2)
    assert dataset.image_shape == (3, 3, 1)
    assert dataset.hash == fingerprint([IMAGES, LABELS, IMAGES, LABELS])


def test_256_gibibytes_are_allowed_and_not_a_number_more():
    check_size(2**36)
    with pytest.raises(DataError, match="256 GiB"):
        check_size(2**36 + 1)
