"""The datasets by name: what there is, and how to load it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.data.cifar import CHANNELS, CIFAR, SIDE, Cifar, load_cifar
from harness.data.cifar import locate as locate_cifar
from harness.data.dataset import Dataset
from harness.data.digits import TEST, TRAIN, load_digits
from harness.data.folder import FORM as FOLDER_FORM
from harness.data.folder import load_folder
from harness.data.huggingface import FORM as HUB_FORM
from harness.data.huggingface import load_huggingface
from harness.data.mnist import CLASSES, load_mnist, locate
from harness.data.npz import load_npz
from harness.data.published import SOURCES, Source
from harness.data.regression import FORM as REGRESSION_FORM
from harness.data.regression import load_regression
from harness.data.synthetic import FORM, load_synthetic
from harness.errors import DataError, did_you_mean

OF_FILES = ("npz", "image-folder")  # kinds of which the rest of the name is a path
_ABSENT = "not here yet; downloaded on first use"


@dataclass(frozen=True)
class DatasetInfo:
    """One line of the list of datasets; None where it depends on the name or the file."""

    name: str
    description: str
    image_shape: str
    classes: int | None
    train: int | None
    test: int | None
    where: str


def load(name: str) -> Dataset:
    """Load the dataset called `name`: one of `catalog()`; may download, into the user's cache.

    Raises `DataError` if the name is unknown, or the data are missing, damaged or too large.
    """
    kind = name.partition(":")[0]
    try:
        if name == "digits":
            return load_digits()
        if name in SOURCES:
            return load_mnist(SOURCES[name])
        if name in CIFAR:
            return load_cifar(CIFAR[name])
        if kind == "synthetic":
            return load_synthetic(name)
        if kind == "synthetic-regression":
            return load_regression(name)
        if kind == "npz":
            return load_npz(name)
        if kind == "image-folder":
            return load_folder(name)
        if kind == "huggingface":
            return load_huggingface(name)
    except (OSError, MemoryError) as fault:
        raise DataError(f"dataset {name!r}: {str(fault) or 'not enough memory'}") from fault
    raise _unknown(name)


def refuse_unknown(name: str) -> None:
    """See that there is a dataset, or a form of such, that is called so; nothing is read.

    Raises `DataError`.
    """
    known = [info.name for info in catalog()]
    forms = [form.partition(":")[0] for form in known if ":" in form]
    if name not in known and name.partition(":")[0] not in forms:
        raise _unknown(name)


def _unknown(name: str) -> DataError:
    known = [info.name for info in catalog()]
    near = did_you_mean(name.partition(":")[0], [name.partition(":")[0] for name in known])
    return DataError(
        f"unknown dataset {name!r}; known: {', '.join(known)}.{near} "
        "Try: python -m harness datasets"
    )


def catalog() -> list[DatasetInfo]:
    """List what can be loaded; nothing is read or downloaded."""
    return [
        DatasetInfo(
            "digits",
            "handwritten digits, 8x8 enlarged (Alpaydin, Kaynak)",
            "28x28x1",
            CLASSES,
            TRAIN,
            TEST,
            "bundled with scikit-learn",
        ),
        *map(_idx_info, SOURCES.values()),
        *map(_cifar_info, CIFAR.values()),
        _open_info("npz:FILE", "your own arrays", "your file"),
        _open_info(FOLDER_FORM, "your own pictures, a folder for each class", "your folder"),
        _open_info(HUB_FORM, "pictures and classes of the Hugging Face hub", "the hub's cache"),
        _open_info(FORM, "a pattern per class, plus noise", "generated"),
        _open_info(REGRESSION_FORM, "values that depend on the image", "generated"),
    ]


def _open_info(form: str, description: str, where: str) -> DatasetInfo:
    """Return the line of datasets whose shapes are told by their name or files."""
    return DatasetInfo(form, description, "HxWxC", None, None, None, where)


def _idx_info(source: Source) -> DatasetInfo:
    train, _, test, _ = source.parts
    paths = [locate(source, part) for part in source.parts]
    where = _ABSENT
    if paths[0] is not None and None not in paths:
        where = str(paths[0].parent)
    height, width = train.shape[1:]
    return DatasetInfo(
        source.name,
        source.description,
        f"{height}x{width}x1",
        CLASSES,
        train.shape[0],
        test.shape[0],
        where,
    )


def _cifar_info(source: Cifar) -> DatasetInfo:
    path = locate_cifar(source)
    return DatasetInfo(
        source.name,
        source.description,
        f"{SIDE}x{SIDE}x{CHANNELS}",
        source.classes,
        source.train,
        source.test,
        _ABSENT if path is None else str(path.parent if path.is_file() else path),
    )
