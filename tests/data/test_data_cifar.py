"""CIFAR in small: archives of a few records that go by the names of the published ones."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from harness.data import catalog, load, store
from harness.data.cifar import CIFAR, Cifar
from harness.errors import DataError

RNG = np.random.default_rng(0)


def record_bytes(source: Cifar, file: str) -> bytes:
    count = source.records[file]
    labels = RNG.integers(0, source.classes, (count, source.label_bytes))
    if source.label_bytes == 2:
        labels[:, 0] = 200  # a coarse label that would be refused as a fine one
    return np.hstack([labels, RNG.integers(0, 256, (count, 3072))]).astype(np.uint8).tobytes()


def tar(members: dict[str, bytes], extra: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return buffer.getvalue()


@dataclass
class Small:
    source: Cifar
    files: dict[str, bytes]
    monkeypatch: pytest.MonkeyPatch

    @property
    def members(self) -> dict[str, bytes]:
        readme = {f"{self.source.folder}/readme.html": b"<html>"}
        return readme | {f"{self.source.folder}/{k}": v for k, v in self.files.items()}

    def put(self, folder: Path, content: bytes | None = None) -> Path:
        """Write the archive, or another that is said to be the published one."""
        content = tar(self.members) if content is None else content
        self.publish(md5=hashlib.md5(content).hexdigest())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.source.archive).write_bytes(content)
        return folder / self.source.archive

    def publish(self, **changes: object) -> None:
        self.source = replace(self.source, **changes)
        self.monkeypatch.setitem(CIFAR, self.source.name, self.source)

    def unpack(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)


@pytest.fixture(params=["cifar10", "cifar100"])
def small(request, monkeypatch) -> Small:
    return make(request.param, monkeypatch)


@pytest.fixture
def ten(monkeypatch) -> Small:
    return make("cifar10", monkeypatch)


def make(name: str, monkeypatch: pytest.MonkeyPatch) -> Small:
    source = CIFAR[name]
    records = {file: 3 + number for number, file in enumerate(source.records)}
    source = replace(source, records=records, mirrors=())
    small = Small(source, {file: record_bytes(source, file) for file in records}, monkeypatch)
    small.publish()
    return small


def expected(small: Small, files: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    content = b"".join(small.files[file] for file in files)
    size = small.source.label_bytes + 3072
    records = [content[at : at + size] for at in range(0, len(content), size)]
    images = np.zeros((len(records), 32, 32, 3), np.float32)
    for image, record in zip(images, records, strict=True):
        pixels = np.frombuffer(record[-3072:], np.uint8)
        for channel in range(3):
            image[:, :, channel] = pixels[1024 * channel :][:1024].reshape(32, 32) / 255
    return images, np.array([record[-3073] for record in records])


def test_planes_become_pixels_and_the_fine_label_counts(small, cache):
    small.put(cache / small.source.name)
    dataset = load(small.source.name)
    for found, files in (
        ((dataset.train_images, dataset.train_labels), small.source.train_files),
        ((dataset.test_images, dataset.test_labels), (small.source.test_file,)),
    ):
        images, labels = expected(small, files)
        assert np.allclose(found[0], images)
        assert np.array_equal(found[1], labels)
        assert (found[0].dtype, found[1].dtype) == (np.float32, np.int32)
    assert dataset.classes == {"cifar10": 10, "cifar100": 100}[small.source.name]


@pytest.mark.parametrize("below", ["", "NAME", "FOLDER", "NAME/FOLDER"])
def test_files_that_were_unpacked_are_found_in_harness_data(small, tmp_path, monkeypatch, below):
    below = below.replace("NAME", small.source.name).replace("FOLDER", small.source.folder)
    small.unpack(tmp_path / "own" / below)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "own"))
    dataset = load(small.source.name)
    assert np.allclose(dataset.test_images, expected(small, (small.source.test_file,))[0])


def test_archive_and_files_give_the_same_dataset(small, cache, tmp_path, monkeypatch):
    small.put(cache / small.source.name)
    packed = load(small.source.name).hash
    small.unpack(tmp_path / "own")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "own"))
    assert load(small.source.name).hash == packed


def test_harness_data_comes_before_the_cache_and_the_cache_before_a_download(
    ten, web, cache, tmp_path, monkeypatch
):
    content = tar(ten.members)
    ten.publish(mirrors=(f"{web.address}/",), md5=hashlib.md5(content).hexdigest())
    web.give(f"/{ten.source.archive}", content)
    first = load("cifar10").hash
    assert web.asked == [f"/{ten.source.archive}"]
    assert [path.name for path in (cache / "cifar10").iterdir()] == [ten.source.archive]
    assert load("cifar10").hash == first
    assert len(web.asked) == 1
    ten.files["test_batch.bin"] = record_bytes(ten.source, "test_batch.bin")
    ten.unpack(tmp_path / "own")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "own"))
    assert load("cifar10").hash != first


def test_a_download_that_is_not_the_published_file_is_refused_and_not_kept(ten, web, cache):
    ten.publish(mirrors=(f"{web.address}/",))
    web.give(f"/{ten.source.archive}", tar(ten.members))
    message = f"MD5 expected {ten.source.md5}, found"
    with pytest.raises(DataError, match=message) as caught:
        load("cifar10")
    assert "set HARNESS_DATA to it" in str(caught.value)
    assert list((cache / "cifar10").iterdir()) == []


def test_an_endless_download_is_cut_off(ten, web):
    ten.publish(mirrors=(f"{web.address}/",))
    web.give(f"/{ten.source.archive}", bytes(3_000_000))
    with pytest.raises(DataError, match="too long: more than"):
        load("cifar10")


def test_an_archive_in_a_folder_is_checked_too(ten, tmp_path, monkeypatch):
    path = ten.put(tmp_path)
    path.write_bytes(tar({**ten.members, "more": b""}))
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"{path}: not the published file: MD5 .* unset HARNESS"):
        load("cifar10")


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def without(members: dict[str, bytes], *names: str) -> dict[str, bytes]:
    return {k: v for k, v in members.items() if k.rpartition("/")[2] not in names}


TEST = "cifar-10-batches-bin/test_batch.bin"
HOSTILE = {
    "a member is missing": (
        lambda m: tar(without(m, "test_batch.bin")),
        "without cifar-10-batches-bin/test_batch.bin",
    ),
    "a member is short": (
        lambda m: tar({**m, TEST: m[TEST][:-1]}),
        r"test_batch.bin: expected \d+ bytes, found",
    ),
    "a member is a link": (
        lambda m: tar(without(m, "test_batch.bin"), (link(TEST, "/etc/passwd"),)),
        "test_batch.bin: expected .* bytes, found 0",
    ),
    "a member lies elsewhere": (
        lambda m: tar({**without(m, "test_batch.bin"), "../test_batch.bin": m[TEST]}),
        "without cifar-10-batches-bin/test_batch.bin",
    ),
    "a huge member": (lambda m: tar({"big": bytes(10**6), **m}), "member 'big'"),
    "very many members": (
        lambda m: tar({**{f"{n}": b"" for n in range(200)}, **m}),
        "member '100'",
    ),
    "no tar": (lambda m: b"no archive at all", "damaged archive"),
    "cut short": (lambda m: tar(m)[:5000], "damaged archive"),
    "a label too large": (
        lambda m: tar({**m, TEST: b"\x0a" + m[TEST][1:]}),
        "test_batch.bin: label 10; allowed: 0 to 9",
    ),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_or_damaged_archive_is_refused_by_name(ten, cache, tmp_path, fault):
    spoil, message = HOSTILE[fault]
    path = ten.put(cache / "cifar10", spoil(ten.members))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=message) as caught:
        load("cifar10")
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("Delete it to have it downloaded again")
    assert sorted(tmp_path.rglob("*")) == before, "nothing was unpacked"


def test_a_file_of_another_size_is_refused_before_it_is_read(ten, tmp_path, monkeypatch):
    ten.files["data_batch_2.bin"] += b"more"
    ten.unpack(tmp_path / "own")
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "own"))
    with pytest.raises(DataError, match=r"data_batch_2.bin: expected \d+ bytes, found \d+"):
        load("cifar10")


def test_a_mapped_dataset_is_the_same_dataset(small, cache, monkeypatch):
    small.put(cache / small.source.name)
    plain = load(small.source.name).hash
    monkeypatch.setattr(store, "MEMORY_LIMIT", 0)
    mapped = load(small.source.name)
    assert isinstance(mapped.train_images, np.memmap)
    assert mapped.hash == plain


def test_the_published_ones_have_the_known_sums_and_sizes():
    assert CIFAR["cifar10"].md5 == "c32a1d4ab5d03f1284b67883e8d87530"
    assert CIFAR["cifar100"].md5 == "03b5dce01913d631647c71ecec9e9cb8"
    for source, size in (("cifar10", 30_730_000), ("cifar100", 30_740_000)):
        assert CIFAR[source].size(CIFAR[source].test_file) == size
        assert (CIFAR[source].train, CIFAR[source].test) == (50_000, 10_000)


def test_the_catalog_says_where_it_is(ten, cache):
    def where() -> str:
        return {info.name: info.where for info in catalog()}["cifar10"]

    assert where() == "not here yet; downloaded on first use"
    ten.put(cache / "cifar10")
    assert where() == str(cache / "cifar10")
