"""Every backend in bfloat16 on the ladder, and sources that are mixed in another way."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from studies import backends, installed

from harness.check import questions
from harness.check.ladder import settled
from harness.check.material import make_material
from harness.check.mixed import TOO_FINE, asking_mixed, measured
from harness.check.places import Place, judge
from harness.check.questions import RUNGS, asking, parts_of
from harness.run.arrays import write_arrays
from harness.spec import parse_spec

STEPS = 6
PARTS = [(rung, part) for rung in RUNGS for part in parts_of(rung)]
ABLE = [label for label, info in backends().items() if "bfloat16" in info.precisions]
EAGER = [label for label in ABLE if label not in ("numpy", "torch@compile")]  # which takes longer

# Something of all that is mixed in a way of its own; biases summed over many pixels; norms with
# and without scale and offset.
MODEL = """
name = "mixed"
input = [14, 14, 2]
layers = [
  { type = "conv2d", filters = 6, kernel = 3, activation = "relu" },
  { type = "batch_norm", decay = 0.9, epsilon = 1e-3 },
  { type = "residual", activation = "relu", body = [
    { type = "conv2d", filters = 6, kernel = 3, padding = "same", groups = 6 },
    { type = "batch_norm", decay = 0.8, epsilon = 1e-3, scale = false, offset = false },
    { type = "squeeze_excite", units = 3 },
    { type = "channel_scale", initial = 0.5 },
  ] },
  { type = "avg_pool", size = 3, stride = 2, padding = "same" },
  { type = "layer_norm", epsilon = 1e-3, scale = false },
  { type = "max_pool", size = 2 },
  { type = "group_norm", groups = 3, epsilon = 1e-3 },
  { type = "flatten" },
  { type = "dropout", rate = 0.25 },
  { type = "dense", units = 5, activation = "softmax" },
]
[training]
batch_size = 8
label_smoothing = 0.1
optimizer = { type = "sgd", learning_rate = 0.02, momentum = 0.9 }
"""


@cache
def material():
    return make_material(parse_spec(MODEL, "mixed"), STEPS)


def opened(lab, label, edits=()):
    """Open the network in a backend's worker for bfloat16; with edits, from a source so altered."""
    bench, given = lab.bench(label, "bfloat16"), material()
    data = lab.folder / "mixed"
    if not data.exists():
        data.mkdir()
        of = given.dataset
        write_arrays(data, {"train_images": of.train_images, "train_targets": of.train_labels})
        write_arrays(data, {"test_images": of.test_images, "test_targets": of.test_labels})
    path = bench.sources / f"mixed_{label}.py"
    fields = {"spec": given.spec.model_dump_json(), "source": str(path), "data": str(data)}
    bench.ask("open", **fields)
    if edits:
        text = path.read_text()
        for old, new in edits:
            assert old in text, f"{old!r} does not occur in\n{text}"
            text = text.replace(old, new)
        path = path.with_stem(f"mutant_{abs(hash(edits))}_{path.stem}")
        path.write_text(text)
        bench.ask("open", **{**fields, "source": str(path), "given": True})
    return bench


@cache
def right(lab, part):
    """What the reference says, and how much may differ."""
    bench = lab.bench("numpy", "bfloat16")

    def job():
        opened(lab, "numpy")
        return measured(part, material(), trained(lab), bench.ask)

    if part == "evaluation":
        trained(lab)
    return bench.submit(job).result()


@cache
def trained(lab):
    return {path: np.asarray(value, np.float32) for path, value in material().parameters.items()}


def climb(lab, label, edits=()):
    """Return where a backend stops, and by how much it differs there; "" at the top."""
    return lab.bench(label, "bfloat16").submit(_climb, lab, label, edits).result()


def _climb(lab, label, edits):
    ask = opened(lab, label, edits).ask
    for rung, part in PARTS:
        if part == "structure":
            found = asking(part, material(), {})(ask)
            judgement = judge(found, questions.wanted_structure(material()), lambda place: 0.0)
        else:
            answer, tolerances, measure = right(lab, part)
            found = asking_mixed(part, material(), trained(lab))(ask)
            if part == "evaluation":
                bound = tolerances(Place("test set", "logits"))
                found, answer = (settled(a, answer, bound, material()) for a in (found, answer))
            judgement = judge(found, answer, tolerances, measure)
        if not judgement.agrees:
            return f"{rung}: {judgement.place}", f"{judgement.difference} {judgement.tolerance}"
    return "", ""


