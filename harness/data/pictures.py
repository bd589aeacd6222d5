"""Pictures as Pillow opens them, brought to float32 pixels of one size; grey or RGB."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from harness.data.dataset import Images, unit_interval
from harness.errors import DataError

MAX_SIDE = 4096
MAX_PIXELS = 2**26  # of one picture before it is resized; more is a decompression bomb
_GREY = frozenset(("1", "L", "LA"))
_COLOUR = frozenset(("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"))
_SUFFIX = re.compile(r":(\d{1,9})x(\d{1,9})", re.ASCII)

Size = tuple[int, int]  # height and width


def split_size(name: str) -> tuple[str, Size | None]:
    """Split `REST:HxW` into its parts; None where no size is asked for.

    Raises `DataError` if a side is out of range.
    """
    match = re.search(_SUFFIX.pattern + r"\Z", name, re.ASCII)
    if match is None:
        return name, None
    size = int(match[1]), int(match[2])
    if not all(1 <= side <= MAX_SIDE for side in size):
        raise DataError(
            f"dataset {name!r}: size {match[1]}x{match[2]}; allowed: 1 to {MAX_SIDE} a side"
        )
    return name[: match.start()], size


def pillow(name: str) -> Any:
    """Import Pillow's `Image`; `name` is the dataset that needs it.

    Raises `DataError` with the line that installs it.
    """
    try:
        from PIL import Image  # type: ignore[import-not-found,unused-ignore]  # an extra
    except ImportError as fault:
        raise DataError(
            f"dataset {name!r} needs Pillow, which is not installed. "
            "Try: pip install 'cnn-harness[images]'"
        ) from fault
    return Image


@contextmanager
def faults_named() -> Iterator[None]:
    """Turn whatever Pillow raises for bytes that are no sound picture into a `DataError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a large picture is refused below, by its size
            yield
    except (DataError, MemoryError):
        raise
    except Exception as fault:  # Pillow's decoders raise nearly anything
        raise DataError(f"broken image: {fault or type(fault).__name__}") from fault


def look(picture: Any) -> tuple[int, int, int]:
    """Return height, width and channels (1 or 3) of an opened picture, without decoding it.

    Raises `DataError` if it is too large, or of a kind that has no plain meaning as 8 bits.
    """
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise DataError(f"{height}x{width} pixels; allowed: {MAX_PIXELS:,} pixels")
    if picture.mode not in _GREY | _COLOUR:
        raise DataError(f"pixels of kind {picture.mode!r}; allowed: grey or RGB with 8 bits")
    return height, width, 1 if picture.mode in _GREY else 3


def pixels(picture: Any, channels: int, size: Size) -> Images:
    """Decode a picture to `[height, width, channels]` in [0, 1], resized if it has not `size`.

    Transparency is dropped. Resizing is Pillow's bilinear filter, with antialiasing.
    """
    height, width = size
    plain = picture.convert("L" if channels == 1 else "RGB")
    if plain.size != (width, height):
        plain = plain.resize((width, height), resample=2)  # Image.Resampling.BILINEAR
    return unit_interval(np.asarray(plain, np.uint8).reshape(height, width, channels))
