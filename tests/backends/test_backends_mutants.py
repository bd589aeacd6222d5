"""Sources with one mistake each: the agreement check must tell, and say where it begins.

Most are what a framework does by default, or what a port from another one forgets.
"""

from __future__ import annotations

import pytest
from studies import COMPARED, Case, first_flagged, installed, material

from harness.errors import WorkerError
from harness.run.agreement import compare

UPDATED = "training: first state.conv1.kernel"  # where a wrong first update shows

# What is wrong: backend, network, what is replaced by what, where the difference begins.
MUTANTS = {
    "larger half of the padding above": (
        "torch strides",
        ("F.pad(x, (0, 1, 1, 1))", "F.pad(x, (1, 0, 1, 1))"),
        "activations: conv1",
    ),
    "padding on both sides": (
        "torch strides",
        ("F.pad(x, (0, 1, 0, 1))", "F.pad(x, (1, 0, 1, 0))"),
        "activations: conv2",
    ),
    "pool padded with zero": (
        "torch pools",
        (', value=float("-inf")', ""),
        "activations: pool1",
    ),
    "pool padded with zero, symmetrically": (
        "torch pools",
        ("self.pool3(x)", "nn.MaxPool2d(3, stride=1)(F.pad(x, (1, 1, 1, 1)))  # pool3"),
        "activations: pool3",
    ),
    "average instead of maximum": (
        "tensorflow pools",
        ("x = tf.nn.max_pool2d(x, 2, strides=2", "x = tf.nn.avg_pool2d(x, 2, strides=2"),
        "activations: pool2",
    ),
    "flatten by channels": (
        "torch pools",
        ("x.permute(0, 2, 3, 1).flatten(1)", "x.flatten(1)"),
        "activations: flatten1",
    ),
    "softmax over the columns": (
        "torch softmaxes",
        ("F.softmax(self.rows(x), dim=1)", "F.softmax(self.rows(x), dim=-1)"),
        "activations: rows",
    ),
    "softmax twice": (
        "torch softmaxes",
        ("self.activation4(x)", "F.softmax(self.activation4(x), dim=-1)"),
        "activations: activation4",
    ),
    "no bias": (
        "tensorflow dropouts",
        ("tf.nn.bias_add(x, self.dense2_bias)", "tf.identity(x)"),
        "activations: dense2",
    ),
    "predictions in training mode": (
        "torch dropouts",
        ("model.eval()", "model.train()"),
        "batch: predictions",
    ),
    "dropout not scaled": (
        "tensorflow drawn",
        ("self.rng.uniform)", "self.rng.uniform) * 0.75"),
        "training mode: dropout1",
    ),
    "another rate of dropout": (
        "tensorflow@session dropouts",
        ("stateless_dropout(x, 0.6", "stateless_dropout(x, 0.5"),
        "training mode: dropout4",
    ),
    "cross-entropy of probabilities": (
        "keras dense",
        ("from_logits=True", "from_logits=False"),
        "batch: loss",
    ),
    "sum over the batch": (
        "torch strides",
        ("F.cross_entropy(outputs, targets)", 'F.cross_entropy(outputs, targets, reduction="sum")'),
        "batch: loss",
    ),
    "sum over the outputs": (
        "torch dropouts",
        ("F.mse_loss(outputs, targets)", "F.mse_loss(outputs, targets) * targets.shape[1]"),
        "batch: loss",
    ),
    "half of the squared error": (
        "flax ties",
        ("optax.squared_error(outputs", "optax.l2_loss(outputs"),
        "batch: loss",
    ),
    "a gradient where ReLU's input is zero": (
        "torch ties",
        ("F.relu(self.conv1(x), inplace=True)", "self.conv1(x).clamp(min=0)"),
        "batch: gradient.conv1.bias",
    ),
    "gradient to all tied maxima": (
        "flax ties",
        (
            "is_first = position == windows.argmax(axis=-2, keepdims=True)",
            "is_first = windows == windows.max(axis=-2, keepdims=True)",
        ),
        "batch: gradient.images",
    ),
    "gradient to the last of tied maxima": (
        "numpy ties",
        (
            'layers.MaxPool("pool1", (2, 2), (2, 2), ((0, 0), (0, 0)))',
            'type("Last", (layers.MaxPool,), {"backward": lambda self, dy: '
            "layers.MaxPool.backward(self, dy)[:, ::-1]})"
            '("pool1", (2, 2), (2, 2), ((0, 0), (0, 0)))',
        ),
        "batch: gradient.images",
    ),
    "Adam with another epsilon": ("torch dropouts", ("eps=0.001", "eps=1e-08"), UPDATED),
    "Keras's own Adam: epsilon hat": (
        "keras dropouts",
        ("optimizer = Adam(", "optimizer = keras.optimizers.Adam("),
        UPDATED,
    ),
    "TensorFlow's own Adam: epsilon hat": (
        "tensorflow dropouts",
        ("0.001 * tf.sqrt(1 - beta2_power)", "0.001"),
        UPDATED,
    ),
    "a beta rounded to float32": (
        "tensorflow@session dropouts",
        ("tf.constant(0.7, dtype), tf.constant(0.95, dtype)", "0.7, 0.95"),
        UPDATED,
    ),
    "no Nesterov": ("torch strides", ("nesterov=True,", ""), UPDATED),
    "another momentum": ("torch pools", ("momentum=0.8", "momentum=0.9"), "training: losses"),
    "Keras's own momentum: the rate inside the velocity": (
        "keras pools",
        ("optimizer = SGD(", "optimizer = keras.optimizers.SGD("),
        "training: first state.conv1.kernel.velocity",
    ),
    "the same in TensorFlow": (
        "tensorflow pools",
        ("ResourceApplyMomentum", "ResourceApplyKerasMomentum"),
        "training: first state.conv1.kernel.velocity",
    ),
    "a constant learning rate": (
        "torch strides",
        ('group["lr"] = learning_rate', "pass"),
        "training: losses",
    ),
}