@pytest.mark.parametrize("label", [pytest.param(name, marks=installed(name)) for name in EAGER])
def test_in_bfloat16_every_backend_climbs_to_the_top(lab, label):
    assert climb(lab, label) == ("", "")


AUTOCAST = "torch.autocast(images.device.type, torch.bfloat16)"
UPDATED = "    optimizer.step()\n"
OUTPUT = f"conv1 ({TOO_FINE}, evaluation)"
MUTANTS = {
    "no bfloat16 at all": (
        "torch",
        (
            (AUTOCAST, "torch.autocast(images.device.type, enabled=False)"),
            ("bfloat16()", "float()"),
        ),
        f"forward: {OUTPUT}",
    ),
    "float16": (
        "torch",
        ((AUTOCAST, "torch.autocast(images.device.type, torch.float16)"), ("bfloat16()", "half()")),
        f"forward: {OUTPUT}",
    ),
    "the loss of bfloat16 logits": (
        "torch",
        (("return x.float()", "return x"),),
        "gradients: loss, from the backend's own logits (training)",
    ),
    "parameters updated in bfloat16": (
        "torch",
        (
            (
                UPDATED,
                UPDATED
                + "    for p in model.parameters():\n        p.data = p.data.bfloat16().float()\n",
            ),
        ),
        f"update: conv1.kernel ({TOO_FINE}, after step 1)",
    ),
    "statistics in bfloat16, without a scale": (
        "torch",
        (
            (
                'self.bn1.register_buffer("weight", torch.ones(6))',
                'self.bn1.register_parameter("weight", None)',
            ),
            ("lerp_(mean,", "lerp_(mean.float(),"),
            ("lerp_(rsqrt**-2 - self.eps,", "lerp_((rsqrt**-2 - self.eps).float(),"),
        ),
        "update: block1.bn1.variance (after step 1)",
    ),
    "float32 by XLA": ("flax", (("jnp.bfloat16", "jnp.float32"),), f"forward: {OUTPUT}"),
    "a bias summed in bfloat16 by TensorFlow": (
        "tensorflow",
        (
            (
                "x = x + bfloat16(self.conv1_bias)",
                "x = tf.nn.bias_add(x, bfloat16(self.conv1_bias))",
            ),
        ),
        "gradients: block1.conv1.bias (gradient)",
    ),
    "statistics in bfloat16 by TensorFlow": (
        "tensorflow",
        (
            (
                "= tf.nn.moments(x, list(range(x.shape.rank - 1)))",
                "= [tf.cast(tf.cast(m, tf.bfloat16), tf.float32) for m in "
                "tf.nn.moments(x, list(range(x.shape.rank - 1)))]",
            ),
        ),
        "update: bn1.mean (after step 1)",
    ),
    "Keras's policy forgotten": (
        "keras",
        (('set_dtype_policy("mixed_bfloat16")', 'set_dtype_policy("float32")'),),
        f"forward: {OUTPUT}",
    ),
    "Keras's variables of bfloat16, too": (
        "keras",
        (('set_dtype_policy("mixed_bfloat16")', 'set_dtype_policy("bfloat16")'),),
        "structure: conv1.kernel (parameter)",
    ),
}


def mutants():
    for what, (label, edits, where) in MUTANTS.items():
        yield pytest.param(label, edits, where, id=f"{label}: {what}", marks=installed(label))


@pytest.mark.parametrize(("label", "edits", "where"), mutants())
def test_what_is_mixed_in_another_way_stops_where_it_shows(lab, label, edits, where):
    assert climb(lab, label, edits)[0] == where


def test_those_that_cannot_do_bfloat16_are_known():
    refused = {label for label in backends() if label not in ABLE}
    assert refused == {"keras@jax", "keras@torch", "numpy@rounded", "tensorflow@session"}
