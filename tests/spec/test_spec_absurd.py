"""What no machine could train is refused when the spec is read: at once, and in little memory."""

from __future__ import annotations

import tracemalloc

import pytest
from spec_examples import problems
from spec_mistakes import inline

from harness.spec import infer, parse_spec

MEMORY = 20_000_000  # bytes; a spec of 1 MB may take some
FLATTEN, DENSE = {"type": "flatten"}, {"type": "dense", "units": 10}
POOL = {"type": "global_avg_pool"}


def net(*layers: object, size: object = (8, 8, 4), training: str = "") -> str:
    head = f'name = "net"\ninput = {inline(list(size))}\n'
    return f"{head}layers = {inline(list(layers))}\n{training}"


def conv(**fields: object) -> dict[str, object]:
    return {"type": "conv2d", "filters": 4, "kernel": 3, **fields}


def residual(*body: object, **fields: object) -> dict[str, object]:
    return {"type": "residual", "body": list(body), **fields}


def nested(depth: int) -> dict[str, object]:
    layer: dict[str, object] = conv(padding="same")
    for _ in range(depth):
        layer = {"type": "sequence", "layers": [layer]}
    return layer


def doubled(times: int) -> dict[str, object]:
    return {"type": "concat", "branches": [[], []], "repeat": times}


