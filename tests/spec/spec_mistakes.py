"""What may be wrong in each field of a spec, and what is said of it."""

from __future__ import annotations

from typing import Any

NAN, INFINITE = float("nan"), float("inf")


def inline(value: object) -> str:
    """As TOML writes it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


Mistakes = list[tuple[Any, str]]  # a value, and what is said of it behind its path

NO_INTEGER: Mistakes = [
    ("3", "'3' should be an integer"),
    (True, "true should be an integer"),
    (2.5, "2.5 should be an integer"),
    (NAN, "nan should be an integer"),
]
NO_NUMBER: Mistakes = [
    ("0.1", "'0.1' should be a number"),
    (True, "true should be a number"),
    (NAN, "nan should be a finite number"),
    (INFINITE, "inf should be a finite number"),
    (-INFINITE, "-inf should be a finite number"),
]
NO_SWITCH: Mistakes = [
    (1, "1 should be true or false"),
    ("true", "'true' should be true or false"),
]
TABLE, ARRAY = "should be a table", "should be an array"


def integer(least: int, most: int) -> Mistakes:
    return [
        *NO_INTEGER,
        (least - 1, f"{least - 1} should be greater than or equal to {least}"),
        (most + 1, f"{most + 1} should be less than or equal to {most}"),
    ]


def number(*bounds: tuple[float, str]) -> Mistakes:
    """`bounds` are values just outside, with what is said of them."""
    return NO_NUMBER + [(value, f"{value} should be {words}") for value, words in bounds]


AT_LEAST_0 = (-0.1, "greater than or equal to 0")
SHARE = number(AT_LEAST_0, (1.0, "less than 1"))
COUNT = integer(1, 1_000_000)


def sizes(axes: str) -> Mistakes:
    words = f"should be an integer from 1 to 1024, or an array of {axes}"
    return [(value, f"{inline(value).replace(chr(34), chr(39))} {words}") for value in (
        0, -2, 1025, 1.5, True, "3x3", [], {"a": 1}, [1, 2, 3, 4]
    )]  # fmt: skip


def padding(forms: str) -> Mistakes:
    words = f"should be 'same', 'valid', a number of pixels from 0 to 1024, {forms}"
    return [
        (value, f"{inline(value).replace(chr(34), chr(39))} {words}")
        for value in (-1, 1025, 0.5, False, "full", [], [[1, 2, 3]], {"a": 1}, [[[1]]])
    ]


def word(*allowed: str) -> Mistakes:
    *rest, last = (f"'{one}'" for one in allowed)
    words = f"should be {', '.join(rest)} or {last}"
    near = allowed[0][:-1] + "_"
    return [
        (1, f"1 {words}"),
        ("xyz", f"'xyz' {words}"),
        (["relu"], f"['relu'] {words}"),
        (near, f"'{near}' {words}. Did you mean '{allowed[0]}'?"),
    ]


FUNCTIONS = (
    *("linear", "relu", "relu6", "leaky_relu", "elu", "gelu", "gelu_tanh", "silu", "tanh"),
    *("sigmoid", "hard_swish"),
)
NO_SOFTMAX = "'softmax' does not belong inside a block; allowed: as the last layer of all"
INNER: Mistakes = [*word(*FUNCTIONS), ("softmax", NO_SOFTMAX)]
PIXELS = "[rows, columns] or [[top, bottom], [left, right]]"
NAME: Mistakes = [
    (1, "1 should be a string"),
    ("Conv", "'Conv' should match pattern '^[a-z][a-z0-9_]{0,63}$'"),
    ("forward", "'forward' is a reserved word; any other lower-case identifier is allowed"),
    ("a_kernel", "'a_kernel' ends like the name of a parameter; allowed: not in _kernel"),
]
EMPTY: Mistakes = [([], "[] is empty; allowed: one layer or more")]
LISTS: Mistakes = [("relu", f"'relu' {ARRAY}"), (3, f"3 {ARRAY}"), ({"a": 1}, f"{{a = 1}} {ARRAY}")]
RATE = number((0.0, "greater than 0"), (1000.5, "less than or equal to 1000"))
EPSILON = number((0.0, "greater than 0"), (1.5, "less than or equal to 1"))
PENALTY = number(AT_LEAST_0, (1000.5, "less than or equal to 1000"))
SCHEMES = (
    *(f"{s}_{d}" for s in ("glorot", "he", "lecun") for d in ("uniform", "normal", "truncated")),
    "zeros",
)
CONSTANT = '{type = "constant", value = ...}'
SCHEME = f"should be {', '.join(repr(s) for s in SCHEMES)} or {CONSTANT}"

# By field, or by kind and field where fields of one name differ.
WRONG: dict[str, Mistakes] = {
    "name": NAME,
    "Spec.name": [
        (1, "1 should be a string"),
        ("My net", "'My net' should match pattern '^[a-z0-9][a-z0-9-]{0,63}$'"),
    ],
    "description": [
        (1, "1 should be a string"),
        ("a" * 501, f"'{'a' * 56}... should have at most 500 characters"),
    ],
    "input": [
        *LISTS,
        ([8], "[8] should have three values: height, width, channels; or two, or four"),
        ([], "[] should have three values: height, width, channels; or two, or four"),
    ],
    "initializer": [
        (0.1, f"0.1 {SCHEME}"),
        ("he", f"'he' {SCHEME}"),
        ("he_norm", f"'he_norm' {SCHEME}. Did you mean 'he_normal'?"),
    ],
    "bias_initializer": [
        (0.1, f"0.1 should be 'zeros' or {CONSTANT}"),
        ("zero", f"'zero' should be 'zeros' or {CONSTANT}. Did you mean 'zeros'?"),
    ],
    "value": number(
        (-1000.5, "greater than or equal to -1000"), (1000.5, "less than or equal to 1000")
    ),
    "layers": [*LISTS[:2], *EMPTY],
    "Spec.layers": [
        (3, "3 should be an array of tables, each begun by [[layers]]"),
        ({"a": 1}, "{a = 1} should be an array of tables, each begun by [[layers]]"),
    ],
    "body": [*LISTS, *EMPTY],
    "shortcut": LISTS,
    "branches": [*LISTS, ([], "[] has fewer than two branches; allowed: two or more")],
    "training": [(1, f"1 {TABLE}"), ([1], f"[1] {TABLE}")],
    "filters": COUNT,
    "units": COUNT,
    "groups": COUNT,
    "repeat": integer(1, 1000),
    "family": NAME,
    "kernel": sizes("two"),
    "stride": sizes("two"),
    "dilation": sizes("two"),
    "size": sizes("one for each axis"),
    "padding": padding(PIXELS),
    **{f"Conv1D.{field}": sizes("one") for field in ("kernel", "stride", "dilation")},
    **{f"Conv3D.{field}": sizes("three") for field in ("kernel", "stride", "dilation")},
    **{f"{kind}.stride": sizes("one for each axis") for kind in ("MaxPool", "AvgPool")},
    "Conv1D.padding": padding("or [[before, after]]"),
    "Conv3D.padding": padding(
        "[planes, rows, columns] or [[front, back], [top, bottom], [left, right]]"
    ),
    "bias": NO_SWITCH,
    "scale": NO_SWITCH,
    "offset": NO_SWITCH,
    "activation": word(*FUNCTIONS, "softmax"),
    "function": word(*FUNCTIONS, "softmax"),
    "Residual.activation": INNER,
    "SqueezeExcite.activation": INNER,
    "gate": INNER,
    "decay": SHARE,
    "epsilon": EPSILON,
    "rate": SHARE,
    "initial": number((0.0, "greater than 0"), (1000.5, "less than or equal to 1000")),
    "loss": word("cross_entropy", "binary_cross_entropy", "mean_squared_error", "huber"),
    "label_smoothing": SHARE,
    "optimizer": [("adam", f"'adam' {TABLE}"), (1, f"1 {TABLE}")],
    "schedule": [("cosine", f"'cosine' {TABLE}"), (1, f"1 {TABLE}")],
    "augment": [
        (True, f"true {TABLE}"),
        ({"flip": False}, "{flip = false} changes nothing; set crop_padding, flip or cutout, or "
         "leave it out"),
    ],
    "clip_norm": number((0.0, "greater than 0"), (1e7, "less than or equal to 1000000")),
    "batch_size": integer(1, 65536),
    "epochs": integer(1, 10_000),
    "Step.epochs": [
        *LISTS,
        ([], "[] is empty; allowed: one number or more"),
        ([7] * 101, f"[{'7, ' * 18}7,... should have at most 100 values"),
    ],
    "validation_split": SHARE,
    "last_batch": word("drop", "keep"),
    "learning_rate": RATE,
    "momentum": SHARE,
    "nesterov": NO_SWITCH,
    "l2": PENALTY,
    "weight_decay": PENALTY,
    "decay_all": NO_SWITCH,
    "beta1": SHARE,
    "beta2": SHARE,
    "warmup_epochs": number(AT_LEAST_0, (10_001.0, "less than or equal to 10000")),
    "gamma": number((0.0, "greater than 0"), (1.5, "less than or equal to 1")),
    "final": number(AT_LEAST_0, (1.5, "less than or equal to 1")),
    "OneCycle.final": number((0.5, "greater than or equal to 1")),
    "peak": number((0.0, "greater than 0"), (1.0, "less than 1")),
    "start": number((0.5, "greater than or equal to 1"), (1e7, "less than or equal to 1000000")),
    "crop_padding": integer(0, 1024),
    "flip": NO_SWITCH,
    "cutout": integer(0, 4096),
}  # fmt: skip
INSIDE = {  # a mistake in what a field's array holds, and its place there
    "layers": ([{"type": "flatten"}, 3], "[1]: 3 should be a table"),
    "body": ([3], "[0]: 3 should be a table"),
    "shortcut": ([{"type": "dropout", "rate": 2.0}], "[0].rate: 2.0 should be less than 1"),
    "branches": ([[], [3]], "[1][0]: 3 should be a table"),
    "Conv2D.kernel": ([[0], 1], "[0]: [0] should be an integer"),
    "input": ([8, 0, 3], "[1]: 0 should be greater than or equal to 1"),
    "Step.epochs": ([1, NAN], "[1]: nan should be a finite number"),
}
