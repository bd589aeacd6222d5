"""What is published of MNIST and Fashion-MNIST: mirrors, sizes and checksums.

For MNIST, the SHA-256 are of the uncompressed files whose MD5 are the published ones
(6bbc9ace898e44ae57da46a324031adb, a25bea736e30d166cdddb491f175f624,
2646ac647ad5339dbf082846283269ea, 27ae3e4e09519cfbb04c329615203637): the files circulate
compressed in many ways.

For Fashion-MNIST, what is published is the MD5 of the compressed files, so downloads are
compared with that. The SHA-256 of the two label files are those of the published archives.
Images in a folder of yours, perhaps compressed afresh, are accepted by their structure alone;
the dataset's hash in the results tells whether two runs had the same.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One file: its name without suffix, its shape, and the checksums that are known.

    `content` is the SHA-256 of the uncompressed bytes, `archive` the MD5 of the .gz file.
    """

    stem: str
    shape: tuple[int, ...]
    content: str | None = None
    archive: str | None = None


@dataclass(frozen=True)
class Source:
    """A dataset of four idx files, and the folders on the web that hold them, best first.

    The parts are in the order train images, train labels, test images, test labels.
    """

    name: str
    description: str
    mirrors: tuple[str, ...]
    parts: tuple[Part, Part, Part, Part]


_STEMS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_TRAIN, _TEST = 60_000, 10_000

MNIST = Source(
    "mnist",
    "handwritten digits (LeCun, Cortes, Burges)",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    (
        Part(
            _STEMS[0],
            (_TRAIN, 28, 28),
            content="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        Part(
            _STEMS[1],
            (_TRAIN,),
            content="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        Part(
            _STEMS[2],
            (_TEST, 28, 28),
            content="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        Part(
            _STEMS[3],
            (_TEST,),
            content="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
)

FASHION_MNIST = Source(
    "fashion-mnist",
    "pictures of clothes (Xiao, Rasul, Vollgraf)",
    (
        "https://fashion-mnist.s3.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    (
        Part(_STEMS[0], (_TRAIN, 28, 28), archive="8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        Part(
            _STEMS[1],
            (_TRAIN,),
            content="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            archive="25c81989df183df01b3e8a0aad5dffbe",
        ),
        Part(_STEMS[2], (_TEST, 28, 28), archive="bef4ecab320f06d8554ea6380940ec79"),
        Part(
            _STEMS[3],
            (_TEST,),
            content="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            archive="bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
)

SOURCES = {source.name: source for source in (FASHION_MNIST, MNIST)}
