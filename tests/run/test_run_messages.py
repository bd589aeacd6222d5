from __future__ import annotations

import io
import json
import struct
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.errors import MessageError
from harness.run.messages import MARK, read_message, write_message


def written(fields: dict, arrays: dict | None = None) -> bytes:
    stream = io.BytesIO()
    write_message(stream, fields, arrays or {})
    return stream.getvalue()


def read(content: bytes) -> tuple[dict, dict] | None:
    return read_message(io.BytesIO(content))


def raw(header: object, body: bytes = b"") -> bytes:
    """A message with any header, as bytes or as what becomes JSON."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return MARK + struct.pack(">Q", len(text)) + text + body


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
fields = st.dictionaries(names.filter(lambda name: name != "arrays"), json_values, max_size=4)
any_array = st.sampled_from(["<f4", ">f4", "<f8", ">f8", "<i4", ">i4", "<i8", ">i8"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
)
arrays = st.dictionaries(names, any_array, max_size=3)


@given(fields=fields, arrays=arrays, transposed=st.booleans())
def test_what_is_written_is_read_whatever_its_order_in_memory(fields, arrays, transposed):
    if transposed:
        arrays = {name: array.T for name, array in arrays.items()}
    found = read(written(fields, arrays))
    assert found is not None
    assert found[0] == fields
    assert list(found[1]) == list(arrays)
    for name, array in arrays.items():
        assert found[1][name].dtype == array.dtype.newbyteorder("=")
        assert found[1][name].shape == array.shape
        assert np.array_equal(found[1][name], array, equal_nan=True)


def test_messages_follow_each_other_until_the_stream_ends():
    first = written({"id": 1}, {"x": np.arange(5, dtype=np.int64)})
    stream = io.BytesIO(first + written({"id": 2}))
    assert read_message(stream)[0] == {"id": 1}
    assert read_message(stream)[0] == {"id": 2}
    assert read_message(stream) is None


def test_floats_that_are_no_numbers_are_carried():
    found, arrays = read(written({"loss": float("nan")}, {"x": np.array([np.inf, np.nan])}))
    assert np.isnan(found["loss"])
    assert np.isinf(arrays["x"][0])


@pytest.mark.parametrize("dtype", ["float16", "uint8", "bool", "complex64", "U3", "O", "M8[s]"])
def test_only_four_types_of_arrays_are_written(dtype):
    stream = io.BytesIO()
    with pytest.raises(MessageError, match=r"array 'x' is .*; allowed: float32, float64, int32"):
        write_message(stream, {}, {"x": np.zeros(2, dtype)})
    assert stream.getvalue() == b""


WHOLE = written({"id": 3, "status": "ok"}, {"losses": np.arange(10.0), "x": np.ones((2, 3), "f4")})


def test_a_message_that_is_cut_short_anywhere_is_refused():
    for length in range(1, len(WHOLE)):
        with pytest.raises(MessageError, match=r"not a message|cut short: \d+ of \d+ bytes"):
            read(WHOLE[:length])


MALFORMED = {
    "text": (b"Traceback (most recent call last):", "not a message: it starts with b'Traceback"),
    "another mark": (b"HRN2" + WHOLE[4:], "not a message: it starts with b'HRN2"),
    "a huge header": (MARK + b"\0\0\0\0\xff" * 2, "a header of [0-9]+ bytes; at most 16777216"),
    "no JSON": (raw(b"{id: 1}"), "the header is not JSON"),
    "no text": (raw(b"\xff\xfe"), "the header is not JSON"),
    "an empty header": (raw(b""), "the header is not JSON"),
    "deep JSON": (raw(b"[" * 100_000), "the header is not JSON"),
    "a number of thousands of digits": (raw(b"9" * 5000), "the header is not JSON"),
    "a list": (raw([]), "the header is a list, not an object"),
    "null": (raw(None), "the header is a NoneType, not an object"),
    "arrays that are no list": (raw({"arrays": {}}), "the header's arrays are no list"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_message_is_refused(content, message):
    with pytest.raises(MessageError, match=message):
        read(content)


ENTRIES = {
    "no list": "x",
    "too short": ["x", "float32"],
    "too long": ["x", "float32", [1], 0],
    "a number for a name": [1, "float32", [1]],
    "objects": ["x", "object", [1]],
    "bytes in another order": ["x", ">f4", [1]],
    "a type that is not written": ["x", "uint8", [1]],
    "no shape": ["x", "float32", None],
    "a negative size": ["x", "float32", [-1]],
    "a boolean size": ["x", "float32", [True]],
    "a fraction for a size": ["x", "float32", [1.0]],
    "a size beyond memory": ["x", "float32", [0, 10**30]],
    "a hundred axes": ["x", "float32", [1] * 100],
    "absurd sizes": ["x", "float32", [10**300] * 1000],
}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES.keys())
def test_an_array_that_is_announced_wrongly_is_refused(entry):
    with pytest.raises(MessageError, match="not an array's name, type and shape") as caught:
        read(raw({"arrays": [entry]}, bytes(64)))
    assert len(str(caught.value)) < 200


def test_two_arrays_of_the_same_name_are_refused():
    with pytest.raises(MessageError, match="two arrays of the same name"):
        read(raw({"arrays": [["x", "float32", [1]]] * 2}, bytes(8)))


@pytest.mark.parametrize(
    "shapes",
    [
        [[2**31, 2]],
        [[2**31]] * 3,
        [[2**33, 0, 2**33]],  # nothing in it, and yet no NumPy array
    ],
)
def test_more_than_eight_gibibytes_are_refused_before_a_byte_is_read(shapes):
    listed = [[f"x{i}", "float32", shape] for i, shape in enumerate(shapes)]
    with pytest.raises(MessageError, match="at most 8589934592 are allowed"):
        read(raw({"arrays": listed}))


def test_a_huge_array_that_does_not_come_costs_no_memory():
    tracemalloc.start()
    with pytest.raises(MessageError, match="cut short: 8589934492 of 8589934592 bytes are missing"):
        read(raw({"arrays": [["x", "float32", [2**31]]]}, bytes(100)))
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


@given(st.binary(max_size=100))
def test_random_bytes_are_refused_and_nothing_worse(content):
    for text in (content, MARK + content, raw(content)):
        with suppress(MessageError):
            assert read(text) is None or text.startswith(MARK)


@given(data=st.data())
def test_a_message_with_damaged_bytes_is_read_or_refused_and_nothing_worse(data):
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(content))
    except MessageError:
        return