def mutants():
    found = []
    for what, (who, edit, where) in MUTANTS.items():
        label, name = who.split()
        case = Case(label, name, edits=(edit,))
        found.append(pytest.param(case, where, id=f"{label}: {what}", marks=installed(label)))
    return found


@pytest.mark.parametrize(("case", "where"), mutants())
def test_a_mistake_is_flagged_where_it_begins(case, where, study, reference):
    assert first_flagged(study, reference, case.precision) == where
    topic = where.partition(":")[0]
    assert not compare(study[topic], reference[topic], case.precision).equivalent


def test_there_is_no_mistake_without_an_edit(lab):
    study = lab.study(Case("numpy", "dropouts"))
    assert set(COMPARED) - set(study) == {"statistics"}  # asked of the library's models only
    assert first_flagged(study, study, "float64") == ""


@pytest.mark.parametrize("label", [pytest.param("flax", marks=installed("flax"))])
def test_a_pool_with_the_stride_that_is_flaxs_default_does_not_even_fit(lab, label):
    lab.study(Case(label, "ties"))
    mutant = Case(label, "ties", edits=(("(3, 3), strides=(2, 2), ", "(3, 3), "),))
    with pytest.raises(WorkerError, match="shape"):
        lab.work(mutant, lambda ask: ask("activations", {"images": material("ties").images}))


FORGETFUL = Case(
    "torch",
    "pools",
    edits=(("def make_optimizer", "import functools\n\n\n@functools.cache\ndef make_optimizer"),),
)


@pytest.mark.parametrize("case", [pytest.param(FORGETFUL, marks=installed("torch"))])
def test_an_optimizer_that_is_not_reset_trains_otherwise_the_next_time(case, study):
    assert study["training"]["losses"][0] == study["training again"]["losses"][0]
    assert study["training"]["losses"][1] != study["training again"]["losses"][1]