ABSURD = {
    "a kernel larger than its input": (
        net(conv(kernel=9), FLATTEN, DENSE),
        "layers[0] 'conv1': kernel = [9, 9] is larger than its input of 8x8 pixels; use a smaller "
        'one, or padding = "same"',
    ),
    "a pool larger than its input": (
        net({"type": "max_pool", "size": 9}, FLATTEN, DENSE),
        "layers[0] 'pool1': size = [9, 9] is larger than its input of 8x8 pixels; use a smaller "
        'one, or padding = "same"',
    ),
    "a shortcut of another shape": (
        net(residual(conv(filters=5, padding="same")), FLATTEN, DENSE),
        "layers[0] 'block1': its body ends in (8, 8, 5), its shortcut in (8, 8, 4); add a "
        '"shortcut" of its own layers',
    ),
    "branches of other sizes": (
        net({"type": "concat", "branches": [[], [conv()]]}, FLATTEN, DENSE),
        "layers[0] 'block1': its branches end in (8, 8, 4), (6, 6, 4); all but the channels must "
        "agree",
    ),
    "10^12 parameters": (
        net(POOL, {**DENSE, "units": 1_000_000}, {**DENSE, "units": 1_000_000}),
        "layers[2] 'dense2': more than 1e+10 parameters by this layer; make it smaller",
    ),
    "10^12 parameters in many layers": (
        net(
            conv(filters=3000, kernel=1),
            residual(conv(filters=3000, padding="same"), repeat=900),
            POOL,
            DENSE,
        ),
        "layers[1].body[0] 'block1.123.conv1': more than 1e+10 parameters by this layer; make "
        "it smaller",
    ),
    "an image of 10^14 values": (
        net(conv(filters=2000, padding="same"), POOL, DENSE, size=(65536, 65536, 1)),
        "layers[0] 'conv1': its output for one image has more than 1e+10 values; make it smaller",
    ),
    "an image that is too large itself": (
        net(POOL, DENSE, size=(65536, 65536, 65536)),
        "input: one image has more than 1e+10 values; make it smaller",
    ),
    "a crop beside the image": (
        net(FLATTEN, DENSE, size=(8, 6, 1), training="[training.augment]\ncrop_padding = 6\n"),
        "training.augment.crop_padding: 6 can leave nothing of an image of 8x6 pixels; allowed: "
        "0 to 5",
    ),
    "a square over all of the image": (
        net(FLATTEN, DENSE, size=(8, 6, 1), training="[training.augment]\ncutout = 8\n"),
        "training.augment.cutout: 8 can leave nothing of an image of 8x6 pixels; allowed: 0 to 7",
    ),
    "a signal that is mirrored": (
        net(FLATTEN, DENSE, size=(8, 6), training="[training.augment]\nflip = true\n"),
        "training.augment: changes images (height, width, channels), but input is [8, 6]; leave "
        "it out",
    ),
    "an image enlarged beyond all bounds": (
        net(*[{**conv(), "type": "conv2d_transpose", "stride": 1024}] * 3, POOL, DENSE),
        "layers[1] 'conv2': its output for one image has more than 1e+10 values; make it smaller",
    ),
    "channels doubled a thousand times": (
        net(doubled(500), POOL, DENSE),
        "layers[0] 'block1': its output for one image has more than 1e+10 values; make it smaller",
    ),
    "blocks nested too deeply": (
        net(nested(11), FLATTEN, DENSE),
        "layers: blocks within blocks, more than 10 deep; nest less",
    ),
    "blocks nested as deeply as TOML can be read": (
        net(nested(40), FLATTEN, DENSE),
        "layers: blocks within blocks, more than 10 deep; nest less",
    ),
    "a block a thousand million times": (
        net(residual(conv(padding="same"), repeat=10**9), FLATTEN, DENSE),
        "layers[0].repeat: 1000000000 should be less than or equal to 1000",
    ),
    "repeats within repeats": (
        net({"type": "sequence", "repeat": 1000, "layers": [
            residual(conv(padding="same"), repeat=1000)]}, FLATTEN, DENSE),
        "layers: there are 2001002; allowed: 1 to 2000",
    ),
    "a batch of none": (
        net(FLATTEN, DENSE, training="[training]\nbatch_size = 0\n"),
        "training.batch_size: 0 should be greater than or equal to 1",
    ),
    "a rate that is no number": (
        net(FLATTEN, {"type": "dropout", "rate": float("nan")}, DENSE),
        "layers[1].rate: nan should be a finite number",
    ),
    "an infinite learning rate": (
        net(FLATTEN, DENSE, training='[training.optimizer]\ntype = "adam"\nlearning_rate = inf\n'),
        "training.optimizer.learning_rate: inf should be a finite number",
    ),
    "a step backwards": (
        net(conv(stride=-2), FLATTEN, DENSE),
        "layers[0].stride: -2 should be an integer from 1 to 1024, or an array of two",
    ),
    "groups that do not divide": (
        net(conv(groups=3), FLATTEN, DENSE),
        "layers[0] 'conv1': groups = 3 must divide its input's 4 channels and its 4 filters",
    ),
    "an integer beyond all": (
        net(conv(filters=10**30), FLATTEN, DENSE),
        "layers[0].filters: an integer of more than 64 bits, which TOML has not",
    ),
    "nothing left of the image": (
        net(*[{"type": "max_pool", "size": 2}] * 4, FLATTEN, DENSE),
        "layers[3] 'pool4': size = [2, 2] is larger than its input of 1x1 pixels; use a smaller "
        'one, or padding = "same"',
    ),
    "a dense layer of an image": (
        net(DENSE),
        "layers[0] 'dense1': needs a flat input, but its input is (8, 8, 4); put a \"flatten\" or "
        'a "global_avg_pool" before it',
    ),
    "an image as the output": (
        net(conv()),
        "layers: the last output is (6, 6, 4), not flat; add a \"flatten\" and a \"dense\"",
    ),
    "softmax twice": (
        net(FLATTEN, {**DENSE, "activation": "softmax"}, {"type": "activation",
            "function": "softmax"}),
        "layers[2] 'activation1': applies softmax to what 'dense1' has already passed through "
        "softmax; remove one of the two",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line"), ABSURD.values(), ids=ABSURD)
def test_the_absurd_is_refused_with_its_place_and_in_little_memory(text, line):
    tracemalloc.start()
    try:
        found = problems(text)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    assert found == [line]


def test_a_spec_at_the_limits_is_read():
    text = net({**residual(conv(padding="same")), "repeat": 999}, POOL)
    assert len(infer(parse_spec(text, "net")).nodes) == 1000


KEYS = {
    "bare": ".".join(["a"] * 20_000) + " = 1",
    "a table": "[" + ".".join(["a"] * 20_000) + "]",
    "quoted": " . ".join(['"a b"'] * 20_000) + " = 1",
}


@pytest.mark.parametrize("text", KEYS.values(), ids=KEYS)
def test_a_key_of_thousands_of_parts_is_refused_in_little_memory(text):
    tracemalloc.start()
    try:
        assert problems(text) == ["not valid TOML: nested too deeply"]
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def test_tables_within_tables_by_the_thousand_are_refused_in_little_memory():
    text = "".join(f"[a{n}{'.a' * 30}]\n" for n in range(1000))
    tracemalloc.start()
    try:
        assert problems(text) == ["no spec: it has more than 20000 dots"]
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


def test_words_with_dots_are_no_such_key():
    words = ".".join(["a"] * 20) + ", " + " . ".join(["b"] * 20)
    text = net(FLATTEN, DENSE).replace('name = "net"', f'name = "net"\ndescription = "{words}"')
    assert parse_spec(text, "net").description == words
